"""Finding bubblewrap and the code a job reads; a machine without a sandbox runs no job."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from datasites.errors import SandboxError
from datasites.sandbox import find_installation, machine, require_sandbox, trial


@pytest.fixture
def uncached():
    find_installation.cache_clear()
    yield
    find_installation.cache_clear()


def test_this_machine_has_a_sandbox_that_starts():
    found = require_sandbox()
    assert os.access(found.bwrap, os.X_OK)
    assert found.python == Path(sys.executable)


def test_the_interpreter_and_duras_packages_are_readable_and_nothing_beside_them():
    found = require_sandbox()
    own = Path(machine.__file__).parents[2]
    held = (Path("/usr"), *found.code)
    for needed in (Path(sys.prefix), *(own / name for name in machine.PACKAGES)):
        assert any(needed.is_relative_to(folder) for folder in held)
    for hidden in (own, own / "orchestrator", own / "tests", Path.home()):
        assert not any(hidden == folder for folder in found.code)
    assert not any(one != two and one.is_relative_to(two) for one in held for two in held)


def test_without_bubblewrap_no_job_runs_and_the_owner_is_told_what_to_do(
    uncached, monkeypatch, tmp_path
):
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    if Path("/usr/local/bin/bwrap").exists():
        pytest.skip("bubblewrap is in /usr/local/bin, where it cannot be hidden")
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        require_sandbox()


def test_a_bubblewrap_beside_the_interpreter_is_found(uncached, monkeypatch, tmp_path):
    if Path("/usr/local/bin/bwrap").exists():
        pytest.skip("bubblewrap is in /usr/local/bin, which comes first")
    (tmp_path / "bin").mkdir()
    beside = tmp_path / "bin" / "bwrap"
    beside.write_text("#!/bin/sh\n")
    beside.chmod(0o755)
    monkeypatch.setattr(os, "defpath", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert find_installation().bwrap == beside


OLD = ("echo 'bwrap: Unknown option --size' >&2; exit 1", "Unknown.*bubblewrap 0.7 or later")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo No permission to create namespace >&2; exit 1", "No permission"),
        ("exit 1", "no mes"),
        OLD,
    ],
)
def test_a_bubblewrap_that_may_not_make_namespaces_is_refused(monkeypatch, tmp_path, script, said):
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    broken = dataclasses.replace(find_installation(), bwrap=fake)
    monkeypatch.setattr(trial, "find_installation", lambda: broken)
    with pytest.raises(SandboxError, match=rf"(?=.*jobs are refused).*{said}"):
        require_sandbox()

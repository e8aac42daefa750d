"""The runtime's hash changes with any file a job executes and with any library's version."""

import shutil
from pathlib import Path

import pytest

from datasites import runtime
from datasites.sandbox.machine import PACKAGES


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small installation in place of this one; its hash is computed anew at each call."""
    for package in PACKAGES:
        (tmp_path / package / "deep").mkdir(parents=True)
        (tmp_path / package / "deep" / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "datasites" / "runtime.py"))
    return tmp_path


def now():
    return runtime.runtime_sha256.__wrapped__()


def test_this_installation_has_one_hash():
    first = runtime.runtime_sha256()
    assert len(bytes.fromhex(first)) == 32
    assert runtime.runtime_sha256() == first == now()


def test_the_place_of_the_installation_does_not_matter(tree, tmp_path, monkeypatch):
    first = now()
    shutil.copytree(tree, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "copy" / "datasites" / "runtime.py"))
    assert now() == first


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "code.py").write_text("x = 2\n"),
        lambda folder: (folder / "new.py").write_text(""),
        lambda folder: (folder / "data.json").write_text("{}"),
        lambda folder: (folder / "code.py").unlink(),
        lambda folder: (folder / "code.py").rename(folder / "other.py"),
    ],
    ids=["edited", "added", "data", "removed", "renamed"],
)
def test_any_change_of_a_jobs_code_changes_it(tree, package, change):
    before = now()
    change(tree / package / "deep")
    assert now() != before


def test_bytecode_and_what_jobs_do_not_run_change_nothing(tree):
    before = now()
    (tree / "models" / "__pycache__").mkdir()
    (tree / "models" / "__pycache__" / "code.pyc").write_bytes(b"x")
    (tree / "orchestrator").mkdir()
    (tree / "orchestrator" / "code.py").write_text("")
    assert now() == before


@pytest.mark.parametrize("library", runtime.LIBRARIES)
def test_another_version_of_a_library_changes_it(tree, monkeypatch, library):
    before = now()
    real = runtime.version
    monkeypatch.setattr(runtime, "version", lambda name: real(name) + "x" * (name == library))
    assert now() != before


def test_the_sandbox_and_the_hash_cover_the_same_packages():
    root = Path(runtime.__file__).parents[1]
    assert all((root / package / "__init__.py").exists() for package in PACKAGES)

"""The doctor: each check finds what it is for, says how to mend it, and takes no bad for fine."""

import os
import shutil
import subprocess
import tomllib

import pytest
import tomli_w
from typer.testing import CliRunner

from datasites.errors import SandboxError
from datasites.owner import doctor
from datasites.owner.doctor import Health, examine
from datasites.site.site import Site
from datasites.site.unsafe_use import log_unsafe_serve
from orchestrator.cli import app


@pytest.fixture
def relay(tmp_path):
    (tmp_path / "relay").mkdir()
    return tmp_path / "relay"


def found(site):
    return {one.name: one for one in examine(site)}


def test_a_good_site_has_no_problem_and_every_finding_says_how_to_mend_it(site, relay):
    seen = found(site)
    assert [one for one in seen.values() if one.health is Health.PROBLEM] == []
    assert all(bool(one.mend) == (one.health is not Health.FINE) for one in seen.values())
    assert seen["system calls"].health is Health.FINE
    assert CliRunner().invoke(app, ["site", "doctor", str(site.root)]).exit_code == 0


def test_without_a_relay_the_rest_is_still_checked(site):
    seen = found(site)
    assert seen["relay"].health is seen["peers"].health is Health.PROBLEM
    assert seen["ledger"].health is Health.FINE
    done = CliRunner().invoke(app, ["site", "doctor", str(site.root)])
    assert done.exit_code == 6
    assert "problem  relay:" in done.output


def test_an_encoder_that_is_damaged_or_gone_is_a_problem(site, relay, own_encoder, tmp_path):
    assert "shipped one alone" in found(site)["encoder"].what
    folder = shutil.copytree(own_encoder, tmp_path / "encoder")
    values = tomllib.loads((site.root / "site.toml").read_text())
    (site.root / "site.toml").write_text(tomli_w.dumps({**values, "encoder": str(folder)}))
    site = Site.open(site.root)
    one = found(site)["encoder"]
    assert (one.health, "mobilenet_v3_small-frozen" in one.what) == (Health.FINE, True)
    (folder / "encoder.safetensors").write_bytes(b"other")
    one = found(site)["encoder"]
    assert (one.health, "SHA-256" in one.what) == (Health.PROBLEM, True)
    shutil.rmtree(folder)
    assert found(site)["encoder"].health is Health.PROBLEM


def test_a_ledger_that_was_altered_is_a_problem(site, relay):
    data = site.ledger_path.read_bytes()
    site.ledger_path.write_bytes(data.replace(b"site created", b"site Created"))
    assert found(site)["ledger"].health is Health.PROBLEM


@pytest.mark.parametrize("name", ["keys/signing.key", "keys", ""])
def test_files_open_to_others_are_a_problem(site, relay, name):
    path = site.root / name
    path.chmod(path.stat().st_mode | 0o040)
    modes = found(site)["file modes"]
    assert modes.health is Health.PROBLEM
    assert "chmod -R go=" in modes.mend


def test_a_machine_without_a_sandbox_is_a_problem(site, relay, monkeypatch):
    def none():
        raise SandboxError("bubblewrap is not installed")

    monkeypatch.setattr(doctor, "require_sandbox", none)
    monkeypatch.setattr(doctor, "find_installation", none)
    seen = found(site)
    assert seen["sandbox"].health is seen["system calls"].health is Health.PROBLEM


def test_unsafe_runs_a_half_done_rotation_and_a_small_disk_are_problems(site, relay, monkeypatch):
    log_unsafe_serve(site)
    (site.keys / "syft_keys.next.json").write_text("{")
    (site.keys / "syft_keys.next.json").chmod(0o600)
    monkeypatch.setattr(doctor, "NO_DISK_BYTES", 10**18)
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 10**18)
    seen = found(site)
    for name in ("unsafe runs", "keys", "disk"):
        assert seen[name].health is Health.PROBLEM, name


def test_what_a_switch_forbids_and_who_is_root_are_said(site, tmp_path, monkeypatch):
    switch = tmp_path / "switch"
    switch.write_text("0\n")
    monkeypatch.setattr(doctor, "_SWITCHES", {str(switch): ("0", "turn it on")})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert doctor._namespaces(site).health is Health.PROBLEM
    assert doctor._account(site).health is Health.FINE
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert doctor._account(site).health is Health.WARNING


def test_a_clock_behind_the_ledger_is_a_problem(site, monkeypatch):
    from datetime import UTC, datetime

    class Early(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2020, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(doctor, "datetime", Early)
    assert doctor._clock(site).health is Health.PROBLEM


def test_each_missing_wall_is_named_with_how_to_mend_it(site, monkeypatch):
    assert doctor._job_user(site).health is Health.FINE
    assert "no powers" in doctor._job_user(site).what

    def printed(text):
        done = subprocess.CompletedProcess([], 0, stdout=text, stderr="")
        return lambda *_given, **_more: done

    monkeypatch.setattr(doctor, "run_inside", printed("0\n"))
    root = doctor._job_user(site)
    assert (root.health, "useradd" in root.mend) == (Health.PROBLEM, True)
    for status in (
        "Seccomp:\t0\nCapEff:\t0\n",
        "Seccomp:\t2\nCapInh:\t0\nCapPrm:\t0\nCapAmb:\t1\n",
    ):
        monkeypatch.setattr(doctor, "run_inside", printed(status))
        assert doctor._system_calls(site).health is Health.PROBLEM
    monkeypatch.setattr(doctor, "landlock_version", lambda: 0)
    without = doctor._landlock(site)
    assert (without.health, "5.13" in without.mend) == (Health.WARNING, True)


def test_root_that_cannot_give_a_job_another_user_is_a_problem(site, monkeypatch):
    def none(*_given, **_more):
        raise SandboxError("no user namespace for jobs: run the agent as an ordinary user")

    monkeypatch.setattr(doctor, "run_inside", none)
    one = found(site)["job user"]
    assert (one.health, "ordinary user" in one.what) == (Health.PROBLEM, True)

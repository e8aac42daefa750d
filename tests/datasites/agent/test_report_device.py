"""The owner's setting decides whether a report job sees a GPU; no other job ever does.

Sites, agents and sandboxes are real. The GPU is not: /dev/null stands in for its nodes.
"""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner

from datasites.agent import sandbox_pool as warm
from datasites.errors import Reason, SandboxError, SettingsError
from datasites.owner import doctor
from datasites.owner.doctor import Health, examine
from datasites.plans import ReportTask
from datasites.plans.answers import Status
from datasites.sandbox import Gpu
from datasites.site.settings import read_settings
from datasites.site.site import Site
from datasites.worker.protocol import Job, Profile
from orchestrator.cli import app
from privacy import sha256_hex

GPU = Gpu({name: Path("/dev/null") for name in ("nvidiactl", "nvidia-uvm", "nvidia2")}, number=2)


def set_device(world, device: str) -> Site:
    path = world.root / "site" / "site.toml"
    values = tomllib.loads(path.read_text())
    path.write_text(tomli_w.dumps({**values, "report_device": device}))
    return Site.open(world.root / "site")


def report_task(world) -> ReportTask:
    return ReportTask(
        request="rep",
        plan_sha256=world.bundle.sha256,
        weights_sha256=sha256_hex(world.weights),
        rounds=1,
        hospitals=1,
    )


def of_process(sandbox, name: str) -> list[str]:
    """The strings of a sandbox's /proc file; between two programs the kernel shows none."""
    while not (content := Path(f"/proc/{sandbox._process.pid}/{name}").read_bytes()):
        assert sandbox.alive
    return content.decode().split("\0")


def started(sandboxes, profile):
    """A sandbox of the pool, ready or not."""
    assert sandboxes.take("0" * 64, profile) is None
    return sandboxes._waiting["0" * 64, profile].sandbox


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:0 ", "mps", "cuda:1234", ""])
def test_what_is_no_device_is_refused_by_name(world, device):
    with pytest.raises(SettingsError, match="report_device"):
        set_device(world, device)


@pytest.mark.parametrize(("device", "seen"), [("cuda:2", {"report"}), ("cpu", set())])
def test_only_report_jobs_see_the_gpu_and_only_where_it_is_named(world, monkeypatch, device, seen):
    site = set_device(world, device)
    monkeypatch.setattr(warm, "find_gpu", lambda name: GPU if name == "cuda:2" else None)
    sandboxes = warm.SandboxPool(site)
    shown = set()
    for profile in Profile:
        sandbox = started(sandboxes, profile)
        argv = of_process(sandbox, "cmdline")
        sandbox.end()
        if [part for part in argv if "nvidia" in part] == [f"/dev/{name}" for name in GPU.nodes]:
            shown.add(profile.value)
        else:
            assert "nvidia" not in " ".join(argv)
    assert shown == seen


def test_a_job_without_a_sandbox_sees_the_one_gpu_or_none(world, monkeypatch):
    from datasites.sandbox import UnsafeNoSandbox

    site = set_device(world, "cuda:2")
    monkeypatch.setattr(warm, "find_gpu", lambda _name: GPU)
    sandboxes = warm.SandboxPool(site, UnsafeNoSandbox())
    for profile, expected in ((Profile.REPORT, "2"), (Profile.TRAIN, "")):
        sandbox = started(sandboxes, profile)
        environ = of_process(sandbox, "environ")
        sandbox.end()
        assert f"CUDA_VISIBLE_DEVICES={expected}" in environ


@pytest.mark.parametrize(("device", "told"), [("cpu", "cpu"), ("cuda:2", "cuda:0")])
def test_the_job_is_told_the_name_that_holds_inside(by_hand, device, told):
    by_hand.agent._admission._site = set_device(by_hand.world, device)
    by_hand.begin(report_task(by_hand.world))
    assert Job.model_validate_json(by_hand.job.inputs["job.json"]).report_device == told


def test_where_the_named_gpu_is_not_reports_are_refused_unpaid_and_the_doctor_says_why(
    world, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("datasites.sandbox.driver.DEV", tmp_path)
    site = set_device(world, "cuda")
    world.submit_plan()
    agent = world.start()
    agent.step()
    world.approve()
    world.ask(report_task(world))
    with caplog.at_level(logging.WARNING):
        agent.step()
    answer = world.answer("rep")
    assert (answer.status, answer.reason) == (Status.REFUSED, Reason.NO_SANDBOX)
    assert "rep" not in world.site.ledger.account().states
    assert 'set report_device to "cpu" in site.toml' in caplog.text
    found = {one.name: one for one in examine(site)}["report device"]
    assert found.health is Health.PROBLEM
    assert f"{tmp_path}/nvidia0 is not here" in found.what
    assert CliRunner().invoke(app, ["site", "doctor", str(site.root)]).exit_code == 6


def test_the_doctor_tries_the_driver_in_a_sandbox(world, monkeypatch):
    assert "no job sees" in doctor._report_device(set_device(world, "cpu")).what
    site = set_device(world, "cuda:2")
    assert read_settings(site.root).report_device == "cuda:2"
    monkeypatch.setattr(doctor, "find_gpu", lambda _name: GPU)
    with pytest.raises(SandboxError, match="does not start in a sandbox"):
        doctor._report_device(site)
    monkeypatch.setattr(doctor, "probe_gpu", lambda _installation, _gpu: None)
    assert doctor._report_device(site).health is Health.FINE

"""Slots, and noise in place of a failure: nothing that leaves tells how a job went on the images.

Proven: an answer leaves when its slot is over, however soon the job ended, and everything in it is
stamped with that moment; the next job waits as well; what was collected survives a restart, and is
settled at the slot's end or at once if it is past. A job that ends badly after it left its
noise-only outputs is released as noise: the same files, codes, receipts and ledger entries; the
cause is with the owner alone. One that ends badly before is a coded failure. Noise-only outputs
that break a rule fail the job whatever its own are.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from datasites.agent.request_store import RequestState
from datasites.agent.slots import Running
from datasites.cli.site import app
from datasites.desk import Desk
from datasites.errors import OutputError, Reason, RefusedError
from datasites.plans import SlotPart, make_bundle, slot_s, work_time_s
from datasites.plans.answers import Status
from datasites.sandbox import Ending
from datasites.site.job_causes import FOLDER, causes
from datasites.site.settings import read_settings, write_settings
from datasites.site.site import now_utc, stamp
from models import WeightsError, initial_weights, weights_to_bytes
from privacy import sha256_hex


@pytest.fixture(scope="module")
def trained() -> bytes:
    """Weights that a job made; the ones that came along stand for noise around them."""
    return weights_to_bytes(
        initial_weights("small_cnn", text=None, classes=2, image_size=32, seed=2)
    )


class Played:
    """A sandbox in which a job ended in some way."""

    def __init__(self, folder, ending):
        self.folder, self._ending = folder, ending

    def poll(self):
        return self._ending

    def discard(self):
        pass


@pytest.fixture
def run(by_hand, trained):
    """Have the agent look after a job that ended like this, in a slot of so many seconds."""

    def begin(ending=Ending.DONE, *, slot=0.0, own=None, noise=None):
        world, agent = by_hand.world, by_hand.agent
        by_hand.begin(world.task())
        by_hand.result(1)
        by_hand.noise_only(weights__safetensors=world.weights if noise is None else noise)
        if own is not None:
            by_hand.own(weights__safetensors=own)
        by_hand.folder.log.write_text("Traceback: image 7 overflows")
        due = stamp(now_utc() + timedelta(seconds=slot))
        request = agent._book.change(
            by_hand.request, state=RequestState.RUNNING, due=due, slot_s=slot
        )
        agent._running = Running(
            request,
            replace(by_hand.job, request=request),
            Played(by_hand.folder, ending),
            time.monotonic() + slot,
        )
        agent.step()
        return by_hand.world

    return begin


def _modes(folder):
    return {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}


def _receipt(world):
    return json.loads(world.answer("t1").receipt)["receipt"]


def _shape(world):
    """What leaves and what the ledger holds, but for values that noise decides."""
    answer = json.loads(world.answers("t1")["answer.json"])
    receipt = json.loads(answer.pop("receipt"))["receipt"]
    receipt = {name: receipt[name] for name in sorted(receipt) if name not in ("ledger", "time")}
    outputs = sorted(receipt.pop("outputs"))
    files = {name: len(data) for name, data in world.answers("t1").items()}
    return answer, receipt, outputs, files, world.kinds()


BAD = [
    (Ending.FAILED, None),
    (Ending.TIMED_OUT, None),
    (Ending.OVER_LIMITS, None),
    (Ending.DONE, None),
    (Ending.DONE, b""),
    (Ending.FAILED, "trained"),
]


@pytest.mark.parametrize(("ending", "own"), BAD)
def test_a_job_that_ends_badly_on_data_is_released_as_noise_like_any_other(
    run, trained, ending, own, caplog
):
    world = run(ending, own=trained if own == "trained" else own)
    assert world.answer("t1").status is Status.DONE
    assert world.answer("t1").reason is None
    assert world.answers("t1")["weights.safetensors"] == world.weights
    assert _receipt(world)["outputs"] == {"weights.safetensors": sha256_hex(world.weights)}
    assert world.site.ledger.account().states["t1"] == "committed"
    assert "job_failed" not in world.kinds()
    (cause,) = causes(world.site)
    assert (cause.request, cause.plan_sha256) == ("t1", world.bundle.sha256)
    assert "image 7 overflows" in cause.log
    said = CliRunner().invoke(app, ["status", str(world.site.root)]).output
    assert "noise alone" in said
    assert "t1" in said
    # Others may read the agent's log; the owner alone reads what the job printed.
    assert "causes/t1.json" in caplog.text
    assert "overflows" not in caplog.text
    assert _modes(world.site.root / FOLDER) == {0o600, 0o700}
    # Nothing of it leaves or is in what an auditor gets.
    for data in (*world.answers("t1").values(), world.site.ledger_path.read_bytes()):
        assert b"overflows" not in data


def test_noise_in_place_of_a_failure_looks_like_success(run, trained, world):
    shapes = []
    good = run(own=trained)
    assert good.answers("t1")["weights.safetensors"] == trained
    assert causes(good.site) == []
    shapes.append(_shape(good))
    # The same hospital once more, on the same relay, with a job that dies.
    answer, receipt, outputs, files, kinds = shapes[0]
    assert answer == {
        "version": 1, "request": "t1", "status": "done", "reason": None, "sandboxed": True,
    }  # fmt: skip
    assert set(files) == {"answer.json", "weights.safetensors"}
    assert outputs == ["weights.safetensors"]
    assert receipt["dataset_version"] == good.site.card().dataset_version
    assert kinds[-4:] == ["spend_reserved", "spend_committed", "output_held", "output_released"]


@pytest.mark.parametrize("noise", [b"", b"not weights"])
def test_what_was_wrong_before_a_shard_was_opened_fails_whatever_came_after(
    run, trained, noise, caplog
):
    world = run(Ending.FAILED, own=trained, noise=noise)
    answer = world.answer("t1")
    assert (answer.status, answer.reason) == (Status.FAILED, Reason.JOB_FAILED)
    assert world.site.ledger.account().states["t1"] == "reserved"
    assert causes(world.site) == []
    assert "causes/t1.log" in caplog.text
    assert "overflows" not in caplog.text
    assert "overflows" in (world.site.root / FOLDER / "t1.log").read_text()
    assert _modes(world.site.root / FOLDER) == {0o600, 0o700}


def test_a_job_that_left_no_noise_is_refused(by_hand, trained):
    by_hand.begin(by_hand.world.task())
    by_hand.own(weights__safetensors=trained)
    with pytest.raises(OutputError, match="without data"):
        by_hand.finish()
    by_hand.result(1)
    with pytest.raises((OutputError, WeightsError)):
        by_hand.finish()


def test_an_answer_waits_for_its_slot_and_is_stamped_with_its_end(run, trained, until):
    world = run(own=trained, slot=3600.0)
    agent = world.agents[-1]
    assert agent._running.sandbox is None  # collected: a death would lose nothing
    assert agent._book.results("t1") is not None
    due = agent._book.get("t1").due
    world.ask(world.task("t2"))
    for _ in range(3):
        agent.step()
    assert world.answer("t1") is None
    assert world.site.ledger.account().states["t1"] == "reserved"
    assert agent._book.get("t2").state is RequestState.QUEUED
    assert 3500 < agent._left_s() <= 3600
    agent._running = replace(agent._running, due=0.0)
    agent.step()
    assert world.answer("t1").status is Status.DONE
    assert _receipt(world)["time"] == due
    about = [e.entry for e in world.site.ledger.entries() if e.entry.resource == "t1-weights"]
    assert {entry.time for entry in about} == {due}
    (item,) = Desk(world.site).items()
    assert (item.held, item.decided) == (due, due)
    committed = [e.entry for e in world.site.ledger.entries() if e.entry.kind == "spend_committed"]
    assert committed[-1].time == due


def _again(world):
    agent = world.agents.pop()
    agent._warm.end()
    os.close(agent._lock)
    return world.start()


def test_a_slot_goes_on_after_a_restart(run, trained):
    world = run(own=trained, slot=3600.0)
    due = world.agents[-1]._book.get("t1").due
    agent = _again(world)
    agent.step()
    assert world.answer("t1") is None
    assert 3500 < agent._left_s() <= 3600
    agent._running = replace(agent._running, due=0.0)
    agent.step()
    assert _receipt(world)["time"] == due


def test_a_slot_that_is_past_after_a_restart_is_settled_at_once(run, trained):
    world = run(own=trained, slot=3600.0)
    book = world.agents[-1]._book
    past = stamp(now_utc() - timedelta(seconds=5))
    book.put(replace(book.get("t1"), due=past))
    _again(world).step()
    assert _receipt(world)["time"] == past


def test_a_clock_that_was_set_back_does_not_keep_an_answer(run, trained):
    world = run(own=trained, slot=3600.0)
    book = world.agents[-1]._book
    book.put(replace(book.get("t1"), due=stamp(now_utc() + timedelta(days=400))))
    agent = _again(world)
    agent.step()
    assert agent._left_s() <= 3600


def test_a_real_job_that_does_not_end_in_its_slot_leaves_noise_alone(world, plan, until, cold):
    """The sandbox is real, and is told of no deadline but the slot's."""
    world.submit_plan(make_bundle(plan, None))
    agent = world.start()
    agent.step()
    world.approve()
    world.ask(world.task("t1"))
    until(agent, lambda: agent._running)
    running = agent._running
    asked = running.sandbox._deadline - time.monotonic()
    assert asked <= work_time_s(plan.slots.first_train_s)
    noise = running.sandbox.folder.outputs / "_noise-only.result.json"
    while not noise.exists():
        assert running.sandbox.alive
    os.kill(running.sandbox._process.pid, signal.SIGSTOP)  # it stands still from now on
    running.sandbox._deadline = 0.0
    until(agent, lambda: world.answer("t1"))
    assert world.answer("t1").status is Status.DONE
    assert world.answers("t1")["weights.safetensors"] != world.weights
    assert len(causes(world.site)) <= 1  # it may have been done in the same moment


def test_the_slot_is_a_function_of_the_requests(plan, world):
    slots = SlotPart(first_train_s=7, train_s=5, generate_s=3, pool_s=2, report_s=1)
    made = plan.model_copy(update={"slots": slots})
    task = world.task()
    found = [slot_s(task, plan=made, rounds_started=done) for done in ((), (1,), (1, 1))]
    assert found == [7, 5, 5]
    assert slots.longest_s == 7


def test_a_slot_longer_than_a_job_may_work_is_refused(approved):
    site = approved.site
    settings = read_settings(site.root)
    write_settings(site.root, settings.model_copy(update={"job_timeout_s": 30}))
    world, agent = approved, approved.agents[-1]
    object.__setattr__(agent._site, "settings", read_settings(site.root))
    assert world.refuse(world.task()).reason is Reason.SLOT_TOO_LONG
    object.__setattr__(world.site, "settings", read_settings(site.root))
    with pytest.raises(RefusedError, match="job_timeout_s") as refused:
        world.approve()
    assert refused.value.code is Reason.SLOT_TOO_LONG


@pytest.mark.parametrize("slot", [0.1, 1.0, 10.0, 600.0])
def test_a_slot_leaves_time_to_check_outputs(slot):
    assert 0.9 * slot <= work_time_s(slot) < slot
    assert slot - work_time_s(slot) <= 1.0


def test_due_is_a_time(run, trained):
    world = run(own=trained, slot=60.0)
    assert datetime.fromisoformat(world.agents[-1]._book.get("t1").due).tzinfo is not None

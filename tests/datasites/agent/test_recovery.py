"""How an open request goes on, from what the disk says; and finishing twice is finishing once."""

from __future__ import annotations

import itertools
import json

import pytest

from datasites.agent.recovery import RecoveryAction, course
from datasites.agent.request_store import RequestState
from datasites.errors import Reason
from datasites.plans.answers import Status
from privacy import LedgerWriteError


@pytest.mark.parametrize(
    ("ended", "collected", "reserved"), list(itertools.product([True, False], repeat=3))
)
def test_the_furthest_step_on_disk_decides(ended, collected, reserved):
    expected = RecoveryAction.START
    if reserved:
        expected = RecoveryAction.FAIL
    if collected:
        expected = RecoveryAction.FINISH
    if ended:
        expected = RecoveryAction.CLOSE
    assert course(ended=ended, collected=collected, reserved=reserved) is expected


def _again(world, agent):
    """What a kill does to an agent, and a new one in its place."""
    import os

    agent._warm.end()
    os.close(agent._lock)
    world.agents.clear()
    return world.start()


def test_collected_outputs_are_settled_by_the_next_agent(by_hand):
    world = by_hand.world
    by_hand.begin(world.task())
    by_hand.agent._book.change(by_hand.request, state=RequestState.RUNNING)
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    by_hand.agent._completion.collect(by_hand.job, by_hand.folder)
    agent = _again(world, by_hand.agent)
    agent.step()
    answer = world.answer("t1")
    assert answer.status is Status.DONE
    assert json.loads(answer.receipt)["receipt"]["request"] == "t1"
    assert world.answers("t1")["weights.safetensors"] == world.weights
    kinds = world.kinds()
    for kind in ("spend_committed", "output_held", "output_released"):
        assert kinds.count(kind) == kinds.count("spend_reserved") - (kind != "spend_committed"), (
            kind
        )


def test_settling_twice_commits_and_releases_once(by_hand):
    world = by_hand.world
    by_hand.begin(world.task())
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    by_hand.finish()
    before = world.kinds()
    kept = by_hand.agent._book.results("t1")
    assert by_hand.agent._completion.settle(by_hand.job, kept).status is Status.DONE
    assert world.kinds() == before


def test_an_ending_that_only_the_ledger_knows_is_not_logged_twice(by_hand):
    world = by_hand.world
    by_hand.begin(world.task())
    request = by_hand.agent._book.change(by_hand.request, state=RequestState.RUNNING)
    by_hand.agent._failures.fail(request, Reason.JOB_FAILED, "words")
    by_hand.agent._book.put(request)  # as if the agent had died before its record followed
    agent = _again(world, by_hand.agent)
    agent.step()
    assert (world.answer("t1").status, world.answer("t1").reason) == (
        Status.FAILED,
        Reason.JOB_FAILED,
    )
    assert world.kinds().count("job_failed") == 1


def test_a_full_disk_under_the_ledger_leaves_the_request_queued(approved, monkeypatch, until):
    world, agent = approved, approved.agents[-1]
    world.ask(world.task())

    def full(*_args):
        raise LedgerWriteError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(agent._admission, "reserve", full)
        with pytest.raises(LedgerWriteError):
            until(agent, lambda: False)
    assert agent._book.get("t1").state is RequestState.QUEUED
    assert not list((world.site.root / "scratch").iterdir())
    until(agent, lambda: agent._running)
    assert agent._book.get("t1").state is RequestState.RUNNING
    assert world.kinds().count("run_refused") == 0


def test_a_job_ends_while_the_relay_is_away(by_hand):
    world = by_hand.world
    relay, away = world.root / "relay", world.root / "away"
    by_hand.begin(world.task())
    by_hand.agent._failures.fail(by_hand.request, Reason.JOB_FAILED, "words")
    second = world.task("t2")
    world.ask(second)
    for inbound in by_hand.agent._link.fetch():
        by_hand.agent._inbox.take(inbound, sender_key="key")
    relay.rename(away)
    with pytest.raises(Exception, match="not there"):
        by_hand.agent.step()
    assert by_hand.agent._warm._awaited is not None  # t2 waits for its sandbox
    away.rename(relay)
    by_hand.agent.step()
    assert world.answer("t1") is not None

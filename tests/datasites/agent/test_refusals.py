"""What a hospital refuses, and that only coded reasons say so.

Proven: each broken condition gives its coded reason, reserves nothing, and no answer holds a word
of the owner's, a path or an exact count; altered plans and approvals are refused and do not stop
the agent; a second agent is refused; an interrupted job fails and stays spent.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from datasites.errors import Reason, RefusedError, RelayError, SiteBusyError
from datasites.ingest import load_shard, make_shard, save_shard
from datasites.owner.plan_review import reject, revoke
from datasites.plans import GenerateTask, ReportTask, make_bundle, parse_task, task_bytes
from datasites.plans.answers import Answer, PlanDecision, Status
from datasites.site.plan_store import PlanStore
from privacy import Budget, canonical_bytes, set_budget, sha256_hex


def _refused(answer: Answer, reason: Reason) -> None:
    assert answer == Answer(request=answer.request, status=Status.REFUSED, reason=reason)


def test_what_is_outside_the_plan_is_refused(approved):
    world = approved
    for request, fields, reason in [
        ("rate", {"learning_rate": 1.5}, Reason.PARAMETER_OUT_OF_RANGE),
        ("steps", {"steps": 3}, Reason.PARAMETER_OUT_OF_RANGE),
        ("mu", {"proximal_mu": 0.1}, Reason.PARAMETER_OUT_OF_RANGE),
        ("round", {"round": 3}, Reason.ROUND_OUT_OF_ORDER),
        ("plan", {"plan_sha256": "f" * 64}, Reason.MALFORMED_REQUEST),
    ]:
        _refused(world.refuse(world.task(request, **fields)), reason)
    generate = GenerateTask(request="generate", plan_sha256=world.bundle.sha256)
    _refused(world.refuse(generate), Reason.MALFORMED_REQUEST)
    assert world.kinds().count("run_refused") == 6
    everything = b"".join(
        data for job in ("rate", "steps", "plan", "plan-1") for data in world.answers(job).values()
    )
    for secret in (b"internal words", str(world.root).encode(), b"approved is"):
        assert secret not in everything


def test_a_plan_nobody_decided_on_is_refused(world):
    world.submit_plan()
    world.start().step()
    _refused(world.refuse(world.task()), Reason.NOT_APPROVED)
    assert "decision.json" not in world.answers("plan-1")


def test_a_rejected_plan_is_refused_without_the_reason(world):
    world.submit_plan()
    world.start().step()
    reject(world.site, world.bundle.sha256, reviewer="ann", reason="internal words")
    _refused(world.refuse(world.task()), Reason.REJECTED_BY_OWNER)
    data = world.answers("plan-1")["decision.json"]
    decision = PlanDecision.model_validate_json(data)
    assert (decision.approved, decision.reason) == (False, Reason.REJECTED_BY_OWNER)
    assert b"internal words" not in data


def test_a_revoked_approval_is_refused_and_the_researcher_is_told(approved):
    world = approved
    world.agents[-1].step()
    revoke(world.site, world.bundle.sha256, reviewer="ann", reason="internal words")
    _refused(world.refuse(world.task()), Reason.APPROVAL_REVOKED)
    data = world.answers("plan-1")["revoked.json"]
    assert PlanDecision.model_validate_json(data).reason is Reason.APPROVAL_REVOKED
    assert b"internal words" not in data


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expires": "2020-01-01T00:00:00.000Z"}, Reason.APPROVAL_EXPIRED),
        ({"researcher_key": "0000"}, Reason.WRONG_RESEARCHER),
        ({"runtime_sha256": "0" * 64}, Reason.RUNTIME_CHANGED),
        ({"dataset_version": "0" * 64}, Reason.DATASET_CHANGED),
        ({"reviewers": ()}, Reason.NOT_APPROVED),
        ({"max_rounds": 0}, Reason.ROUNDS_USED_UP),
    ],
)
def test_an_approval_for_other_circumstances_is_refused(approved, fields, reason):
    store = PlanStore(approved.site)
    approval = store.approval(approved.bundle.sha256)
    store.decide(replace(approval, **fields))
    _refused(approved.refuse(approved.task()), reason)


@pytest.mark.parametrize("edit", [(b"0.5", b"0.6"), (b"{", b"<")], ids=["valid", "broken"])
def test_a_plan_that_changed_on_disk_is_refused(approved, edit):
    path = approved.site.root / "plans" / approved.bundle.sha256 / "plan.json"
    path.write_bytes(path.read_bytes().replace(*edit))
    _refused(approved.refuse(approved.task()), Reason.PLAN_CHANGED)


def test_a_shard_that_the_card_does_not_know_is_not_trained_on(approved, cold):
    """As it lies after a death in the middle of an ingest: the shard is new, its card is not."""
    shard = load_shard(approved.site.shard("train"))
    other = make_shard(
        images=np.array(shard.images)[::-1],
        labels=np.array(shard.labels)[::-1],
        units=np.arange(len(shard.labels)),
        classes=shard.classes,
        rules=shard.rules,
    )
    save_shard(other, approved.site.shard("train"), replace=True)
    assert approved.refuse(approved.task()).reason is Reason.DATASET_CHANGED


@pytest.mark.parametrize("how", ["edited", "cut"])
def test_an_approval_the_site_did_not_sign_is_refused(approved, how):
    path = approved.site.root / "approvals" / f"{approved.bundle.sha256}.json"
    record = json.loads(path.read_text())
    record["approval"]["max_rounds"] = 1000
    path.write_text(json.dumps(record) if how == "edited" else path.read_text()[:-20])
    _refused(approved.refuse(approved.task()), Reason.NOT_APPROVED)
    with pytest.raises(RefusedError, match="decide again"):
        PlanStore(approved.site).approval(approved.bundle.sha256)


def test_an_approval_of_an_earlier_format_is_refused_and_said_to_be_one(approved):
    """Before there was an envelope its signature was over the approval alone, for no purpose."""
    path = approved.site.root / "approvals" / f"{approved.bundle.sha256}.json"
    record = json.loads(path.read_text())
    del record["format"]
    record["signature"] = approved.site.key.sign(canonical_bytes(record["approval"]))
    path.write_text(json.dumps(record))
    _refused(approved.refuse(approved.task()), Reason.NOT_APPROVED)
    with pytest.raises(RefusedError, match=r"not of the format dura.approval/2"):
        PlanStore(approved.site).approval(approved.bundle.sha256)


def test_a_spend_beyond_the_budget_is_refused(approved):
    spent = approved.site.ledger.account().epsilon()
    approved.site.ledger.append(
        set_budget(
            Budget(epsilon=spent + 0.01, delta=1e-5),
            actor="owner",
            reason="less",
            time="2026-01-01T00:00:00Z",
        )
    )
    _refused(approved.refuse(approved.task()), Reason.BUDGET_EXCEEDED)
    assert approved.site.ledger.account().epsilon() == spent


def test_what_is_malformed_is_refused_and_not_kept(world):
    agent = world.start()
    weights = world.weights
    good = task_bytes(world.task("good"))
    world.submit("no-json", task__json=b"{")
    world.submit("unknown", task__json=good.replace(b'"round"', b'"rounds"'))
    world.submit("no-weights", task__json=good)
    world.submit("other-weights", task__json=good, weights__safetensors=weights + b"x")
    brought = {"weights__safetensors": weights, "correction__safetensors": weights}
    world.submit("unnamed-correction", task__json=good, **brought)
    corrected = task_bytes(world.task("corrected", correction_sha256="c" * 64))
    world.submit("other-correction", task__json=corrected, **brought)
    world.submit("no-correction", task__json=corrected, weights__safetensors=weights)
    world.submit("more", task__json=good, weights__safetensors=weights, extra__txt=b"x")
    world.submit("nothing", notes__txt=b"hello")
    stolen = world.plan.model_copy(update={"researcher": "other@university.example"})
    world.submit("stolen", plan__json=make_bundle(stolen, None).files["plan.json"])
    twice = world.bundle.files["plan.json"].replace(b'"rounds"', b'"rounds": 1,\r  "rounds"')
    world.submit("twice", plan__json=twice)
    agent.step()
    jobs = (
        *("no-json", "unknown", "no-weights", "other-weights", "more", "nothing", "stolen"),
        *("unnamed-correction", "other-correction", "no-correction", "twice"),
    )
    for job in jobs:
        _refused(world.answer(job), Reason.MALFORMED_REQUEST)
    assert not agent._book.all()
    assert not agent._plans.all()
    assert world.kinds().count("run_refused") == len(jobs)


def test_a_request_id_is_served_once(world):
    world.submit_plan()
    agent = world.start()
    agent.step()
    first = world.task("same")
    _refused(world.refuse(first), Reason.NOT_APPROVED)
    world.ask(first, job="again")
    agent.step()
    _refused(world.answer("again"), Reason.DUPLICATE_REQUEST)
    assert len(agent._book.all()) == 1


def test_a_message_that_is_not_signed_is_recorded(world):
    agent = world.start()
    world.ask(world.task("t1"))
    inbox = world.root / "relay"
    names = [path for path in inbox.rglob("*") if path.is_file() and "inbox" in path.parts]
    message = max(names, key=lambda path: path.stat().st_size)
    data = bytearray(message.read_bytes())
    data[len(data) // 2] ^= 1
    message.write_bytes(bytes(data))
    agent.step()
    entry = list(world.site.ledger.entries())[-1].entry
    assert (entry.action, entry.reason) == ("send message", "bad_signature")
    assert not agent._book.all()


def test_a_second_agent_is_refused(world):
    agent = world.start()
    with pytest.raises(SiteBusyError, match="another agent"):
        world.start()
    agent.close()
    world.agents.clear()
    world.start()


def test_a_relay_that_is_away_loses_nothing(world):
    world.submit_plan()
    agent = world.start()
    relay = world.root / "relay"
    relay.rename(world.root / "away")
    steps = iter([False, False, True])
    with pytest.raises(RelayError):
        agent.step()
    agent.serve(stopped=lambda: next(steps))
    world.agents.clear()
    (world.root / "away").rename(relay)
    world.start().step()
    assert world.kinds()[-1] == "plan_received"


def test_a_killed_agents_job_fails_and_stays_spent(approved, until):
    world = approved
    agent = world.agents.pop()
    world.ask(world.task())
    until(agent, lambda: agent._running)
    assert agent._book.get("t1").state == "running"
    # What a kill does: the sandbox dies with its parent, the lock is let go, nothing is tidied.
    agent._running.sandbox.end()
    agent._warm.end()
    os.close(agent._lock)
    spent = world.site.ledger.account().epsilon()
    again = world.start()
    again.step()
    answer = world.answer("t1")
    assert (answer.status, answer.reason) == (Status.FAILED, Reason.JOB_INTERRUPTED)
    assert world.site.ledger.account().states["t1"] == "reserved"
    assert world.site.ledger.account().epsilon() == spent
    # A message that comes once more, after a crash, is not a second request.
    world.ask(world.task())
    again.step()
    assert world.answer("t1") == answer


def test_a_job_that_dies_before_it_opens_the_shard_fails_and_stays_spent(approved, until):
    world = approved
    world.ask(world.task())
    agent = world.agents[-1]
    until(agent, lambda: agent._running)
    agent._running.sandbox.end()
    for left in agent._running.sandbox.folder.outputs.iterdir():
        left.unlink()
    agent.step()
    answer = world.answer("t1")
    assert (answer.status, answer.reason) == (Status.FAILED, Reason.JOB_FAILED)
    assert world.site.ledger.account().states["t1"] == "reserved"
    assert world.kinds()[-1] == "job_failed"


def test_a_job_whose_data_is_missing_is_refused_unpaid(approved):
    shutil.rmtree(approved.site.shard("test"))
    task = ReportTask(
        request="rep",
        plan_sha256=approved.bundle.sha256,
        weights_sha256=sha256_hex(approved.weights),
        rounds=1,
        hospitals=1,
    )
    approved.ask(parse_task(task_bytes(task)))
    approved.agents[-1].step()
    answer = approved.answer("rep")
    assert (answer.status, answer.reason) == (Status.REFUSED, Reason.NO_SANDBOX)
    assert "rep" not in approved.site.ledger.account().states


def test_a_kill_between_reservation_and_start_is_an_interruption(by_hand):
    by_hand.begin(by_hand.world.task())
    by_hand.agent.step()
    answer = by_hand.world.answer("t1")
    assert (answer.status, answer.reason) == (Status.REFUSED, Reason.JOB_INTERRUPTED)
    assert by_hand.world.site.ledger.account().states["t1"] == "reserved"


def test_a_round_run_again_leaves_room_for_all_rounds_of_the_plan(world):
    """What the plan fixed beforehand holds each round once; a rerun is charged by itself."""
    world.submit_plan()
    agent = world.start()
    agent.step()
    world.approve(max_rounds=3)
    charged = []
    for request, number in (("first", 1), ("again", 1), ("last", 2)):
        world.ask(world.task(request, round=number, steps=2))
        paired = agent._link.paired()
        for inbound in agent._link.fetch():
            assert agent._inbox.take(inbound, sender_key=paired[inbound.sender]) is None
        asked = agent._book.get(request)
        job = agent._admission.check(asked, sender_key=paired[asked.sender])
        agent._admission.reserve(job)
        charged.append(world.site.ledger.account().epsilon())
    assert charged[0] < charged[1] == charged[2]

"""Peers that come, flood, and are turned away.

Proven: refusals are counted and cannot flood the ledger; a researcher can neither fill the disk
with requests nor with plans, nor repeat a run beyond leave; who is unpaired has their job ended,
their requests refused and nothing sent, while what was spent stays spent.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from datasites.agent import inbox as inbound
from datasites.agent.refusals import EACH, RefusalLog, worth_an_entry
from datasites.agent.request_store import Request, RequestState, in_turn
from datasites.desk import Desk, ItemState
from datasites.errors import PeerKeyError, PlanError, Reason, SettingsError, SiteBusyError
from datasites.owner import pairing as peers
from datasites.owner import plan_review as review
from datasites.owner.pairing import participant
from datasites.plans import ReportTask
from datasites.plans.answers import Answer, Status
from datasites.site.plan_store import PlanStore
from datasites.site.settings import make_settings
from datasites.syftnet import OwnerLink
from privacy import sha256_hex

HOSPITAL, RESEARCHER = "a@hospital.example", "r@university.example"


def _unpair(world):
    link = OwnerLink(participant(world.site), lambda _peer, _code: None)
    return peers.unpair(world.site, link, email=RESEARCHER, actor="ann", reason="left")


def _refused(request: str, reason: Reason) -> Answer:
    return Answer(request=request, status=Status.REFUSED, reason=reason)


def test_a_million_bad_messages_are_forty_entries_a_reason():
    assert sum(worth_an_entry(count) for count in range(1, 1_000_001)) <= 40
    assert all(worth_an_entry(count) for count in range(1, EACH + 1))


def test_refusals_are_counted_over_restarts_and_written_by_powers_of_two(site):
    for _ in range(100):
        RefusalLog(site).record(
            peer=RESEARCHER, action="send message", resource="inbox", code="bad_signature"
        )
    found = [one.entry for one in site.ledger.entries() if one.entry.kind.value == "run_refused"]
    assert [dict(entry.detail) for entry in found[EACH:]] == [{"count": 32}, {"count": 64}]
    assert len(found) == EACH + 2


def test_a_broken_count_writes_more_and_never_less(site):
    log = RefusalLog(site)
    log.record(peer="p", action="a", resource="r", code="c")
    (site.root / "refusals.json").write_text("{")
    RefusalLog(site).record(peer="p", action="a", resource="r", code="c")
    assert [one.entry.reason for one in site.ledger.entries()][-2:] == ["c", "c"]


def _queued(number: int, sender: str, state: RequestState = RequestState.QUEUED) -> Request:
    return Request(f"r{number}", f"r{number}", sender, f"{number:04}", state)


def test_a_researcher_with_a_full_queue_does_not_make_another_wait_for_all_of_it():
    """Eve fills her sixteen places first; Ann, who comes last, has every other turn."""
    waiting = [_queued(number, "eve") for number in range(16)]
    waiting += [_queued(20, "eve", RequestState.RUNNING)]
    waiting += [_queued(number, "ann") for number in range(30, 33)]
    served: dict[str, int] = {}
    order = []
    while turn := in_turn(waiting, served=served):
        order.append(turn[0])
        served[turn[0].sender] = 1 + max(served.values(), default=0)
        waiting.remove(turn[0])
    assert [one.sender for one in order[:7]] == ["eve", "ann"] * 3 + ["eve"]
    for sender in ("eve", "ann"):
        own = [one.received for one in order if one.sender == sender]
        assert own == sorted(own)
    assert len(order) == 19


def test_a_flood_of_requests_is_refused_and_its_files_are_dropped(world, monkeypatch):
    monkeypatch.setattr(inbound, "MAX_OPEN_REQUESTS", 2)
    agent = world.start()
    for number in range(3):
        world.ask(world.task(f"t{number}", plan_sha256=world.bundle.sha256))
    agent.step()
    assert world.answer("t2") == _refused("t2", Reason.TOO_MANY_REQUESTS)
    agent.step()
    left = [path.name for path in (world.site.root / "jobs").glob("*.files")]
    assert left == []  # nothing was approved, so both others were refused meanwhile


def test_a_flood_of_plans_is_refused_and_the_same_plan_counts_once(world, monkeypatch):
    monkeypatch.setattr(inbound, "MAX_OPEN_PLANS", 1)
    agent = world.start()
    for job in ("plan-1", "plan-1"):
        world.link.submit(site=HOSPITAL, job=job, files=world.bundle.files)
    other = world.plan.model_copy(update={"rounds": 2, "study": "another"})
    from datasites.plans import make_bundle

    world.link.submit(site=HOSPITAL, job="plan-2", files=make_bundle(other, None).files)
    agent.step()
    assert world.kinds().count("plan_received") == 1
    assert world.answer("plan-2") == _refused("plan-2", Reason.TOO_MANY_REQUESTS)


def test_weights_that_changed_on_disk_are_not_trained_on(approved):
    world, agent = approved, approved.agents[-1]
    world.ask(world.task())
    paired = agent._link.paired()
    for one in agent._link.fetch():
        agent._inbox.take(one, sender_key=paired[one.sender])
    path = agent._book.inputs("t1") / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    agent.step()
    assert world.answer("t1") == _refused("t1", Reason.PLAN_CHANGED)
    assert world.kinds().count("spend_reserved") == 1  # the card's


def test_a_second_report_needs_leave(by_hand):
    world = by_hand.world
    fields = {
        "plan_sha256": world.bundle.sha256,
        "weights_sha256": sha256_hex(world.weights),
        "rounds": 1,
        "hospitals": 1,
    }
    by_hand.begin(ReportTask(request="rep-1", **fields))
    by_hand.agent._book.change(by_hand.request, state="failed")
    world.ask(ReportTask(request="rep-2", **fields))
    by_hand.agent.step()
    assert world.answer("rep-2") == _refused("rep-2", Reason.RERUN_NEEDS_LEAVE)
    store = PlanStore(world.site)
    approval = store.approval(world.bundle.sha256)
    store.decide(replace(approval, max_rounds=world.plan.rounds + 1))
    by_hand.begin(ReportTask(request="rep-3", **fields))
    assert "rep-3" in world.site.ledger.account().states


def test_an_unpaired_researchers_job_ends_and_stays_spent(approved, until):
    world, agent = approved, approved.agents[-1]
    for request in ("t1", "t2"):
        world.ask(world.task(request))
    until(agent, lambda: agent._running)
    running = agent._running
    assert running is not None
    spent = world.site.ledger.account().epsilon()
    assert _unpair(world) == 1
    agent.step()
    assert not running.sandbox.alive
    assert not running.sandbox.folder.root.exists()
    agent.step()
    failed = Answer(request="t1", status=Status.FAILED, reason=Reason.PEER_UNPAIRED)
    assert world.answer("t1") == failed
    assert world.answer("t2") == _refused("t2", Reason.PEER_UNPAIRED)
    assert world.site.ledger.account().epsilon() == spent
    assert PlanStore(world.site).approval(world.bundle.sha256).revoked
    world.ask(world.task("t3"))
    agent.step()
    assert world.answer("t3") is None
    assert {"peer_unpaired", "approval_revoked", "job_failed"} <= set(world.kinds())


def test_what_was_released_does_not_follow_who_was_unpaired_since(by_hand):
    world = by_hand.world
    by_hand.begin(world.task())
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    by_hand.finish()
    assert [item.state for item in Desk(world.site).items()] == [ItemState.RELEASED]
    _unpair(world)
    by_hand.agent.step()
    assert world.answers("t1").keys() == {"answer.json"}
    assert world.answer("t1") == _refused("t1", Reason.PEER_UNPAIRED)


def test_only_a_paired_researcher_is_unpaired_and_only_with_a_reason(world):
    link = OwnerLink(participant(world.site), lambda _peer, _code: None)
    for email, reason, said in (("x@y.example", "left", "not paired"), (RESEARCHER, " ", "why")):
        with pytest.raises(PeerKeyError, match=said):
            peers.unpair(world.site, link, email=email, actor="ann", reason=reason)
    assert RESEARCHER in link.paired()


def test_who_was_unpaired_pairs_again_only_by_a_compared_key(world):
    _unpair(world)
    link = OwnerLink(participant(world.site), lambda _peer, _code: None)
    world.link.request(HOSPITAL)
    with pytest.raises(PeerKeyError, match="do not pair"):
        peers.pair(world.site, link, email=RESEARCHER, code="acid", actor="ann")
    peers.pair(world.site, link, email=RESEARCHER, code=world.link.fingerprint, actor="ann")
    agent = world.start()
    world.submit_plan()
    agent.step()
    assert world.kinds()[-1] == "plan_received"


def test_a_new_key_is_vouched_for_by_the_old_one_and_nothing_is_lost(world):
    agent = world.start()
    world.submit_plan()  # sealed for the old key, still on its way
    with pytest.raises(SiteBusyError):
        peers.rotate_key(world.site, actor="ann", reason="yearly")
    agent.close()
    world.agents.clear()
    before = world.link.pinned()[HOSPITAL]
    with pytest.raises(PeerKeyError, match="say why"):
        peers.rotate_key(world.site, actor="ann", reason="")
    mark = peers.rotate_key(world.site, actor="ann", reason="yearly")
    assert mark != before
    agent = world.start()
    agent.step()
    assert world.kinds()[-2:] == ["key_rotated", "plan_received"]
    world.link.collect()
    assert world.link.pinned()[HOSPITAL] == mark
    _ask_and_be_refused(world, agent)
    assert world.link.refused == []


def _ask_and_be_refused(world, agent):
    world.ask(world.task("after"))
    agent.step()
    assert world.answer("after") == _refused("after", Reason.NOT_APPROVED)


@pytest.mark.parametrize("name", [RESEARCHER, f"R <{RESEARCHER.upper()}>"])
def test_nobody_approves_what_they_submitted(world, name):
    world.submit_plan()
    world.start().step()
    with pytest.raises(PlanError, match="somebody else"):
        review.approve(
            world.site, world.bundle.sha256, reviewer=name, reason="x", terms=review.Terms()
        )
    assert "plan_approved" not in world.kinds()


def test_a_quorum_is_of_different_named_people():
    base = {"name": "A", "email": HOSPITAL, "relay": "file:///x", "quorum": 2}
    for reviewers in ((), ("ann",), ("ann", "ann")):
        with pytest.raises(SettingsError, match="quorum"):
            make_settings(**base, reviewers=reviewers)
    assert make_settings(**base, reviewers=("ann", "bob", "eve")).quorum == 2

"""Decisions of several people at once: real processes, one lock, and a revocation that stays.

Proven: whoever revokes or rejects while colleagues approve is not undone, by a later file, a crash
or an old file put back; every vote that the ledger holds rests on the votes before it; no spend is
reserved under what was revoked; a clock that is set back prolongs nothing.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from datasites.errors import PlanError, Reason, RefusedError
from datasites.owner.plan_review import Terms, approve, reject, revoke
from datasites.plans import APPROVED
from datasites.site import site as site_module
from datasites.site.plan_store import PlanStore
from datasites.site.site import now_utc, stamp
from privacy import EntryKind

TERMS = Terms(standing_release=True)
ABOUT = {EntryKind.PLAN_APPROVED, EntryKind.PLAN_REJECTED, EntryKind.APPROVAL_REVOKED}

DECIDE = """
import sys, time
from pathlib import Path
import datasites.site.plan_store as store
from datasites.errors import DatasitesError
from datasites.owner.plan_review import Terms, approve, reject, revoke
from datasites.site.site import Site
root, plan, what, who, pause = sys.argv[1:]
root = Path(root)
site = Site.open(root)
if pause == "pause":  # between the look at what was decided and the decision
    original = store.PlanStore.approval
    def slow(self, sha):
        found = original(self, sha)
        (root / "looked").touch()
        time.sleep(1.0)
        return found
    store.PlanStore.approval = slow
(root / f"ready-{who}").touch()
while not (root / "go").exists():
    time.sleep(0.001)
try:
    if what == "approve":
        approve(site, plan, reviewer=who, reason="read", terms=Terms(standing_release=True))
    else:
        {"revoke": revoke, "reject": reject}[what](site, plan, reviewer=who, reason="no")
except DatasitesError as error:
    print(error)
"""


def _start(world, what, who, pause=""):
    words = [str(world.site.root), world.bundle.sha256, what, who, pause]
    process = subprocess.Popen([sys.executable, "-c", DECIDE, *words], stdout=subprocess.PIPE)
    _await(world, f"ready-{who}", process)
    return process


def _await(world, name, process):
    while not (world.site.root / name).exists():
        assert process.poll() is None, "it ended before it was ready"
        time.sleep(0.01)


def _end(processes):
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0


def _story(world):
    sha = world.bundle.sha256
    entries = [sealed.entry for sealed in world.site.ledger.entries()]
    return [entry for entry in entries if entry.resource == sha and entry.kind in ABOUT]


def _must_be_one_story(world):
    """What the file says is what the ledger says, and the ledger tells a possible story."""
    votes: list[str] = []
    closed = False
    for entry in _story(world):
        assert not closed, "something was decided after a revocation or a rejection"
        if entry.kind is EntryKind.PLAN_APPROVED:
            assert entry.detail["reviewers"] == [*votes, entry.actor]
            votes = list(entry.detail["reviewers"])
        closed = entry.kind is not EntryKind.PLAN_APPROVED
    found = PlanStore(world.site).approval(world.bundle.sha256)
    assert found is not None
    assert closed == (found.revoked or found.decision != APPROVED)
    assert closed or list(found.reviewers) == votes
    path = world.site.root / "approvals" / f"{world.bundle.sha256}.json"
    kept = json.loads(path.read_text())["approval"]
    assert closed == (kept["revoked"] or kept["decision"] != APPROVED)


@pytest.fixture
def waiting(world):
    """A plan that waits for a decision here."""
    world.submit_plan()
    world.start().step()
    return world


def test_a_revocation_while_a_colleague_approves_is_not_undone(waiting):
    approve(waiting.site, waiting.bundle.sha256, reviewer="ann", reason="", terms=TERMS)
    colleague = _start(waiting, "approve", "bob", "pause")
    other = _start(waiting, "revoke", "ann")
    (waiting.site.root / "go").touch()
    _end([colleague, other])
    _must_be_one_story(waiting)
    found = PlanStore(waiting.site).approval(waiting.bundle.sha256)
    assert found.revoked
    assert _story(waiting)[-1].kind is EntryKind.APPROVAL_REVOKED


@pytest.mark.parametrize("seed", range(3))
def test_whoever_decides_at_once_the_ledger_tells_one_story(waiting, seed):
    draw = random.Random(seed)
    moves = [("approve", "ann"), ("approve", "bob"), ("approve", "eve"), ("reject", "kim")]
    moves += [("revoke", "lee"), ("revoke", "mia")]
    draw.shuffle(moves)
    processes = [_start(waiting, what, who) for what, who in moves]
    (waiting.site.root / "go").touch()
    _end(processes)
    _must_be_one_story(waiting)


def test_no_spend_is_reserved_under_what_was_revoked_a_moment_ago(approved):
    agent = approved.agents[-1]
    approved.ask(approved.task())
    original = agent._admission.reserve
    refused = []

    def reserve(job):
        revoke(approved.site, approved.bundle.sha256, reviewer="ann", reason="a doubt")
        try:
            return original(job)
        except RefusedError as error:
            refused.append(error.code)
            raise

    agent._admission.reserve = reserve
    deadline = time.monotonic() + 120
    while not refused and time.monotonic() < deadline:
        agent.step()
    assert refused == [Reason.APPROVAL_REVOKED]
    assert "spend_reserved" not in approved.kinds()[approved.kinds().index("plan_approved") :]


def test_an_old_approval_put_back_is_revoked_all_the_same(waiting):
    path = waiting.site.root / "approvals" / f"{waiting.bundle.sha256}.json"
    approve(waiting.site, waiting.bundle.sha256, reviewer="ann", reason="", terms=TERMS)
    old = path.read_bytes()
    revoke(waiting.site, waiting.bundle.sha256, reviewer="ann", reason="no")
    path.write_bytes(old)
    assert PlanStore(waiting.site).approval(waiting.bundle.sha256).revoked
    with pytest.raises(PlanError, match="rejected or revoked"):
        approve(waiting.site, waiting.bundle.sha256, reviewer="bob", reason="", terms=TERMS)


def test_a_rejection_whose_file_a_crash_cut_off_is_one(waiting):
    reject(waiting.site, waiting.bundle.sha256, reviewer="ann", reason="no")
    (waiting.site.root / "approvals" / f"{waiting.bundle.sha256}.json").unlink()
    with pytest.raises(PlanError, match="rejected or revoked"):
        approve(waiting.site, waiting.bundle.sha256, reviewer="bob", reason="", terms=TERMS)


def test_nothing_is_approved_of_somebody_who_was_turned_away(waiting):
    waiting.site.log(
        EntryKind.PEER_UNPAIRED, actor="ann", action="unpair", resource=waiting.plan.researcher
    )
    with pytest.raises(PlanError, match="was unpaired"):
        approve(waiting.site, waiting.bundle.sha256, reviewer="bob", reason="", terms=TERMS)


def test_a_clock_that_is_set_back_prolongs_no_approval(approved, monkeypatch):
    granted = PlanStore(approved.site).approval(approved.bundle.sha256)
    later = site_module.datetime.fromisoformat(granted.expires) + timedelta(days=1)
    approved.site.log(
        EntryKind.OUTPUT_HELD, actor="agent", action="hold", resource="x", time=stamp(later)
    )
    assert now_utc() < later
    assert approved.refuse(approved.task()).reason is Reason.APPROVAL_EXPIRED

"""The desk on disk: checked, recorded in the ledger, then done, so that a crash at any point
leaves nothing released twice, half, or without its record.

The site and its ledger are real; crashes are a disk that refuses one write.
"""

import json
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from datasites.desk import Desk, ItemKind, ItemState, occurrences
from datasites.desk import item_files as shelf_module
from datasites.desk.journal import Journal
from datasites.errors import (
    AlreadyDecidedError,
    DeskError,
    ReleaseRefusedError,
)
from datasites.site.locks import desk_lock
from privacy import EntryKind, LedgerWriteError

DECIDE = {"actor": "owner", "reason": "looked at it"}


def test_an_item_is_found_again_as_it_was_held(site, desk, held, kinds):
    item = held()
    again = Desk(type(site).open(site.root))
    assert again.get("q1") == item
    assert again.items() == [item]
    assert again.files(item) == desk.files(item)
    assert kinds("q1") == [EntryKind.OUTPUT_HELD]


def test_an_empty_desk_has_no_items(desk):
    assert desk.items() == []
    desk.reconcile()


def test_holding_again_changes_nothing_not_even_a_decision(desk, held, kinds):
    item = held()
    before = desk.files(item)
    desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    desk.hold(item, {"hospital.json": b"other"})
    assert desk.get("q1").state is ItemState.WITHHELD
    assert desk.files(item) == before
    assert kinds("q1").count(EntryKind.OUTPUT_HELD) == 1


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (ItemState.RELEASED, EntryKind.OUTPUT_RELEASED),
        (ItemState.WITHHELD, EntryKind.OUTPUT_WITHHELD),
    ],
)
def test_a_decision_is_on_disk_and_in_the_ledger(site, desk, held, state, kind):
    held()
    decided = desk.decide("q1", state=state, **DECIDE)
    assert desk.get("q1") == decided
    assert (decided.state, decided.sent) == (state, False)
    entry = list(site.ledger.entries())[-1].entry
    assert (entry.kind, entry.actor, entry.reason) == (kind, "owner", "looked at it")
    assert entry.detail["kind"] == "hospital"


def test_no_decision_is_taken_twice_and_the_ledger_has_one(desk, held, kinds):
    held()
    desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    for state in (ItemState.RELEASED, ItemState.WITHHELD):
        with pytest.raises(DeskError, match="twice"):
            desk.decide("q1", state=state, **DECIDE)
    assert kinds("q1") == [EntryKind.OUTPUT_HELD, EntryKind.OUTPUT_WITHHELD]


def test_of_many_who_decide_at_once_one_does(desk, held, kinds):
    held(kind=ItemKind.CASE_REPORT)
    done, refused = [], []

    def decide(number):
        state = (ItemState.RELEASED, ItemState.WITHHELD)[number % 2]
        try:
            done.append(desk.decide("q1", state=state, **DECIDE).state)
        except DeskError:
            refused.append(number)

    people = [threading.Thread(target=decide, args=(number,)) for number in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert (len(done), len(refused)) == (1, 5)
    assert desk.get("q1").state is done[0]
    decisions = {EntryKind.OUTPUT_RELEASED, EntryKind.OUTPUT_WITHHELD}
    assert len([kind for kind in kinds("q1") if kind in decisions]) == 1


def test_a_released_case_report_is_a_recorded_disclosure_before_its_release(
    site, desk, held, kinds
):
    held(kind=ItemKind.CASE_REPORT)
    assert site.ledger.account().disclosed_units == 0
    desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert kinds("q1") == [EntryKind.DISCLOSURE, EntryKind.OUTPUT_RELEASED]
    assert site.ledger.account().disclosed_units == 1


def test_a_case_report_that_is_not_released_leaves_no_trace_in_the_ledger(site, desk, held):
    """The ledger's length and head leave with every receipt; they must not tell of any draft."""
    before = site.ledger.head()
    item = held(kind=ItemKind.CASE_REPORT)
    case = desk.report(item).parsed.case_id
    desk.redact("q1", occurrences(desk.report(item).text, case), actor="owner", reason="name")
    desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    assert site.ledger.head() == before
    again = Desk(type(site).open(site.root))
    again.reconcile()
    assert (again.get("q1").state, again.get("q1").redactions) == (ItemState.WITHHELD, 1)


def test_nothing_else_is_a_disclosure(site, desk, held):
    held("q1", ItemKind.CASE_REPORT)
    desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    for kind in set(ItemKind) - {ItemKind.CASE_REPORT}:
        held(kind.value, kind)
        desk.decide(kind.value, state=ItemState.RELEASED, **DECIDE)
    assert site.ledger.account().disclosed_units == 0


def test_a_ledger_that_cannot_be_written_releases_nothing(site, desk, held, monkeypatch):
    held()
    crash(monkeypatch, site.ledger, "append", LedgerWriteError("full disk"))
    with pytest.raises(LedgerWriteError):
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    monkeypatch.undo()
    assert desk.get("q1").state is ItemState.HELD
    desk.reconcile()
    assert desk.get("q1").state is ItemState.HELD


def crash(monkeypatch, where, name, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(where, name, fail)


@pytest.mark.parametrize("state", [ItemState.RELEASED, ItemState.WITHHELD])
def test_a_crash_between_ledger_and_item_is_completed_once(
    site, desk, held, monkeypatch, state, kinds
):
    held("q1")
    held("q2")
    crash(monkeypatch, shelf_module, "write_json", OSError("power cut"))
    with pytest.raises(OSError, match="power cut"):
        desk.decide("q1", state=state, **DECIDE)
    monkeypatch.undo()
    assert desk.get("q1").state is ItemState.HELD
    again = Desk(type(site).open(site.root))
    logged = kinds("q1")
    for _ in range(2):
        again.reconcile()
        assert again.get("q1").state is state
        assert (again.get("q1").decided_by, again.get("q1").reason) == ("owner", "looked at it")
        assert again.get("q2").state is ItemState.HELD
        assert kinds("q1") == logged


def test_a_crash_while_holding_leaves_no_item_and_holding_again_makes_it(
    desk, held, kinds, monkeypatch
):
    crash(monkeypatch, shelf_module, "write_json", OSError("power cut"))
    with pytest.raises(OSError, match="power cut"):
        held()
    monkeypatch.undo()
    assert desk.items() == []
    item = held()
    assert desk.get("q1") == item
    assert kinds("q1") == [EntryKind.OUTPUT_HELD]


def test_sent_is_noted_without_changing_the_decision(desk, held):
    held()
    decided = desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    desk.mark_sent(decided)
    assert desk.get("q1") == replace(decided, sent=True)


@pytest.mark.parametrize("name", ["nothing", "../desk/q1", "q1/", "", ".", "..", "/etc"])
def test_an_item_that_is_not_there_is_refused_by_name(desk, held, name):
    held()
    with pytest.raises(DeskError, match="there is no item"):
        desk.get(name)
    with pytest.raises(DeskError, match="there is no item"):
        desk.decide(name, state=ItemState.RELEASED, **DECIDE)


def test_the_desk_is_the_owners_only(site, held):
    held()
    for path in (site.root / "desk").rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert json.loads((site.root / "desk" / "q1" / "item.json").read_text())["state"] == "held"


def test_a_disclosure_is_counted_once_although_a_crash_came_after_it(site, desk, held, monkeypatch):
    held(kind=ItemKind.CASE_REPORT)
    crash(monkeypatch, Journal, "log", LedgerWriteError("full disk"))
    with pytest.raises(LedgerWriteError):
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    monkeypatch.undo()
    assert site.ledger.account().disclosed_units == 1
    assert desk.get("q1").is_open
    desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert site.ledger.account().disclosed_units == 1


def test_the_second_owner_meets_a_decision_that_a_crash_cut_off(desk, held, kinds, monkeypatch):
    held()
    crash(monkeypatch, shelf_module, "write_json", OSError("power cut"))
    with pytest.raises(OSError, match="power cut"):
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    monkeypatch.undo()
    with pytest.raises(AlreadyDecidedError):
        desk.decide("q1", state=ItemState.WITHHELD, actor="bob", reason="no")
    assert desk.get("q1").state is ItemState.RELEASED
    assert kinds("q1").count(EntryKind.OUTPUT_WITHHELD) == 0


def test_an_edit_that_a_crash_cut_off_is_completed(desk, held, monkeypatch):
    item = held()
    text = desk.report(item).text.replace(" The training took 3 rounds.", "")
    crash(monkeypatch, shelf_module, "write_json", OSError("power cut"))
    with pytest.raises(OSError, match="power cut"):
        desk.edit("q1", text, **DECIDE)
    monkeypatch.undo()
    assert desk.get("q1").edits == 0
    desk.reconcile()
    after = desk.get("q1")
    assert (after.edits, desk.report(after).text) == (1, text)


KILLED = """
import os, sys
from pathlib import Path
from datasites.desk import Desk, ItemState
from datasites.site.locks import desk_lock
import datasites.desk.desk as store, datasites.site.site as site_module
at, calls = int(sys.argv[2]), 0
def counted(function):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), 9)
        result = function(*arguments, **named)
        calls += 1
        if calls == at:
            os.kill(os.getpid(), 9)
        return result
    return call
site = site_module.Site.open(Path(sys.argv[1]))
site.ledger.append = counted(site.ledger.append)
store.Shelf.write = counted(store.Shelf.write)
Desk(site).decide("q1", state=ItemState.RELEASED, actor="owner", reason="looked at it")
"""


@pytest.mark.parametrize("point", range(1, 8))
def test_kill_nine_at_every_point_leaves_nothing_released_twice_or_half(
    site, desk, held, kinds, point
):
    held(kind=ItemKind.CASE_REPORT)
    program = [sys.executable, "-c", KILLED, str(site.root), str(point)]
    done = subprocess.run(program, capture_output=True, check=False, timeout=120)
    assert done.returncode == (0 if point == 7 else -9), done.stderr
    logged = EntryKind.OUTPUT_RELEASED in kinds("q1")
    desk.reconcile()
    item = desk.get("q1")
    assert (item.state is ItemState.RELEASED) is logged
    if logged:
        assert desk.outgoing(item)
        with pytest.raises(AlreadyDecidedError):
            desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    else:
        with pytest.raises(ReleaseRefusedError):
            desk.outgoing(item)
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert kinds("q1").count(EntryKind.OUTPUT_RELEASED) == 1
    assert site.ledger.account().disclosed_units == 1


def test_a_plan_is_not_revoked_in_the_middle_of_a_release(site, desk, held, grant, monkeypatch):
    """The one who revokes waits for the desk; what is released then was released before."""
    held()
    order = []
    inside, original = threading.Event(), desk.assessment

    def slow(item):
        inside.set()
        time.sleep(0.3)
        order.append("released")
        return original(item)

    def revoke():
        inside.wait(timeout=30)
        with desk_lock(site.root):
            order.append("revoked")
            grant(revoked=True)

    monkeypatch.setattr(desk, "assessment", slow)
    other = threading.Thread(target=revoke)
    other.start()
    desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    other.join()
    assert order == ["released", "revoked"]

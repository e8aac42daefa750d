"""The desk on disk: checked, recorded in the ledger, then done, so that a crash at any point
leaves nothing released twice, half, or without its record.

The site and its ledger are real; crashes are a disk that refuses one write.
"""

import json
import stat
import threading
from dataclasses import replace

import pytest

from datasites.desk import Desk, Item, ItemKind, ItemState
from datasites.desk import store as store_module
from datasites.errors import DeskError
from privacy import EntryKind, LedgerWriteError

FILES = {"report.txt": b"the report", "facts.json": b"{}"}
DECIDE = {"actor": "owner", "reason": "looked at it"}


@pytest.fixture
def desk(site):
    return Desk(site)


@pytest.fixture
def held(desk):
    """Put an item of some kind on the desk."""

    def hold(name="q1", kind=ItemKind.HOSPITAL_REPORT):
        item = Item(
            id=name,
            kind=kind,
            study="study",
            plan_sha256="0" * 64,
            researcher="ann@university.example",
            request="q1",
            job="job",
            state=ItemState.HELD,
            files=tuple(FILES),
            note="template",
        )
        desk.hold(item, FILES)
        return item

    return hold


def kinds(site, resource):
    """Kinds of the ledger's entries about one item, in order."""
    return [one.entry.kind for one in site.ledger.entries() if one.entry.resource == resource]


def test_an_item_is_found_again_as_it_was_held(site, desk, held):
    item = held()
    again = Desk(type(site).open(site.root))
    assert again.get("q1") == item
    assert again.items() == [item]
    assert again.files(item) == FILES
    assert kinds(site, "q1") == [EntryKind.OUTPUT_HELD]


def test_an_empty_desk_has_no_items(desk):
    assert desk.items() == []
    desk.reconcile()


def test_holding_again_changes_nothing_not_even_a_decision(site, desk, held):
    item = held()
    desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    desk.hold(item, {"report.txt": b"other", "facts.json": b"other"})
    assert desk.get("q1").state is ItemState.WITHHELD
    assert desk.files(item) == FILES
    assert kinds(site, "q1").count(EntryKind.OUTPUT_HELD) == 1


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


def test_no_decision_is_taken_twice_and_the_ledger_has_one(site, desk, held):
    held()
    desk.decide("q1", state=ItemState.WITHHELD, **DECIDE)
    for state in (ItemState.RELEASED, ItemState.WITHHELD):
        with pytest.raises(DeskError, match="twice"):
            desk.decide("q1", state=state, **DECIDE)
    assert kinds(site, "q1") == [EntryKind.OUTPUT_HELD, EntryKind.OUTPUT_WITHHELD]


def test_of_many_who_decide_at_once_one_does(site, desk, held):
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
    assert len([kind for kind in kinds(site, "q1") if kind in decisions]) == 1


def test_a_released_case_report_is_a_recorded_disclosure_before_its_release(site, desk, held):
    held(kind=ItemKind.CASE_REPORT)
    assert site.ledger.account().disclosed_units == 0
    desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    before, after = kinds(site, "q1")[1:]
    assert after is EntryKind.OUTPUT_RELEASED
    assert before is not EntryKind.OUTPUT_RELEASED
    assert site.ledger.account().disclosed_units == 1


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
def test_a_crash_between_ledger_and_item_is_completed_once(site, desk, held, monkeypatch, state):
    held("q1", ItemKind.CASE_REPORT)
    held("q2")
    crash(monkeypatch, store_module, "write_json", OSError("power cut"))
    with pytest.raises(OSError, match="power cut"):
        desk.decide("q1", state=state, **DECIDE)
    monkeypatch.undo()
    assert desk.get("q1").state is ItemState.HELD
    again = Desk(type(site).open(site.root))
    logged = kinds(site, "q1")
    for _ in range(2):
        again.reconcile()
        assert again.get("q1").state is state
        assert (again.get("q1").decided_by, again.get("q1").reason) == ("owner", "looked at it")
        assert again.get("q2").state is ItemState.HELD
        assert kinds(site, "q1") == logged


def test_a_crash_while_holding_leaves_no_item_and_holding_again_makes_it(
    desk, held, site, monkeypatch
):
    crash(monkeypatch, store_module, "write_json", OSError("power cut"))
    with pytest.raises(OSError, match="power cut"):
        held()
    monkeypatch.undo()
    assert desk.items() == []
    item = held()
    assert desk.get("q1") == item


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

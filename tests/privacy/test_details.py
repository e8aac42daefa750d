import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from privacy.accounting.events import DpEvent, compose, event_to_json, gaussian
from privacy.accounting.mechanisms import describe
from privacy.errors import EventError, LedgerError
from privacy.spending.budget import Budget, Limit, Scope
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import (
    BudgetChange,
    Commit,
    Destruction,
    Disclosure,
    DisclosureKind,
    Reservation,
)

Note = Callable[..., Entry]
EVENT = gaussian(noise_multiplier=1.0)
MECHANISMS = describe(EVENT, clip_norm=1.0)
COMMIT = Commit(
    reservation="r-1",
    event=EVENT,
    mechanisms=MECHANISMS,
    dataset_version="d",
    code_sha256="c",
)
REPORT = Disclosure(kind=DisclosureKind.CASE_REPORT, units=2, scope="case 17", dataset_version="d")
CAP = BudgetChange(
    limit=Limit(
        scope=Scope.STUDY,
        name="brain",
        budget=Budget(epsilon=8.0, delta=1e-5, window_days=30),
    )
)
RESERVATION = Reservation(
    reservation="r-1",
    event=EVENT,
    mechanisms=MECHANISMS,
    researcher="r@x.org",
    study="brain",
    dataset_version="d" * 64,
    code_sha256="c" * 64,
    request="train/1",
    block=compose([EVENT, EVENT]),
)


def test_round_trips(note: Note) -> None:
    for kind, detail in (
        (EntryKind.SPEND_RESERVED, RESERVATION),
        (EntryKind.SPEND_COMMITTED, COMMIT),
        (EntryKind.SPEND_DESTROYED, Destruction(reservation="r-1")),
        (EntryKind.DISCLOSURE, REPORT),
        (EntryKind.DISCLOSURE, replace(REPORT, units=None)),
        (EntryKind.BUDGET_SET, CAP),
    ):
        assert type(detail).from_entry(note(kind, detail=detail.to_json())) == detail


@pytest.mark.parametrize(
    ("read", "good"),
    [
        (Reservation.from_entry, RESERVATION.to_json()),
        (Commit.from_entry, COMMIT.to_json()),
        (Destruction.from_entry, Destruction(reservation="r-1").to_json()),
        (Disclosure.from_entry, REPORT.to_json()),
        (BudgetChange.from_entry, CAP.to_json()),
    ],
)
def test_missing_extra_and_wrong_fields(
    note: Note, read: Callable[[Entry], object], good: dict[str, object]
) -> None:
    for name in good:
        for bad in (
            {k: v for k, v in good.items() if k != name},
            {**good, name: None},
            {**good, name: [1]},
            {**good, name: True},
        ):
            if bad == {**good, "window_days": None}:
                continue  # a budget over all time
            if name == "block" and bad.get("block") is None:
                continue  # a run that is its own block, and entries of before there were blocks
            with pytest.raises(LedgerError):
                read(note(detail=bad))
    with pytest.raises(LedgerError, match="exactly"):
        read(note(detail={**good, "extra": 1}))


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 201, "ü", "a\n", None, 1])
def test_identifiers_are_short_and_plain(name: object) -> None:
    with pytest.raises(LedgerError, match="characters"):
        Reservation(
            reservation=name,  # type: ignore[arg-type]
            event=EVENT,
            mechanisms=MECHANISMS,
            researcher="r",
            study="s",
            dataset_version="d",
            code_sha256="c",
            request="q",
        )


def test_an_event_that_cannot_be_accounted_for_is_not_written() -> None:
    with pytest.raises(EventError):
        replace(COMMIT, event=DpEvent()).to_json()


@pytest.mark.parametrize("amount", [0, -1, 1e300 * 1e10, math.nan, "8"])
def test_amounts_in_a_budget_entry(note: Note, amount: object) -> None:
    with pytest.raises(LedgerError):
        BudgetChange.from_entry(note(detail={**CAP.to_json(), "epsilon": amount}))


def test_a_disclosure_says_whom_and_what() -> None:
    for units, scope in ((0, "x"), (True, "x"), (1.0, "x"), (1, ""), (1, None)):
        with pytest.raises(LedgerError):
            replace(REPORT, units=units, scope=scope)


def test_a_reserved_event_stays_what_it_was(note: Note) -> None:
    entry = note(EntryKind.SPEND_RESERVED, detail=RESERVATION.to_json())
    assert entry.detail["event"] == event_to_json(EVENT)

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.events import DpEvent, compose, gaussian, laplace, poisson_gaussian
from privacy.accounting.filter import filter_epsilon, plan_charges
from privacy.accounting.mechanisms import Mechanism, describe
from privacy.accounting.merging import merge
from privacy.errors import LedgerError
from privacy.spending.account import SpendState
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
from privacy.spending.replay import AccountFold, account_from

NOON = "2026-11-23T12:00:00Z"


def entry(kind: EntryKind, detail: object = None) -> Entry:
    return Entry(
        kind=kind,
        actor="agent",
        action="note",
        resource="data",
        reason="a test",
        time=NOON,
        detail=detail or {},  # type: ignore[arg-type]
    )


def steps(count: int, noise: float = 1.0) -> DpEvent:
    return poisson_gaussian(sampling_rate=0.1, noise_multiplier=noise, steps=count)


def epsilon(event: DpEvent, *, delta: float) -> float:
    return filter_epsilon(plan_charges(event), delta=delta)


def described(event: DpEvent) -> tuple[Mechanism, ...]:
    return describe(event, clip_norm=1.0, published_units=100.0)


def reserved(name: str, event: DpEvent, request: str = "train/1") -> Entry:
    detail = Reservation(
        reservation=name,
        event=event,
        mechanisms=described(event),
        researcher="r@x.org",
        study="brain",
        dataset_version="d",
        code_sha256="c",
        request=request,
    )
    return entry(EntryKind.SPEND_RESERVED, detail.to_json())


def committed(name: str, event: DpEvent) -> Entry:
    detail = Commit(
        reservation=name,
        event=event,
        mechanisms=described(event),
        dataset_version="d",
        code_sha256="c",
    )
    return entry(EntryKind.SPEND_COMMITTED, detail.to_json())


def disclosed(units: int | None) -> Entry:
    detail = Disclosure(
        kind=DisclosureKind.CASE_REPORT, units=units, scope="case 17", dataset_version="d"
    )
    return entry(EntryKind.DISCLOSURE, detail.to_json())


def destroyed(name: str) -> Entry:
    return entry(EntryKind.SPEND_DESTROYED, Destruction(reservation=name).to_json())


def budget(amount: float) -> Entry:
    limit = Limit(scope=Scope.HOSPITAL, name="", budget=Budget(epsilon=amount, delta=1e-5))
    return entry(EntryKind.BUDGET_SET, BudgetChange(limit=limit).to_json())


OPENED = entry(EntryKind.LEDGER_OPENED)
START = [OPENED, budget(8.0)]


def test_open_reservations_count_in_full() -> None:
    account = account_from([*START, reserved("a", steps(20))])
    assert account.spent_events() == (steps(20),)
    assert account.epsilon() == epsilon(steps(20), delta=1e-5)
    assert list(account.open_spends) == ["a"]


def test_a_commit_counts_what_was_really_spent() -> None:
    account = account_from([*START, reserved("a", steps(20)), committed("a", steps(15))])
    assert account.spent_events() == (steps(15),)
    assert account.open_spends == {}
    assert account.states == {"a": SpendState.COMMITTED}


def test_a_destroyed_reservation_counts_nothing_but_was_a_run() -> None:
    account = account_from([*START, reserved("a", steps(20)), destroyed("a")])
    assert account.spent_events() == ()
    assert account.epsilon() == 0.0
    assert account.runs == {"c": {"train/1": 1}}


def test_composed_reservations_may_be_committed_in_part() -> None:
    both = compose([steps(20), gaussian(noise_multiplier=5.0)])
    account = account_from(
        [*START, reserved("a", both), committed("a", gaussian(noise_multiplier=5.0))]
    )
    assert account.epsilon() == epsilon(gaussian(noise_multiplier=5.0), delta=1e-5)


def test_disclosures_are_listed_apart() -> None:
    shown = [disclosed(1), disclosed(3)]
    account = account_from([*START, reserved("a", steps(5)), *shown])
    assert account.disclosed_units == 4
    assert [d.disclosure.units for d in account.disclosures] == [1, 3]
    assert math.isfinite(account.epsilon())


def test_a_new_budget_forgives_nothing() -> None:
    account = account_from([*START, reserved("a", steps(20)), budget(0.001)])
    assert account.required_budget() == Budget(epsilon=0.001, delta=1e-5)
    assert account.epsilon() == epsilon(steps(20), delta=1e-5)


def test_runs_are_counted_by_request() -> None:
    entries = [reserved(str(n), steps(1), request=f"train/{n % 2}") for n in range(5)]
    assert account_from([*START, *entries]).runs == {"c": {"train/0": 3, "train/1": 2}}


def test_other_entries_change_nothing_but_the_count() -> None:
    quiet = [
        kind
        for kind in EntryKind
        if not kind.startswith(("spend", "budget", "disclosure", "ledger_opened"))
    ]
    account = account_from([*START, *(entry(kind, {"any": 1}) for kind in quiet)])
    assert account.entries == 2 + len(quiet)
    assert account.epsilon() == 0.0


def test_without_a_budget() -> None:
    account = account_from([OPENED])
    assert account.budget is None
    with pytest.raises(LedgerError, match="no budget is set"):
        account.epsilon()
    assert account.epsilon(delta=1e-5) == 0.0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([budget(8.0)], "opened once"),
        ([OPENED, OPENED], "opened once"),
        ([OPENED, reserved("a", steps(1))], "before the owner set a budget"),
        ([*START, reserved("a", steps(1)), reserved("a", steps(1))], "exists already"),
        ([*START, committed("a", steps(1))], "no reservation a"),
        ([*START, destroyed("a")], "no reservation a"),
        (
            [*START, reserved("a", steps(1)), committed("a", steps(1)), committed("a", steps(1))],
            "committed already",
        ),
        (
            [*START, reserved("a", steps(1)), committed("a", steps(1)), destroyed("a")],
            "committed already",
        ),
        (
            [*START, reserved("a", steps(1)), destroyed("a"), committed("a", steps(1))],
            "destroyed already",
        ),
        ([*START, reserved("a", steps(1)), destroyed("a"), reserved("a", steps(1))], "exists"),
        ([*START, reserved("a", steps(20)), committed("a", steps(21))], "costs more"),
        ([*START, reserved("a", steps(20)), committed("a", steps(20, noise=0.9))], "costs more"),
        (
            [*START, reserved("a", steps(20)), committed("a", laplace(noise_multiplier=1e6))],
            "another mechanism",
        ),
        ([*START, entry(EntryKind.SPEND_RESERVED, {"reservation": "a"})], "exactly the details"),
        ([*START, entry(EntryKind.BUDGET_SET, {**budget(8.0).detail, "epsilon": -8})], "> 0"),
        ([*START, entry(EntryKind.DISCLOSURE, {"units": 1})], "exactly the details"),
    ],
)
def test_impossible_stories(entries: list[Entry], message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        account_from(entries)


def test_a_refused_entry_changes_nothing() -> None:
    fold = AccountFold()
    for good in (*START, reserved("a", steps(20))):
        fold.add(good)
    before = fold.snapshot()
    with pytest.raises(LedgerError):
        fold.add(committed("a", steps(21)))
    fold.prepare(committed("a", steps(3)))  # checked, never applied
    assert fold.snapshot() == before


def test_a_snapshot_stays_as_it_was() -> None:
    fold = AccountFold()
    for good in START:
        fold.add(good)
    before = fold.snapshot()
    fold.add(reserved("a", steps(20)))
    fold.add(committed("a", steps(20)))
    assert before.open_spends == {}
    assert before.spent_events() == ()
    with pytest.raises(TypeError):
        before.open_spends["a"] = None  # type: ignore[index]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from(["open", "commit", "destroy"])), max_size=6
    )
)
def test_spent_is_what_was_committed_plus_what_is_open(plan: list[tuple[int, str]]) -> None:
    entries, counted = list(START), 0
    for number, (count, end) in enumerate(plan):
        entries.append(reserved(str(number), steps(count)))
        if end == "commit":
            entries.append(committed(str(number), steps(max(1, count - 1))))
        elif end == "destroy":
            entries.append(destroyed(str(number)))
        counted += {"open": count, "commit": max(1, count - 1), "destroy": 0}[end]
    expected = merge([steps(counted)] if counted else [])
    assert merge(account_from(entries).spent_events()) == expected


def test_the_account_names_every_kind_of_unit_once_in_order() -> None:
    def ingested(unit: object, resource: str = "train") -> Entry:
        return replace(entry(EntryKind.DATASET_INGESTED, {"unit": unit}), resource=resource)

    opening = entry(EntryKind.LEDGER_OPENED)
    account = account_from(
        [opening, ingested("scan", "test"), ingested(7), entry(EntryKind.DATASET_INGESTED)]
    )
    assert (account.units, account.unit) == ((), "")
    kinds = ["image", "patient", "image"]
    account = account_from([opening, *(ingested(kind) for kind in kinds)])
    assert (account.units, account.unit) == (("image", "patient"), "image, then patient")

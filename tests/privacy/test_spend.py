import math

import pytest

from privacy.accounting.events import DpEvent, event_to_json, non_private, poisson_gaussian
from privacy.accounting.mechanisms import describe
from privacy.errors import BudgetExceededError, EventError, LedgerError
from privacy.spending.account import Account
from privacy.spending.budget import Budget
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import Disclosure, DisclosureKind, Reservation
from privacy.spending.replay import AccountFold
from privacy.spending.spend import commit, destroy, disclose, reserve, set_budget

WHEN = {"time": "2026-11-23T12:00:00Z", "actor": "agent"}

MECHANISM = {
    "sampler": "poisson_units",
    "expected_batch": 10,
    "clip_norm": 1,
    "noise_multiplier": 1,
}


def steps(count: int) -> DpEvent:
    return poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=count)


def wanted(name: str, event: DpEvent, **changes: str) -> Reservation:
    try:
        mechanisms = describe(event, clip_norm=1.0, published_units=100.0)
    except EventError:
        mechanisms = ()
    fields = {"researcher": "r@x.org", "study": "brain", "dataset_version": "data"}
    return Reservation(
        reservation=name,
        event=event,
        mechanisms=mechanisms,
        code_sha256="code",
        request="train/1",
        **{**fields, **changes},
    )


def report(units: int | None) -> Disclosure:
    return Disclosure(
        kind=DisclosureKind.CASE_REPORT, units=units, scope="case 17", dataset_version="data"
    )


def ask(account: Account, name: str = "r-1", event: DpEvent | None = None) -> Entry:
    return reserve(account, wanted(name, steps(20) if event is None else event), **WHEN)


@pytest.fixture
def fold() -> AccountFold:
    made = AccountFold()
    opening = {"action": "open", "resource": "key", "reason": ""}
    made.add(Entry(kind=EntryKind.LEDGER_OPENED, **opening, **WHEN))
    made.add(set_budget(Budget(epsilon=6.5, delta=1e-5), reason="board", **WHEN))
    return made


def test_reserve_commit(fold: AccountFold) -> None:
    entry = ask(fold.snapshot())
    assert entry.kind is EntryKind.SPEND_RESERVED
    assert entry.detail == {
        "reservation": "r-1",
        "event": event_to_json(steps(20)),
        "mechanisms": [MECHANISM],
        "researcher": "r@x.org",
        "study": "brain",
        "dataset_version": "data",
        "code_sha256": "code",
        "request": "train/1",
        "block": None,
    }
    fold.add(entry)
    done = commit(fold.snapshot(), reservation="r-1", event=steps(18), **WHEN)
    assert done.detail == {
        "reservation": "r-1",
        "event": event_to_json(steps(18)),
        "mechanisms": [MECHANISM],
        "dataset_version": "data",
        "code_sha256": "code",
    }
    fold.add(done)
    assert fold.snapshot().spent_events() == (steps(18),)


def test_reservations_fill_the_budget_and_then_refuse(fold: AccountFold) -> None:
    fold.add(ask(fold.snapshot(), "r-0"))
    fold.add(ask(fold.snapshot(), "r-1"))
    with pytest.raises(BudgetExceededError) as caught:
        ask(fold.snapshot(), "r-2")
    assert fold.snapshot().epsilon() <= 6.5 < caught.value.epsilon_after
    fold.add(destroy(fold.snapshot(), reservation="r-0", reason="killed before start", **WHEN))
    fold.add(ask(fold.snapshot(), "r-again"))


@pytest.mark.parametrize("event", [non_private(), steps(10**6)])
def test_what_has_no_finite_epsilon_is_never_reserved(fold: AccountFold, event: DpEvent) -> None:
    with pytest.raises(BudgetExceededError):
        ask(fold.snapshot(), event=event)


def test_an_unknown_event_is_never_reserved(fold: AccountFold) -> None:
    with pytest.raises(EventError):
        ask(fold.snapshot(), event=DpEvent())


def test_the_same_id_twice_is_refused_in_every_state(fold: AccountFold) -> None:
    fold.add(ask(fold.snapshot()))
    with pytest.raises(LedgerError, match="exists already"):
        ask(fold.snapshot())
    fold.add(commit(fold.snapshot(), reservation="r-1", event=steps(1), **WHEN))
    with pytest.raises(LedgerError, match="exists already"):
        ask(fold.snapshot())


def test_no_budget_no_spend() -> None:
    fold = AccountFold()
    with pytest.raises(LedgerError, match="no budget"):
        ask(fold.snapshot())


def test_commits_are_covered_by_open_reservations(fold: AccountFold) -> None:
    with pytest.raises(LedgerError, match="no reservation"):
        commit(fold.snapshot(), reservation="r-1", event=steps(1), **WHEN)
    fold.add(ask(fold.snapshot()))
    for event in (steps(21), non_private()):
        with pytest.raises(LedgerError, match="costs more"):
            commit(fold.snapshot(), reservation="r-1", event=event, **WHEN)
    fold.add(commit(fold.snapshot(), reservation="r-1", event=steps(20), **WHEN))
    with pytest.raises(LedgerError, match="committed already"):
        commit(fold.snapshot(), reservation="r-1", event=steps(1), **WHEN)
    with pytest.raises(LedgerError, match="committed already"):
        destroy(fold.snapshot(), reservation="r-1", reason="oops", **WHEN)


def test_some_entries_need_a_reason(fold: AccountFold) -> None:
    fold.add(ask(fold.snapshot()))
    with pytest.raises(LedgerError, match="how is it known"):
        destroy(fold.snapshot(), reservation="r-1", reason=" ", **WHEN)
    with pytest.raises(LedgerError, match="why this epsilon"):
        set_budget(Budget(epsilon=1.0, delta=1e-5), reason="", **WHEN)
    with pytest.raises(LedgerError, match="without noise"):
        disclose(report(1), resource="hash", reason="", **WHEN)


def test_a_disclosure(fold: AccountFold) -> None:
    shown = report(2)
    fold.add(disclose(shown, resource="hash", reason="released by the owner", **WHEN))
    assert fold.snapshot().disclosed_units == 2
    assert math.isfinite(fold.snapshot().epsilon())


def test_topping_up_allows_more(fold: AccountFold) -> None:
    with pytest.raises(BudgetExceededError):
        ask(fold.snapshot(), event=steps(100))
    fold.add(set_budget(Budget(epsilon=50.0, delta=1e-5), reason="board, again", **WHEN))
    fold.add(ask(fold.snapshot(), event=steps(100)))

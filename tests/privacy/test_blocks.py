"""A plan's sampled steps are one block: charged whole, once, and never exceeded."""

from dataclasses import replace

import pytest

from privacy.accounting.events import DpEvent, compose, gaussian, poisson_gaussian
from privacy.accounting.filter import filter_epsilon, plan_charges
from privacy.accounting.mechanisms import describe
from privacy.errors import BudgetExceededError, LedgerError
from privacy.spending.account import Account
from privacy.spending.budget import Budget, Limit, Scope
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import Reservation
from privacy.spending.replay import AccountFold
from privacy.spending.spend import commit, destroy, reserve, set_budget

DELTA = 1e-5
NOISE = gaussian(noise_multiplier=5.0)


def steps(count: int) -> DpEvent:
    return poisson_gaussian(sampling_rate=0.3, noise_multiplier=2.0, steps=count)


PLAN = compose([steps(48), NOISE])


def cost(*plans: DpEvent) -> float:
    whole = plan_charges([])
    for plan in plans:
        whole = whole + plan_charges(plan)
    return filter_epsilon(whole, delta=DELTA)


class Story:
    """A ledger's entries without a file."""

    def __init__(self, amount: float, window_days: int | None = None) -> None:
        self.fold = AccountFold()
        self.budget = Budget(epsilon=amount, delta=DELTA, window_days=window_days)
        opening = {"action": "open", "resource": "key", "reason": ""}
        self.fold.add(Entry(kind=EntryKind.LEDGER_OPENED, **opening, **self.when()))
        self.set()

    def set(self, *, reset: bool = False) -> None:
        self.fold.add(set_budget(self.budget, reason="board", reset=reset, **self.when()))

    @staticmethod
    def when(day: int = 1) -> dict[str, str]:
        return {"actor": "owner", "time": f"2026-01-{day:02d}T12:00:00Z"}

    def reserve(self, name: str, event: DpEvent, *, day: int = 1, **changes: object) -> None:
        wanted = Reservation(
            reservation=name,
            event=event,
            mechanisms=describe(event, clip_norm=1.0, published_units=100.0),
            researcher="r@x.org",
            study="brain",
            dataset_version="d",
            code_sha256="plan-1",
            request=name,
            block=PLAN,
        )
        entry = reserve(self.account, replace(wanted, **changes), **self.when(day))  # type: ignore[arg-type]
        self.fold.add(entry)

    def commit(self, name: str, event: DpEvent, *, day: int = 1) -> None:
        self.fold.add(commit(self.account, reservation=name, event=event, **self.when(day)))

    def destroy(self, name: str) -> None:
        self.fold.add(destroy(self.account, reservation=name, reason="gone", **self.when()))

    @property
    def account(self) -> Account:
        return self.fold.snapshot()


def test_the_first_run_is_charged_for_the_whole_plan_and_the_next_are_free() -> None:
    story = Story(cost(steps(48)))
    story.reserve("1", steps(12))
    assert story.account.epsilon() == cost(steps(48))
    story.commit("1", steps(12))
    for name in "234":
        story.reserve(name, steps(12))
        story.commit(name, steps(11))
    assert story.account.epsilon() == cost(steps(48)) == story.budget.epsilon
    with pytest.raises(BudgetExceededError):  # charged as it runs, and there is no room
        story.reserve("report", NOISE)


def test_a_plan_that_does_not_fit_as_a_whole_does_not_start() -> None:
    story = Story(cost(steps(24)))
    with pytest.raises(BudgetExceededError):
        story.reserve("1", steps(1))
    story.reserve("alone", steps(24), block=None)


def test_full_batch_gaussians_are_charged_as_they_run_and_may_exceed_the_plan() -> None:
    story = Story(100.0)
    story.reserve("report", NOISE)
    story.commit("report", NOISE)
    assert story.account.epsilon() == cost(NOISE)
    story.reserve("again", NOISE)
    assert story.account.epsilon() == cost(NOISE, NOISE)
    story.reserve("1", steps(48))
    assert story.account.epsilon() == cost(NOISE, NOISE, steps(48))


def test_runs_never_take_more_than_the_plan_fixed() -> None:
    story = Story(100.0)
    story.reserve("1", steps(40))
    with pytest.raises(LedgerError, match="fixed 48 beforehand and 40 are taken"):
        story.reserve("2", steps(9))
    story.commit("1", steps(30))  # ten steps were not taken
    story.reserve("2", steps(18))
    with pytest.raises(LedgerError, match="fixed 48 beforehand"):
        story.reserve("3", steps(1))
    other = poisson_gaussian(sampling_rate=0.3, noise_multiplier=1.9, steps=1)
    with pytest.raises(LedgerError, match="fixed 0 beforehand"):
        story.reserve("4", other)
    story.destroy("2")
    story.reserve("3", steps(18))


@pytest.mark.parametrize(
    "changes",
    [
        {"block": compose([steps(49), NOISE])},
        {"block": steps(48)},
        {"researcher": "other@x.org"},
        {"study": "lung"},
    ],
)
def test_what_was_fixed_beforehand_cannot_change(changes: dict[str, object]) -> None:
    story = Story(100.0)
    story.reserve("1", steps(1))
    with pytest.raises(LedgerError, match="cannot change"):
        story.reserve("2", steps(1), **changes)
    story.reserve("3", steps(1), code_sha256="plan-2", **changes)


def test_a_plan_whose_runs_are_all_destroyed_costs_nothing() -> None:
    story = Story(100.0)
    story.reserve("1", steps(12))
    story.destroy("1")
    assert story.account.epsilon() == 0.0


def test_two_plans_are_two_blocks_and_two_runs_of_none_as_well() -> None:
    story = Story(100.0)
    story.reserve("1", steps(12))
    story.reserve("2", steps(12), code_sha256="plan-2")
    assert story.account.epsilon() == cost(steps(48), steps(48))
    story = Story(100.0)
    for name in "12":
        story.reserve(name, steps(12), block=None)
    assert story.account.epsilon() == cost(steps(12), steps(12)) > cost(steps(24))


def test_a_plan_that_spans_windows_or_a_reset_counts_whole_in_each() -> None:
    story = Story(cost(steps(48)), window_days=5)
    whole = Limit(scope=Scope.HOSPITAL, name="", budget=story.budget)
    story.reserve("1", steps(12))
    story.commit("1", steps(12))
    story.reserve("2", steps(12), day=20)
    story.commit("2", steps(12), day=20)
    for day, expected in ((21, cost(steps(48))), (27, 0.0)):
        charged = story.account.charged(whole, time=story.when(day)["time"])
        assert filter_epsilon(charged, delta=DELTA) == expected
    story.set(reset=True)
    story.reserve("3", steps(12), day=27)
    charged = story.account.charged(whole, time=story.when(27)["time"])
    assert filter_epsilon(charged, delta=DELTA) == cost(steps(48))
    assert story.account.epsilon() == cost(steps(48))  # one block over all time


def test_an_entry_of_before_there_were_blocks_is_its_own() -> None:
    story = Story(100.0)
    story.reserve("new", steps(12))
    old = reserve(
        story.account,
        Reservation(
            reservation="old",
            event=steps(3),
            mechanisms=describe(steps(3), clip_norm=1.0, published_units=100.0),
            researcher="r@x.org",
            study="brain",
            dataset_version="d",
            code_sha256="plan-1",
            request="train/1",
        ),
        **story.when(),
    )
    detail = {name: value for name, value in old.detail.items() if name != "block"}
    story.fold.add(replace(old, detail=detail))
    assert story.account.epsilon() == cost(steps(48), steps(3))

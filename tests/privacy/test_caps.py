"""Budgets, caps, windows and resets: what counts against which, and what is never forgiven."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.events import DpEvent, gaussian
from privacy.accounting.filter import filter_epsilon, plan_charges
from privacy.accounting.mechanisms import describe
from privacy.errors import BudgetAmountError, BudgetExceededError, LedgerError
from privacy.spending.account import Account
from privacy.spending.budget import Budget, Limit, Scope
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import Disclosure, DisclosureKind, Reservation
from privacy.spending.replay import AccountFold
from privacy.spending.spend import commit, disclose, reserve, set_budget

NOON = "2026-11-23T12:00:00Z"
DELTA = 1e-5
ANN, BOB = "ann@uni.example", "bob@uni.example"


def steps(count: int) -> DpEvent:
    return gaussian(noise_multiplier=8.0, count=count)


def epsilon(event: DpEvent, *, delta: float) -> float:
    return filter_epsilon(plan_charges(event), delta=delta)


def at(day: int) -> str:
    return f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T12:00:00Z"


class Story:
    """A ledger's entries without a file."""

    def __init__(self, budget: Budget) -> None:
        self.fold = AccountFold()
        self.entries: list[Entry] = []
        when = {"actor": "owner", "time": at(0)}
        opening = {"action": "open", "resource": "key", "reason": ""}
        self.add(Entry(kind=EntryKind.LEDGER_OPENED, **opening, **when))
        self.budget(budget)

    def add(self, entry: Entry) -> None:
        self.fold.add(entry)
        self.entries.append(entry)

    def budget(self, budget: Budget, *, time: str = at(0), **whose: object) -> None:
        self.add(set_budget(budget, reason="board", actor="owner", time=time, **whose))  # type: ignore[arg-type]

    def reserve(self, name: str, *, count: int = 20, time: str = at(0), **changes: str) -> None:
        event = steps(count)
        fields = {"researcher": ANN, "study": "brain", "dataset_version": "v1", **changes}
        wanted = Reservation(
            reservation=name,
            event=event,
            mechanisms=describe(event, clip_norm=1.0, published_units=100.0),
            code_sha256="c",
            request="train/1",
            **fields,
        )
        self.add(reserve(self.account, wanted, time=time, actor=ANN))

    def spend(self, name: str, *, count: int = 20, time: str = at(0), **changes: str) -> None:
        self.reserve(name, count=count, time=time, **changes)
        self.commit(name, count=count, time=time)

    def commit(self, name: str, *, count: int = 20, time: str = at(0)) -> None:
        done = commit(self.account, reservation=name, event=steps(count), time=time, actor="agent")
        self.add(done)

    @property
    def account(self) -> Account:
        return self.fold.snapshot()


@pytest.fixture
def story() -> Story:
    return Story(Budget(epsilon=100.0, delta=DELTA))


def test_a_new_dataset_version_gives_nothing_back(story: Story) -> None:
    story.budget(Budget(epsilon=epsilon(steps(30), delta=DELTA), delta=DELTA))
    story.spend("a", dataset_version="v1")
    with pytest.raises(BudgetExceededError):
        story.spend("b", dataset_version="v2")
    story.spend("c", count=10, dataset_version="v2")
    account = story.account
    assert account.epsilon() == epsilon(steps(30), delta=DELTA)
    assert account.epsilon_by_version() == {
        "v1": epsilon(steps(20), delta=DELTA),
        "v2": epsilon(steps(10), delta=DELTA),
    }


@pytest.mark.parametrize(
    ("scope", "name", "mine", "other"),
    [
        (Scope.RESEARCHER, ANN, {"researcher": ANN}, {"researcher": BOB}),
        (Scope.STUDY, "brain", {"study": "brain"}, {"study": "lung"}),
    ],
)
def test_a_cap_binds_its_own_and_only_them(
    story: Story, scope: Scope, name: str, mine: dict[str, str], other: dict[str, str]
) -> None:
    story.budget(
        Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA), scope=scope, name=name
    )
    story.spend("other", count=200, **other)
    story.spend("mine", **mine)
    with pytest.raises(BudgetExceededError, match=f"budget of the {scope} {name}") as caught:
        story.reserve("more", count=1, **mine)
    assert caught.value.whose == f"{scope} {name}"
    story.reserve("again", count=1, **other)


def test_caps_do_not_add_to_the_hospitals_budget() -> None:
    story = Story(Budget(epsilon=epsilon(steps(30), delta=DELTA), delta=DELTA))
    for name in (ANN, BOB):
        cap = Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA)
        story.budget(cap, scope=Scope.RESEARCHER, name=name)
    story.spend("ann")
    with pytest.raises(BudgetExceededError, match="budget of the hospital"):
        story.reserve("bob", researcher=BOB)


def test_a_window_bounds_the_rate_and_forgives_nothing() -> None:
    story = Story(Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA, window_days=7))
    story.spend("a", time=at(1))
    for day in (1, 5, 8):  # within a week, both ends included
        with pytest.raises(BudgetExceededError):
            story.reserve(f"early-{day}", count=1, time=at(day))
    story.spend("b", time=at(9))
    assert story.account.epsilon() == epsilon(steps(40), delta=DELTA)
    assert story.account.epsilon() > story.account.required_budget().epsilon


def test_setting_the_clock_back_refreshes_no_window() -> None:
    story = Story(Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA, window_days=7))
    story.spend("a", time=at(100))
    story.add(_note(time=at(3)))
    for day in (0, 50, 100, 107):
        with pytest.raises(BudgetExceededError):
            story.reserve(f"b-{day}", count=1, time=at(day))


def test_open_reservations_count_in_every_window() -> None:
    story = Story(Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA, window_days=7))
    story.reserve("a", time=at(1))
    with pytest.raises(BudgetExceededError):
        story.reserve("b", count=1, time=at(60))
    # Committed late, it counts from then on.
    story.commit("a", time=at(61))
    with pytest.raises(BudgetExceededError):
        story.reserve("c", count=1, time=at(65))


def test_a_reset_is_logged_and_epsilon_over_all_time_goes_on(story: Story) -> None:
    tight = Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA)
    story.budget(tight)
    story.spend("a")
    with pytest.raises(BudgetExceededError):
        story.reserve("b", count=1)
    story.budget(tight, reset=True)
    assert story.entries[-1].action == "reset budget"
    assert story.entries[-1].reason == "board"
    whole = Limit(scope=Scope.HOSPITAL, name="", budget=tight)
    assert story.account.counting(whole, time=at(0)) == ()
    story.spend("c")
    assert story.account.epsilon() == epsilon(steps(40), delta=DELTA)


def test_a_reset_does_not_free_what_is_open(story: Story) -> None:
    tight = Budget(epsilon=epsilon(steps(20), delta=DELTA), delta=DELTA)
    story.reserve("a")
    story.budget(tight, reset=True)
    with pytest.raises(BudgetExceededError):
        story.reserve("b", count=1)
    story.commit("a")  # counts in the era in which it was settled
    with pytest.raises(BudgetExceededError):
        story.reserve("b", count=1)


def test_only_the_whole_budget_is_reset_and_caps_have_names() -> None:
    budget = Budget(epsilon=1.0, delta=DELTA)
    when = {"reason": "board", "time": NOON, "actor": "owner"}
    with pytest.raises(LedgerError, match="only the hospital's"):
        set_budget(budget, scope=Scope.STUDY, name="brain", reset=True, **when)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="cap must be"):
        set_budget(budget, scope=Scope.STUDY, name="", **when)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="no name"):
        set_budget(budget, name="brain", **when)  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [0, -1, True, 1.5, "7", 10**9, math.nan])
def test_not_a_window(days: object) -> None:
    with pytest.raises(BudgetAmountError, match="days"):
        Budget(epsilon=1.0, delta=DELTA, window_days=days)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("units", "text", "total"),
    [(2, "2 units", 1), (1, "1 unit:", 1), (None, "every unit", math.inf)],
)
def test_a_disclosure_says_for_whom_and_why(
    story: Story, units: int | None, text: str, total: float
) -> None:
    story.spend("a")
    shown = Disclosure(
        kind=DisclosureKind.CUSTOM_JOB, units=units, scope="logs of job 7", dataset_version="v1"
    )
    story.add(disclose(shown, resource="x", reason="debugging", time=NOON, actor="Dr. Owner"))
    account = story.account
    assert text in str(account.disclosures[0])
    assert "logs of job 7 (debugging; by Dr. Owner" in str(account.disclosures[0])
    assert math.isinf(account.epsilon()) == math.isinf(total)
    assert account.disclosed_by_kind() == {"custom_job": 1}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 20),
            st.sampled_from([ANN, BOB]),
            st.sampled_from(["brain", "lung"]),
            st.sampled_from(["v1", "v2"]),
            st.integers(0, 60),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_parts_never_cost_more_than_the_whole(
    plan: list[tuple[int, str, str, str, int, bool]],
) -> None:
    """Whatever the split, window or reset: no part's figure exceeds epsilon over all time."""
    story = Story(Budget(epsilon=1e6, delta=DELTA))
    for number, (count, who, study, version, day, reset) in enumerate(plan):
        whose = {"researcher": who, "study": study, "dataset_version": version}
        story.spend(str(number), count=count, time=at(day), **whose)
        if reset:
            story.budget(Budget(epsilon=1e6, delta=DELTA), time=at(day), reset=True)
    account = story.account
    whole = account.epsilon()
    total = sum(count for count, *_ in plan)
    assert whole == (epsilon(steps(total), delta=DELTA) if total else 0.0)
    for days in (None, 1, 30):
        limit = Limit(
            scope=Scope.HOSPITAL,
            name="",
            budget=Budget(epsilon=1.0, delta=DELTA, window_days=days),
        )
        assert filter_epsilon(account.charged(limit, time=at(60)), delta=DELTA) <= whole
    for part in (ANN, BOB):
        cap = Limit(scope=Scope.RESEARCHER, name=part, budget=Budget(epsilon=1.0, delta=DELTA))
        assert filter_epsilon(account.charged(cap, time=at(60)), delta=DELTA) <= whole


def _note(time: str) -> Entry:
    return Entry(
        kind=EntryKind.PLAN_RECEIVED, actor="a", action="b", resource="c", reason="", time=time
    )

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasites.ingest.errors import SplitError
from datasites.ingest.split import HOLDOUT, SplitPlan, client_name, plan_split

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    labels: Ints
    units: Ints
    settings: dict[str, Any]

    def plan(self, **changes: Any) -> SplitPlan:
        return plan_split(self.labels, self.units, **(self.settings | changes))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    clients = draw(st.integers(1, 5))
    min_units = draw(st.integers(2, 4))
    holdout = draw(st.sampled_from([0.0, 0.1, 0.3]))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2 * clients * min_units + 8, max_size=90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    units = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    own = rng.integers(0, 3, len(sizes))
    stray = rng.random(len(units)) < 0.05  # some units hold more than one class
    labels = np.where(stray, rng.integers(0, 3, len(units)), own[units])
    return Case(
        labels,
        units,
        {
            "clients": clients,
            "test": draw(st.sampled_from([0.0, 0.2, 0.5])),
            "alpha": draw(st.sampled_from([None, 0.001, 0.5, 100.0])),
            "holdout": holdout,
            "min_units": min_units,
            "seed": draw(st.integers(0, 2**40)),
        },
    )


def _units_in(case: Case, plan: SplitPlan, prefix: str) -> int:
    wanted = [i for i, name in enumerate(plan.parts) if name.startswith(prefix)]
    return len(np.unique(case.units[np.isin(plan.part_of, wanted)]))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_every_plan_is_whole_disjoint_and_repeatable(case: Case) -> None:
    plan = case.plan()
    assert plan.part_of.shape == case.labels.shape
    assert plan.part_of.min() >= 0
    assert plan.part_of.max() < len(plan.parts)
    for unit in np.unique(case.units):  # no unit straddles
        assert len(np.unique(plan.part_of[case.units == unit])) == 1
    again = case.plan()
    assert again.parts == plan.parts
    np.testing.assert_array_equal(again.part_of, plan.part_of)
    used = set(np.unique(plan.part_of).tolist())  # no part is empty
    assert used == set(range(len(plan.parts)))
    for client in range(case.settings["clients"]):
        units = _units_in(case, plan, f"client_{client_name(client)}_")
        assert units >= case.settings["min_units"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_shares_are_kept_to_within_a_unit_per_class(case: Case) -> None:
    own_class = Case(
        case.labels[np.unique(case.units, return_index=True)[1]][case.units],
        case.units,
        case.settings,
    )
    plan = own_class.plan(alpha=None, min_units=2)
    clients, holdout = case.settings["clients"], case.settings["holdout"]
    largest = np.bincount(case.units).max()
    for label in range(3):
        total = int((own_class.labels == label).sum())
        here = own_class.labels == label
        if holdout:
            held = int((here & (plan.part_of == 0)).sum())
            # one more unit, as an empty side is repaired by moving one
            assert held - holdout * total < 2 * largest
            total -= held
        for client in range(clients):
            name = f"client_{client_name(client)}_"
            parts = [i for i, part in enumerate(plan.parts) if part.startswith(name)]
            share = int((here & np.isin(plan.part_of, parts)).sum())
            # one more again for a unit moved to or from a client with too few
            assert abs(share - total / clients) < (clients + 2) * largest


def _large() -> tuple[Ints, Ints]:
    sizes = np.tile([1, 1, 1, 2, 5], 200)
    units = np.repeat(np.arange(len(sizes)), sizes)
    return units % 4, units


def test_equal_shares_are_nearly_exact_on_many_units() -> None:
    labels, units = _large()
    plan = plan_split(labels, units, clients=5, test=0.2, alpha=None, holdout=0.2, seed=1)
    assert plan.parts[:3] == (HOLDOUT, "client_A_train", "client_A_test")
    assert len(plan.parts) == 11
    for label in range(4):
        counts = np.bincount(plan.part_of[labels == label], minlength=11)
        total = counts.sum()
        assert abs(counts[0] - 0.2 * total) <= 5
        for client in range(5):
            train, test = counts[1 + 2 * client], counts[2 + 2 * client]
            assert abs(train + test - 0.16 * total) <= 8
            assert abs(test - 0.2 * (train + test)) <= 5


def test_no_part_gets_the_large_units_only() -> None:
    labels, units = _large()
    sizes = np.bincount(units)
    means = []
    for seed in range(30):
        plan = plan_split(labels, units, clients=2, test=0.2, alpha=None, holdout=0.2, seed=seed)
        held = np.unique(units[plan.part_of == 0])
        means.append(sizes[held].mean())
    assert abs(np.mean(means) - sizes.mean()) < 0.1


def test_small_alpha_is_uneven_and_large_alpha_even() -> None:
    labels, units = _large()

    def spread(alpha: float | None) -> float:
        plan = plan_split(labels, units, clients=5, test=0.0, alpha=alpha, holdout=0.0, seed=3)
        counts = np.stack([np.bincount(plan.part_of[labels == k], minlength=5) for k in range(4)])
        return float((counts / counts.sum(axis=1, keepdims=True)).std())

    assert spread(0.1) > spread(1.0) > spread(1e6)
    assert spread(None) < 0.02
    assert spread(1e6) < 0.02


def test_another_seed_is_another_plan() -> None:
    labels, units = _large()
    plans = [
        plan_split(labels, units, clients=3, test=0.2, alpha=0.5, holdout=0.1, seed=seed).part_of
        for seed in (0, 1)
    ]
    assert not np.array_equal(*plans)


def test_shares_of_zero_make_no_folder() -> None:
    labels, units = _large()
    plan = plan_split(labels, units, clients=2, test=0.0, alpha=None, holdout=0.0, seed=0)
    assert plan.parts == ("client_A_train", "client_B_train")


def test_client_names() -> None:
    assert [client_name(i) for i in (0, 25, 26, 51, 52, 99)] == ["A", "Z", "AA", "AZ", "BA", "CV"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clients": 0}, "1 to 100"),
        ({"clients": 101}, "1 to 100"),
        ({"test": -0.1}, "test share"),
        ({"test": 1.0}, "test share"),
        ({"test": float("nan")}, "test share"),
        ({"holdout": 1.0}, "hold-out share"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"seed": -1}, "seed"),
        ({"min_units": 1}, "2 groups"),
        ({"clients": 60, "min_units": 20}, "too few for 60 clients"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], says: str) -> None:
    labels, units = _large()
    asked = {"clients": 2, "test": 0.2, "alpha": None, "holdout": 0.0, "seed": 0} | change
    with pytest.raises(SplitError, match=says):
        plan_split(labels, units, **asked)


@pytest.mark.parametrize(("labels", "units"), [([], []), ([0, 1], [0]), ([0, 0, 0], [0, 2, 2])])
def test_malformed_units_are_refused(labels: list[int], units: list[int]) -> None:
    with pytest.raises(SplitError):
        plan_split(
            np.array(labels, np.int64),
            np.array(units, np.int64),
            clients=1,
            test=0.0,
            alpha=None,
            holdout=0.0,
            seed=0,
        )

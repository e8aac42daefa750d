"""What a claim of units may buy: neither order nor a lie changes more than the bounds allow."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aggregation.aggregator import Aggregator
from orchestrator.aggregation.scaffold import ControlVariates
from orchestrator.aggregation.update_checks import Update
from orchestrator.aggregation.weighting import MOST_TIMES_MEDIAN, counted_units, weights_by_units
from orchestrator.study.strategies import StrategySettings

units = st.floats(1, 1e9)
claims = st.lists(units, min_size=1, max_size=12).map(
    lambda values: {f"h{place:02d}": value for place, value in enumerate(values)}
)


@given(claims)
def test_weights_sum_to_one_and_nobody_has_more_than_half_or_the_multiple(claims):
    weights, counted = weights_by_units(claims), counted_units(claims)
    assert math.fsum(weights.values()) == pytest.approx(1.0)
    assert all(counted[site] <= claims[site] for site in claims)
    if len(claims) > 1:
        assert max(weights.values()) <= 0.5 + 1e-12
        median = sorted(claims.values())[(len(claims) - 1) // 2]
        assert max(counted.values()) <= MOST_TIMES_MEDIAN * median


@given(claims, st.randoms())
def test_the_order_of_hospitals_does_not_matter(claims, chance):
    shuffled = list(claims.items())
    chance.shuffle(shuffled)
    assert counted_units(dict(shuffled)) == counted_units(claims)


@given(claims)
def test_who_claims_more_weighs_no_less_and_who_claims_the_same_weighs_the_same(claims):
    weights = weights_by_units(claims)
    for one in claims:
        for other in claims:
            if claims[one] <= claims[other]:
                assert weights[one] <= weights[other]


@given(claims, st.floats(1, 1e6))
def test_claiming_more_never_weighs_less(claims, times):
    before = weights_by_units(claims)["h00"]
    after = weights_by_units(claims | {"h00": claims["h00"] * times})["h00"]
    assert after >= before - 1e-12


@given(st.lists(st.floats(100, 150), min_size=3, max_size=12))
def test_like_hospitals_weigh_by_their_units(values):
    claims = {f"h{place:02d}": value for place, value in enumerate(values)}
    assert counted_units(claims) == claims


def test_of_two_each_has_half_and_one_alone_has_all():
    assert weights_by_units({"a": 30.0, "b": 1e9}) == {"a": 0.5, "b": 0.5}
    assert weights_by_units({"a": 30.0}) == {"a": 1.0}
    assert weights_by_units({}) == {}


def test_a_liar_among_ten_weighs_four_times_an_honest_one():
    weights = weights_by_units({f"h{place}": 50.0 for place in range(9)} | {"liar": 1e15})
    assert weights["liar"] == pytest.approx(4 / 13)


def _update(hospital, value, count):
    return Update(
        hospital=hospital,
        weights={"w": torch.tensor([value])},
        units=count,
        epsilon=1.0,
        delta=1e-5,
        receipt_sha256="0" * 64,
    )


@pytest.mark.parametrize("name", ["fedavg", "fedadam", "scaffold"])
def test_no_strategy_lets_a_claim_take_the_aggregate_over(name):
    """Four honest hospitals at 0 and a liar at 1 with 1e15 units: at most half of the way."""
    before = {"w": torch.zeros(1)}
    sent = [_update(f"h{place}", 0.0, 50.0) for place in range(4)] + [_update("liar", 1.0, 1e15)]
    lying = Aggregator(StrategySettings(name=name)).aggregate(
        round_number=1, global_weights=before, updates=sent
    )
    sent[-1] = _update("liar", 1.0, 200.0)
    most = Aggregator(StrategySettings(name=name)).aggregate(
        round_number=1, global_weights=before, updates=sent
    )
    torch.testing.assert_close(lying, most)
    if name != "fedadam":  # whose step is of one size
        assert float(lying["w"]) <= 0.5


def test_control_variates_are_weighed_by_the_same_bounds():
    variates = ControlVariates(travel=1.0)
    sent = [_update(f"h{place}", 0.0, 50.0) for place in range(4)] + [_update("liar", 1.0, 1e15)]
    variates.learn(global_weights={"w": torch.zeros(1)}, updates=sent)
    assert float(variates.correction("h0")["w"]) == pytest.approx(-0.5)

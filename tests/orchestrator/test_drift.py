"""SCAFFOLD's control variates: what they are, that they undo drift, and that they survive a stop.

Proven on quadratics, whose optima are known: local steps without correction end elsewhere than the
optimum of all hospitals together, and with it there; the correction is what the paper's formula
gives for gradients that a test follows itself; by units it sums to zero; a hospital that is away
keeps its own; saved and restored, a run goes on bit for bit; what is no saved state is refused.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import weights_from_bytes, weights_to_bytes
from orchestrator.aggregation.scaffold import PREFIX, ControlVariates
from orchestrator.aggregation.update_checks import Update
from orchestrator.aggregation.weighting import counted_units
from orchestrator.errors import AggregationError
from tests.orchestrator.conftest import SITES, weights_that

STEPS, RATE = 8, 0.1
# Curvatures and optima of three hospitals that are unlike, and their units.
CURVED = torch.tensor([[2.0, 0.1], [0.2, 1.5], [1.0, 1.0]], dtype=torch.float64)
OPTIMA = torch.tensor([[4.0, -3.0], [-5.0, 2.0], [1.0, 6.0]], dtype=torch.float64)
UNITS = (34.0, 10.0, 25.5)
NAMES = ("a", "b", "c")
WEIGHED = torch.tensor(UNITS, dtype=torch.float64)[:, None] * CURVED
TOGETHER = (WEIGHED * OPTIMA).sum(0) / WEIGHED.sum(0)


def update(place, weights):
    return Update(
        hospital=NAMES[place],
        weights={"w": weights},
        units=UNITS[place],
        epsilon=1.0,
        delta=1e-5,
        receipt_sha256="0" * 64,
    )


def local(place, start, correction):
    """Plain steps on one hospital's quadratic; where they end, and the gradients they followed."""
    weights, followed = start.clone(), []
    for _ in range(STEPS):
        gradient = CURVED[place] * (weights - OPTIMA[place])
        followed.append(gradient)
        weights = weights - RATE * (gradient + correction)
    return weights, torch.stack(followed).mean(0)


def rounds(variates, weights, number, *, corrected=True, present=(0, 1, 2)):
    for _ in range(number):
        updates = []
        for place in present:
            found = variates.correction(NAMES[place]) if corrected else None
            end, _ = local(place, weights, found["w"] if found else torch.zeros(2))
            updates.append(update(place, end))
        variates.learn(global_weights={"w": weights}, updates=updates)
        total = sum(one.units for one in updates)
        weights = sum(one.weights["w"] * one.units for one in updates) / total
    return weights


@pytest.fixture
def variates():
    return ControlVariates(travel=STEPS * RATE)


@pytest.fixture
def start():
    return torch.zeros(2, dtype=torch.float64)


def test_local_steps_end_where_all_hospitals_together_have_their_optimum(variates, start):
    torch.testing.assert_close(rounds(variates, start, 200), TOGETHER)
    drifted = rounds(ControlVariates(travel=STEPS * RATE), start, 200, corrected=False)
    assert (drifted - TOGETHER).norm() > 0.2


def test_the_correction_is_the_papers(variates, start):
    assert variates.correction("a") is None
    means = []
    for place in range(3):
        end, mean = local(place, start, torch.zeros(2))
        variates.learn(global_weights={"w": start}, updates=[update(place, end)])
        means.append(mean)
    together = sum(u * m for u, m in zip(UNITS, means, strict=True)) / sum(UNITS)
    for place, name in enumerate(NAMES):
        torch.testing.assert_close(variates.correction(name)["w"], together - means[place])
    # In the next round what was added is taken off again: its own gradients alone are read off.
    added = variates.correction("a")["w"]
    end, mean = local(0, start, added)
    variates.learn(global_weights={"w": start}, updates=[update(0, end)])
    means[0] = mean
    together = sum(u * m for u, m in zip(UNITS, means, strict=True)) / sum(UNITS)
    torch.testing.assert_close(variates.correction("a")["w"], together - means[0])


def test_what_is_not_learned_gets_no_correction(variates):
    weights = {"w": torch.zeros(2), "count": torch.tensor([3])}
    one = Update(
        hospital="a", weights=weights, units=1.0, epsilon=0.0, delta=0.0, receipt_sha256="0" * 64
    )
    variates.learn(global_weights=weights, updates=[one])
    assert set(variates.correction("a")) == {"w"}


@given(
    ends=st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3),
    units=st.lists(st.floats(1, 1e4), min_size=3, max_size=3),
)
def test_by_the_units_that_count_corrections_sum_to_zero(ends, units):
    variates = ControlVariates(travel=0.3)
    updates = [
        Update(
            hospital=name,
            weights={"w": torch.tensor([end], dtype=torch.float64)},
            units=count,
            epsilon=0.0,
            delta=0.0,
            receipt_sha256="0" * 64,
        )
        for name, end, count in zip(NAMES, ends, units, strict=True)
    ]
    variates.learn(global_weights={"w": torch.zeros(1, dtype=torch.float64)}, updates=updates)
    units = counted_units(dict(zip(NAMES, units, strict=True))).values()
    found = [
        variates.correction(name)["w"] * count for name, count in zip(NAMES, units, strict=True)
    ]
    size = sum(abs(end) * count for end, count in zip(ends, units, strict=True))
    assert abs(float(sum(found))) <= 1e-14 * size  # what doubles can lose of terms so large


def test_a_hospital_that_was_away_keeps_its_own(variates, start):
    weights = rounds(variates, start, 1)
    before = variates.state()
    rounds(variates, weights, 1, present=(1, 2))
    after = variates.state()
    kept = [name for name in before if torch.equal(before[name], after[name])]
    assert set(kept) == {f"{PREFIX}a/w", *(f"{PREFIX}{name}/units" for name in NAMES)}


def test_restored_it_goes_on_bit_for_bit(variates, start):
    weights = rounds(variates, start, 3)
    again = ControlVariates(travel=STEPS * RATE)
    again.restore(variates.state())
    assert torch.equal(rounds(again, weights, 2), rounds(variates, weights, 2))


def test_who_answered_first_changes_nothing_after_a_stop(variates, start):
    """A checkpoint keeps names in order, which need not be the one in which hospitals came."""
    weights = rounds(variates, start, 3, present=(2,))
    weights = rounds(variates, weights, 3, present=(1, 2))
    rounds(variates, weights, 3)
    again = ControlVariates(travel=STEPS * RATE)
    again.restore(weights_from_bytes(weights_to_bytes(variates.state())))
    for name in NAMES:
        assert torch.equal(again.correction(name)["w"], variates.correction(name)["w"])


@pytest.mark.parametrize(
    "state",
    [
        {"fedadam.m.w": torch.zeros(1, dtype=torch.float64)},
        {f"{PREFIX}a": torch.zeros(1, dtype=torch.float64)},
        {f"{PREFIX}a/w": torch.zeros(1, dtype=torch.float64)},
        {f"{PREFIX}a/units": torch.tensor(1.0, dtype=torch.float64)},
        {f"{PREFIX}a/w": torch.zeros(1)},
        {f"{PREFIX}a/w": torch.full((1,), float("nan"), dtype=torch.float64)},
    ],
    ids=["another strategy's", "no tensor", "no units", "no weights", "float32", "nan"],
)
def test_what_is_no_saved_state_is_refused(variates, state):
    with pytest.raises(AggregationError, match="saved strategy state"):
        variates.restore(state)
    assert variates.state() == {}


# --- in a study -------------------------------------------------------------------------------


@pytest.fixture
def scaffold(paper, make_world):
    """Three rounds of SCAFFOLD over hospitals that move every weight by an amount of their own."""
    study, bundle = paper
    strategy = study.strategy.model_copy(update={"name": "scaffold"})
    world = make_world(study.model_copy(update={"strategy": strategy, "rounds": 3}), bundle)
    for place, site in enumerate(SITES):
        world.hospitals[site].answers["-r0"] = weights_that(
            lambda weights, by=0.01 * (1 + place): {n: t + by for n, t in weights.items()}
        )
    return world


def _value(correction):
    return float(next(iter(correction.values())).flatten()[0])


def test_scaffold_sends_each_hospital_what_its_steps_lacked(scaffold):
    scaffold.train()
    train = scaffold.study.train
    travel = train.steps * train.learning_rate
    found = {site: [_value(c) for c in scaffold.hospitals[site].corrections] for site in SITES}
    # None in round 1. In round 2: the mean gradient of all less its own, of equal units.
    for place, site in enumerate(SITES):
        second = (-0.02 + 0.01 * (1 + place)) / travel
        assert found[site][0] == pytest.approx(second, rel=1e-3, abs=1e-6)
    # They moved as before though something was added, so all of what lacked is their own now.
    assert found[SITES[0]][1] == pytest.approx(2 * found[SITES[0]][0], rel=1e-2)
    assert len(found[SITES[1]]) == 2
    assert scaffold.folder.load().refusals == {}


def test_scaffold_goes_on_after_a_stop_as_if_there_had_been_none(scaffold):
    scaffold.researcher.link.interrupt_on = "-r0003"
    with pytest.raises(KeyboardInterrupt):
        scaffold.train()
    sent = [_value(c) for c in scaffold.hospitals[SITES[0]].corrections]
    scaffold.run().train({})
    straight = [_value(c) for c in scaffold.hospitals[SITES[0]].corrections]
    assert len(sent) == 1
    assert len(straight) == 2
    assert straight[1] == pytest.approx(2 * sent[0], rel=1e-2)

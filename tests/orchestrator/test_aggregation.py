"""The aggregator against formulas written out in numpy."""

from __future__ import annotations

import gc
import io
import logging
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from orchestrator.aggregation.aggregator import Aggregator
from orchestrator.aggregation.update_checks import Update
from orchestrator.aggregation.weighting import counted_units
from orchestrator.errors import AggregationError, QuorumError, UpdateReason, UpdateRefusedError
from orchestrator.study.strategies import StrategySettings, strategy_names

Vector = NDArray[np.float64]


def update(hospital: str, weights: dict[str, torch.Tensor], units: float = 10.0) -> Update:
    return Update(
        hospital=hospital,
        weights=weights,
        units=units,
        epsilon=1.0,
        delta=1e-5,
        receipt_sha256="ab" * 32,
    )


def model(seed: int) -> dict[str, torch.Tensor]:
    """A small model's weights: tensors of several ranks and one that is not learned."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(3, 2, 2, generator=generator),
        "scale": torch.randn((), generator=generator),
        "head.bias": torch.randn(4, generator=generator),
        "steps": torch.tensor(3),
    }


def settings_of(name: str) -> StrategySettings:
    return StrategySettings(name=name, proximal_mu=0.1 if name == "fedprox" else 0.0)


def round_of(count: int, *, first_seed: int = 1) -> list[Update]:
    return [update(f"h{i}", model(first_seed + i), units=5.0 + i) for i in range(count)]


def flat(weights: dict[str, torch.Tensor]) -> Vector:
    learned = [t.double().numpy().ravel() for t in weights.values() if t.is_floating_point()]
    return np.concatenate(learned)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def aggregate_vectors(
    strategy: StrategySettings, start: Vector, sent: Sequence[Vector], units: Sequence[float]
) -> Vector:
    """One round on a model of one float64 vector."""
    updates = [
        update(f"h{i}", {"w": torch.from_numpy(v.copy())}, units=u)
        for i, (v, u) in enumerate(zip(sent, units, strict=True))
    ]
    before = {"w": torch.from_numpy(start.copy())}
    result = Aggregator(strategy).aggregate(round_number=1, global_weights=before, updates=updates)
    return result["w"].numpy()


vectors = hnp.arrays(np.float64, 5, elements=st.floats(-100, 100))
rounds = st.lists(st.tuples(vectors, st.floats(0.5, 5000)), min_size=1, max_size=7)


@settings(max_examples=50, deadline=None)
@given(start=vectors, sent=rounds)
def test_fedavg_is_the_mean_weighted_by_the_units_that_count(
    start: Vector, sent: list[tuple[Vector, float]]
) -> None:
    values, units = [v for v, _ in sent], [u for _, u in sent]
    got = aggregate_vectors(StrategySettings(name="fedavg"), start, values, units)
    counted = list(counted_units(dict(enumerate(units))).values())  # type: ignore[arg-type]
    np.testing.assert_allclose(got, np.average(values, axis=0, weights=counted), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(start=vectors, sent=st.lists(vectors, min_size=3, max_size=7))
def test_fedmedian_is_the_median(start: Vector, sent: list[Vector]) -> None:
    got = aggregate_vectors(StrategySettings(name="fedmedian"), start, sent, [1.0] * len(sent))
    np.testing.assert_allclose(got, np.median(sent, axis=0), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(start=vectors, sent=st.lists(vectors, min_size=5, max_size=9))
def test_fedtrimmedavg_cuts_both_ends(start: Vector, sent: list[Vector]) -> None:
    strategy = StrategySettings(name="fedtrimmedavg", trimmed_fraction=0.2)
    got = aggregate_vectors(strategy, start, sent, [1.0] * len(sent))
    np.testing.assert_allclose(got, np.sort(sent, axis=0)[1:-1].mean(axis=0), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(sent=st.lists(vectors, min_size=7, max_size=7), name=st.sampled_from(strategy_names()))
def test_a_unanimous_round_gives_what_all_sent_except_for_adam(
    sent: list[Vector], name: str
) -> None:
    if name == "fedadam":
        return
    got = aggregate_vectors(settings_of(name), sent[1], [sent[0]] * 7, [3.0] * 7)
    np.testing.assert_allclose(got, sent[0], atol=1e-9)


def krum_score(values: Sequence[Vector], index: int, liars: int) -> float:
    """Sum of squared distances to the n - f - 2 nearest others (Blanchard et al. 2017)."""
    distances = [
        float(np.sum((values[index] - v) ** 2)) for j, v in enumerate(values) if j != index
    ]
    return sum(sorted(distances)[: len(values) - liars - 2])


def scattered(count: int, *, outliers: int, spread: float) -> list[Vector]:
    rng = np.random.default_rng(7)
    honest = [10.0 + spread * rng.standard_normal(20) for _ in range(count - outliers)]
    return honest + [10.0 + 500 * spread * rng.standard_normal(20) for _ in range(outliers)]


@pytest.mark.parametrize("liars", [1, 2])
def test_krum_takes_the_update_with_the_best_score(liars: int) -> None:
    sent = scattered(7, outliers=liars, spread=0.1)
    strategy = StrategySettings(name="krum", byzantine=liars)
    got = aggregate_vectors(strategy, np.zeros(20), sent, [1.0] * 7)
    best = min(range(7), key=lambda i: krum_score(sent, i, liars))
    np.testing.assert_allclose(got, sent[best], atol=1e-12)
    assert best < 7 - liars


def test_krum_sees_differences_far_below_float32_of_the_weights() -> None:
    # Updates 1e-4 apart at weights of length 1e3: |x|^2 + |y|^2 - 2 x.y in float32 is noise here.
    start = {"w": torch.full((10_000,), 10.0)}
    moves = [1e-4, 1.1e-4, 1.2e-4, 1.3e-4, -9e-3]
    noise = torch.Generator().manual_seed(0)
    sent = [
        update(f"h{i}", {"w": start["w"] + m + 1e-5 * torch.randn(10_000, generator=noise)})
        for i, m in enumerate(moves)
    ]
    result = Aggregator(StrategySettings(name="krum")).aggregate(
        round_number=1, global_weights=start, updates=sent
    )
    chosen = [u.hospital for u in sent if torch.equal(u.weights["w"], result["w"])]  # type: ignore[arg-type]
    assert chosen in (["h1"], ["h2"])


def test_multikrum_averages_the_best_whatever_units_they_claim() -> None:
    sent, units = scattered(7, outliers=1, spread=0.1), [1.0, 2, 3, 4, 5, 6, 1000]
    got = aggregate_vectors(StrategySettings(name="multikrum"), np.zeros(20), sent, units)
    best = sorted(range(7), key=lambda i: krum_score(sent, i, 1))[:4]
    expected = np.mean([sent[i] for i in best], axis=0)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_bulyan_stays_among_the_honest() -> None:
    sent = scattered(7, outliers=1, spread=0.1)
    got = aggregate_vectors(StrategySettings(name="bulyan"), np.zeros(20), sent, [1.0] * 7)
    honest = np.stack(sent[:6])
    assert np.all((got >= honest.min(axis=0)) & (got <= honest.max(axis=0)))


def test_fedadam_is_the_papers_formula_with_flowers_bias_correction() -> None:
    # Reddi et al. 2020, algorithm 2 (FedAdam), with v_0 = 0 and a corrected step.
    rng = np.random.default_rng(3)
    strategy = StrategySettings(name="fedadam", server_learning_rate=0.05)
    b1, b2, tau, eta = strategy.beta_1, strategy.beta_2, strategy.tau, 0.05
    aggregator = Aggregator(strategy)
    x = rng.standard_normal(6)
    m, v = np.zeros(6), np.zeros(6)
    now = {"w": torch.from_numpy(x.copy())}
    for t in range(1, 5):
        sent, units = [rng.standard_normal(6) for _ in range(3)], [1.0, 2.0, 2.5]
        change = np.average(sent, axis=0, weights=units) - x
        m = b1 * m + (1 - b1) * change
        v = b2 * v + (1 - b2) * change**2
        step = eta * math.sqrt(1 - b2 ** (t + 1)) / (1 - b1 ** (t + 1))
        x = x + step * m / (np.sqrt(v) + tau)
        updates = [
            update(f"h{i}", {"w": torch.from_numpy(s)}, units=u)
            for i, (s, u) in enumerate(zip(sent, units, strict=True))
        ]
        now = aggregator.aggregate(round_number=t, global_weights=now, updates=updates)
        np.testing.assert_allclose(now["w"].numpy(), x, rtol=1e-12)


@pytest.mark.parametrize("name", strategy_names())
def test_order_of_arrival_does_not_matter_and_inputs_are_left_alone(name: str) -> None:
    updates, start = round_of(7), model(0)
    before = [flat(u.weights) for u in updates]  # type: ignore[arg-type]
    one = Aggregator(settings_of(name)).aggregate(
        round_number=1, global_weights=start, updates=updates
    )
    other = Aggregator(settings_of(name)).aggregate(
        round_number=1, global_weights=start, updates=[*updates[3:], *reversed(updates[:3])]
    )
    assert same(one, other)
    assert all(np.array_equal(b, flat(u.weights)) for b, u in zip(before, updates, strict=True))  # type: ignore[arg-type]
    assert same(start, model(0))
    assert {n: t.dtype for n, t in one.items()} == {n: t.dtype for n, t in start.items()}
    assert one["steps"].item() == 3
    assert one["scale"].shape == ()


@settings(max_examples=40, deadline=None)
@given(sent=st.permutations(range(7)), name=st.sampled_from(strategy_names()))
def test_the_result_is_bit_identical_in_any_order(sent: list[int], name: str) -> None:
    # In float64, where another order of summing shows in the last bits.
    updates = [
        update(
            f"h{i}", {"w": torch.from_numpy(np.random.default_rng(i).standard_normal(9))}, 1.1 + i
        )
        for i in range(7)
    ]
    start = {"w": torch.zeros(9, dtype=torch.float64)}
    one, other = (
        Aggregator(settings_of(name)).aggregate(
            round_number=1, global_weights=start, updates=[updates[i] for i in order]
        )
        for order in (range(7), sent)
    )
    assert same(one, other)


@pytest.mark.parametrize("name", strategy_names())
def test_a_resumed_run_is_bit_identical(name: str) -> None:
    straight, weights = Aggregator(settings_of(name)), model(0)
    for number in range(1, 6):
        weights = straight.aggregate(
            round_number=number, global_weights=weights, updates=round_of(7, first_seed=9 * number)
        )
    resumed, again = Aggregator(settings_of(name)), model(0)
    for number in range(1, 6):
        saved = {key: tensor.clone() for key, tensor in resumed.state().items()}
        resumed = Aggregator(settings_of(name))
        resumed.restore(saved)
        again = resumed.aggregate(
            round_number=number, global_weights=again, updates=round_of(7, first_seed=9 * number)
        )
    assert same(weights, again)
    assert same(straight.state(), resumed.state())
    assert bool(straight.state()) == (name in {"fedadam", "scaffold"})


def test_fedadam_remembers() -> None:
    aggregator = Aggregator(settings_of("fedadam"))
    first = aggregator.aggregate(round_number=1, global_weights=model(0), updates=round_of(3))
    again = aggregator.aggregate(round_number=1, global_weights=model(0), updates=round_of(3))
    assert not same(first, again)
    aggregator.restore({})
    fresh = aggregator.aggregate(round_number=1, global_weights=model(0), updates=round_of(3))
    assert same(first, fresh)


def test_a_failed_round_leaves_the_state_alone() -> None:
    aggregator = Aggregator(settings_of("fedadam"))
    aggregator.aggregate(round_number=1, global_weights=model(0), updates=round_of(3))
    before = aggregator.state()
    broken = model(5) | {"head.bias": torch.full((4,), math.nan)}
    with pytest.raises(UpdateRefusedError) as caught:
        aggregator.aggregate(
            round_number=2, global_weights=model(0), updates=[*round_of(2), update("x", broken)]
        )
    assert caught.value.reason_code is UpdateReason.NOT_FINITE
    assert same(before, aggregator.state())


def test_half_precision_comes_back_in_its_dtype() -> None:
    start = {"w": torch.ones(3, dtype=torch.bfloat16)}
    sent = [update(h, {"w": torch.full((3,), 3.0, dtype=torch.bfloat16)}) for h in "ab"]
    result = Aggregator(StrategySettings()).aggregate(
        round_number=1, global_weights=start, updates=sent
    )
    assert result["w"].dtype == torch.bfloat16
    assert result["w"].tolist() == [3.0] * 3


def test_read_only_numpy_weights_are_taken() -> None:
    start = np.zeros(3, dtype=np.float32)
    start.flags.writeable = False
    counts = np.arange(2)
    counts.flags.writeable = False
    sent = Update(
        hospital="a",
        weights={"w": np.ones(3, dtype=np.float32), "n": counts},
        units=1.0,
        epsilon=1.0,
        delta=1e-5,
        receipt_sha256="ab" * 32,
    )
    result = Aggregator(StrategySettings()).aggregate(
        round_number=1, global_weights={"w": start, "n": counts}, updates=[sent]
    )
    assert result["w"].tolist() == [1.0] * 3
    assert result["n"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "few"), [("fedavg", 0), ("krum", 4), ("bulyan", 6), ("fedtrimmedavg", 4)]
)
def test_too_few_updates_are_a_matter_of_quorum(name: str, few: int) -> None:
    with pytest.raises(QuorumError) as caught:
        Aggregator(settings_of(name)).aggregate(
            round_number=1, global_weights=model(0), updates=round_of(few)
        )
    assert caught.value.received == few
    assert caught.value.needed == settings_of(name).minimum_updates


def test_what_cannot_be_aggregated() -> None:
    aggregator = Aggregator(StrategySettings())
    with pytest.raises(AggregationError, match="two updates of h0"):
        aggregator.aggregate(
            round_number=1, global_weights=model(0), updates=[*round_of(2), *round_of(1)]
        )
    with pytest.raises(AggregationError, match="count from 1"):
        aggregator.aggregate(round_number=0, global_weights=model(0), updates=round_of(2))
    with pytest.raises(AggregationError, match="no floating tensor"):
        aggregator.aggregate(
            round_number=1, global_weights={"n": torch.tensor(1)}, updates=round_of(2)
        )


def test_finite_updates_that_overflow_are_refused() -> None:
    start = {"w": torch.zeros(2, dtype=torch.float64)}
    huge = torch.full((2,), 1e300, dtype=torch.float64)
    sent = [update(f"h{i}", {"w": huge}) for i in range(5)]
    for name in ("krum", "fedadam"):
        with pytest.raises(AggregationError, match="cannot aggregate"):
            Aggregator(settings_of(name)).aggregate(
                round_number=1, global_weights=start, updates=sent
            )


def test_an_aggregate_that_does_not_fit_its_dtype_is_refused() -> None:
    strategy = StrategySettings(name="fedadam", server_learning_rate=1e6)
    start = {"w": torch.full((2,), 6e4, dtype=torch.float16)}
    sent = [update(h, {"w": torch.full((2,), 6.5e4, dtype=torch.float16)}) for h in "ab"]
    with pytest.raises(AggregationError, match=r"does not fit torch\.float16"):
        Aggregator(strategy).aggregate(round_number=1, global_weights=start, updates=sent)


def test_a_state_that_is_not_ours_is_refused() -> None:
    adam = Aggregator(settings_of("fedadam"))
    adam.aggregate(round_number=1, global_weights=model(0), updates=round_of(2))
    state = adam.state()
    with pytest.raises(AggregationError, match="the study says fedavg"):
        Aggregator(StrategySettings()).restore(state)
    half = {name: tensor for name, tensor in state.items() if ".m." in name}
    for wrong in ({"x": torch.zeros(1)}, half):
        with pytest.raises(AggregationError, match="unknown or missing"):
            adam.restore(wrong)
    with pytest.raises(AggregationError, match="not finite float64"):
        adam.restore({name: tensor.float() for name, tensor in state.items()})
    with pytest.raises(AggregationError, match="not finite float64"):
        adam.restore({name: tensor * math.nan for name, tensor in state.items()})
    other = {"w": torch.zeros(2)}
    with pytest.raises(AggregationError, match="another model"):
        adam.aggregate(round_number=2, global_weights=other, updates=[update("a", other)])


def test_a_saved_state_is_a_copy() -> None:
    adam = Aggregator(settings_of("fedadam"))
    adam.aggregate(round_number=1, global_weights=model(0), updates=round_of(2))
    for tensor in adam.state().values():
        tensor.zero_()
    assert all(bool(tensor.any()) for tensor in adam.state().values())


def test_flower_stays_quiet_and_its_log_level_comes_back() -> None:
    log, heard = logging.getLogger("flwr"), io.StringIO()
    handler, before = logging.StreamHandler(heard), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    frozen = gc.get_freeze_count()
    try:
        Aggregator(StrategySettings()).aggregate(
            round_number=1, global_weights=model(0), updates=round_of(2)
        )
    finally:
        after = log.level
        log.removeHandler(handler)
        log.setLevel(before)
    assert heard.getvalue() == ""
    assert gc.get_freeze_count() == frozen
    assert after == logging.INFO

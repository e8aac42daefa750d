import math

import pytest
from dp_accounting import dp_event
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import compose, gaussian, laplace, non_private, poisson_gaussian
from privacy.accounting.merging import Merged, Part, merge


def sgd(steps: int, noise: float = 1.0, rate: float = 0.1) -> dp_event.DpEvent:
    return poisson_gaussian(sampling_rate=rate, noise_multiplier=noise, steps=steps)


def test_equal_mechanisms_are_counted() -> None:
    merged = merge([sgd(20), compose([sgd(30), sgd(5, noise=2.0)]), dp_event.NoOpDpEvent()])
    assert merged == Merged(
        parts=(Part("gaussian", 0.1, 1.0, 50), Part("gaussian", 0.1, 2.0, 5)), private=True
    )


def test_nested_counts_multiply() -> None:
    event = dp_event.SelfComposedDpEvent(compose([sgd(3), laplace(noise_multiplier=2.0)]), 7)
    assert merge([event]).parts == (Part("gaussian", 0.1, 1.0, 21), Part("laplace", 1.0, 2.0, 7))


def test_full_batch_gaussians_become_one() -> None:
    merged = merge([gaussian(noise_multiplier=3.0), gaussian(noise_multiplier=4.0)])
    (part,) = merged.parts
    assert part.noise_multiplier == pytest.approx(12 / 5)
    assert part.noise_multiplier < 12 / 5  # rounded toward less noise
    assert merge([sgd(4, rate=1.0)]).parts[0].noise_multiplier == pytest.approx(0.5)
    assert merge([gaussian(noise_multiplier=3.0)]).parts == (Part("gaussian", 1.0, 3.0, 1),)


@pytest.mark.parametrize(
    "event",
    [non_private(), dp_event.UnsupportedDpEvent(), dp_event.ZCDpEvent(rho=1e-9), "event", None],
)
def test_one_bad_event_makes_all_non_private(event: object) -> None:
    merged = merge([sgd(1), event])
    assert not merged.private
    assert not merge([compose([sgd(1), non_private()])]).private


@given(st.permutations([sgd(1), sgd(2, noise=2.0), gaussian(noise_multiplier=5.0), sgd(3)]))
def test_order_does_not_matter(events: list[dp_event.DpEvent]) -> None:
    reference = [sgd(1), sgd(2, noise=2.0), gaussian(noise_multiplier=5.0), sgd(3)]
    assert merge(events) == merge(reference)
    assert merge([compose(events)]) == merge(reference)


@pytest.mark.parametrize(
    ("reserved", "spent", "covered"),
    [
        ([sgd(20)], [sgd(20)], True),
        ([sgd(20)], [sgd(19)], True),
        ([sgd(20)], [], True),
        ([sgd(20)], [sgd(21)], False),
        ([sgd(20)], [sgd(20, noise=0.9)], False),
        ([sgd(20)], [sgd(20, rate=0.2)], False),
        ([sgd(20)], [sgd(10), laplace(noise_multiplier=9.0)], False),
        ([sgd(20), sgd(5, noise=2.0)], [sgd(5, noise=2.0)], True),
        ([gaussian(noise_multiplier=1.0)], [gaussian(noise_multiplier=2.0, count=4)], True),
        ([gaussian(noise_multiplier=1.0)], [gaussian(noise_multiplier=2.0, count=5)], False),
        ([gaussian(noise_multiplier=1e-200)], [gaussian(noise_multiplier=1e-200)], True),
        ([sgd(20)], [non_private()], False),
        ([non_private()], [sgd(20)], True),
        ([non_private()], [non_private()], True),
    ],
)
def test_covers(
    reserved: list[dp_event.DpEvent], spent: list[dp_event.DpEvent], covered: bool
) -> None:
    assert merge(reserved).covers(merge(spent)) is covered


@given(st.lists(st.tuples(st.floats(1e-300, 1e300), st.integers(1, 10**6)), min_size=1, max_size=5))
def test_extreme_noise_merges_to_a_finite_number(parts: list[tuple[float, int]]) -> None:
    merged = merge([gaussian(noise_multiplier=z, count=c) for z, c in parts])
    (part,) = merged.parts
    assert math.isfinite(part.noise_multiplier)
    assert part.noise_multiplier <= min(z for z, _ in parts)

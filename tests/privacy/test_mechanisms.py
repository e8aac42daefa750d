import math
from dataclasses import replace

import pytest

from privacy.accounting.events import compose, gaussian, laplace, non_private, poisson_gaussian
from privacy.accounting.mechanisms import (
    Mechanism,
    Sampler,
    check_mechanisms,
    describe,
    mechanism_from_json,
)
from privacy.errors import EventError

TRAIN = poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.2, steps=7)
COUNT = gaussian(noise_multiplier=5.0)
STEP = Mechanism(
    sampler=Sampler.POISSON_UNITS, expected_batch=20.0, clip_norm=0.5, noise_multiplier=1.2
)


def test_an_event_is_described() -> None:
    assert describe(TRAIN, clip_norm=0.5, published_units=200.0) == (STEP,)
    both = describe(compose([TRAIN, COUNT, TRAIN]), clip_norm=0.5, published_units=200.0)
    assert STEP in both
    assert len(both) == 2
    check_mechanisms(both, compose([TRAIN, COUNT]))
    with pytest.raises(EventError, match="published number"):
        describe(TRAIN, clip_norm=1.0)


def test_round_trip() -> None:
    for one in (STEP, *describe(COUNT, clip_norm=1.0)):
        assert mechanism_from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "told",
    [
        (),
        (replace(STEP, noise_multiplier=1.3),),
        (replace(STEP, sampler=Sampler.ALL_UNITS, expected_batch=None),),
        (STEP, *describe(COUNT, clip_norm=1.0)),
    ],
)
def test_what_is_not_the_events_own_is_refused(told: tuple[Mechanism, ...]) -> None:
    check_mechanisms([STEP], TRAIN)
    with pytest.raises(EventError, match="not those of the event"):
        check_mechanisms(told, TRAIN)


def test_no_noise_no_mechanism() -> None:
    assert describe(non_private(), clip_norm=1.0) == ()
    assert describe(laplace(noise_multiplier=2.0), clip_norm=1.0)[0].noise_multiplier == 2.0


@pytest.mark.parametrize("figure", [0, -1, math.nan, math.inf, True, "1", None])
@pytest.mark.parametrize("name", ["clip_norm", "noise_multiplier", "expected_batch"])
def test_figures_are_finite_and_positive(name: str, figure: object) -> None:
    with pytest.raises(EventError):
        replace(STEP, **{name: figure})  # type: ignore[arg-type]


def test_malformed_descriptions() -> None:
    good = STEP.to_json()
    for bad in (
        None,
        [],
        {},
        {**good, "extra": 1},
        *({k: v for k, v in good.items() if k != name} for name in good),
        {**good, "sampler": "weighted"},
        {**good, "sampler": [1]},
        {**good, "sampler": "all_units"},
    ):
        with pytest.raises(EventError):
            mechanism_from_json(bad)  # type: ignore[arg-type]

import json
import math
import subprocess
import sys

import pytest
from dp_accounting import dp_event
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import (
    check_event,
    compose,
    event_from_json,
    event_to_json,
    gaussian,
    laplace,
    non_private,
    poisson_gaussian,
)
from privacy.errors import EventError

noises = st.floats(1e-3, 1e3)
rates = st.floats(1e-6, 1.0)
leaves = st.one_of(
    st.builds(
        lambda q, z, t: poisson_gaussian(sampling_rate=q, noise_multiplier=z, steps=t),
        rates,
        noises,
        st.integers(1, 10**6),
    ),
    st.builds(lambda z, c: gaussian(noise_multiplier=z, count=c), noises, st.integers(1, 99)),
    st.builds(lambda z: laplace(noise_multiplier=z), noises),
    st.just(non_private()),
)
events = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3).map(compose), max_leaves=6)

GOOD = event_to_json(poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=20))


@given(events)
def test_json_round_trip(event: dp_event.DpEvent) -> None:
    value = event_to_json(event)
    assert event_from_json(json.loads(json.dumps(value))) == event


@given(events)
def test_the_form_is_dp_accountings_own(event: dp_event.DpEvent) -> None:
    def as_json(named: object) -> object:
        if hasattr(named, "_asdict"):
            return {name: as_json(value) for name, value in named._asdict().items()}
        return [as_json(item) for item in named] if isinstance(named, list) else named

    assert event_to_json(event) == as_json(event.to_named_tuple())


AUDITOR = """
import collections, json, sys
import dp_accounting
from dp_accounting.pld import PLDAccountant

def rebuild(value):
    if isinstance(value, dict):
        fields = {name: rebuild(item) for name, item in value.items()}
        return collections.namedtuple("Event", fields)(**fields)
    return [rebuild(item) for item in value] if isinstance(value, list) else value

told = json.load(sys.stdin)
accountant = PLDAccountant(value_discretization_interval=told["interval"])
for event in told["events"]:
    accountant.compose(dp_accounting.DpEvent.from_named_tuple(rebuild(event)))
print(accountant.get_epsilon(told["delta"]))
"""


def test_an_auditor_recomputes_with_dp_accounting_alone() -> None:
    from privacy.accounting.accountant import epsilon, interval_for

    spent = [
        poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.1, steps=20),
        compose([gaussian(noise_multiplier=30.0), laplace(noise_multiplier=20.0)]),
        poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.1, steps=40),
    ]
    told = {
        "events": [event_to_json(event) for event in spent],
        "delta": 1e-5,
        "interval": interval_for(spent),
    }
    done = subprocess.run(
        [sys.executable, "-c", AUDITOR],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert float(done.stdout) == pytest.approx(epsilon(spent, delta=1e-5), rel=1e-6)


@pytest.mark.parametrize("noise", [0, -1.0, math.nan, math.inf, True, "1", None, 10**400])
def test_noise_out_of_range(noise: object) -> None:
    with pytest.raises(EventError):
        gaussian(noise_multiplier=noise)  # type: ignore[arg-type]
    with pytest.raises(EventError):
        laplace(noise_multiplier=noise)  # type: ignore[arg-type]
    with pytest.raises(EventError):
        poisson_gaussian(sampling_rate=0.1, noise_multiplier=noise, steps=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.0001, math.nan, math.inf, True, "0.1"])
def test_rate_out_of_range(rate: object) -> None:
    with pytest.raises(EventError):
        poisson_gaussian(sampling_rate=rate, noise_multiplier=1.0, steps=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [0, -1, 1.0, True, "3", 10**6 + 1])
def test_steps_out_of_range(steps: object) -> None:
    with pytest.raises(EventError):
        poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=steps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "event",
    [
        dp_event.UnsupportedDpEvent(),
        dp_event.ZCDpEvent(rho=0.1),
        dp_event.DiscreteLaplaceDpEvent(1.0, 1),
        dp_event.PoissonSampledDpEvent(0.1, dp_event.NonPrivateDpEvent()),
        dp_event.PoissonSampledDpEvent(
            0.1, dp_event.PoissonSampledDpEvent(0.1, dp_event.GaussianDpEvent(1.0))
        ),
        dp_event.ComposedDpEvent([dp_event.GaussianDpEvent(0.0)]),
        dp_event.ComposedDpEvent([]),
        dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(1.0), 0),
        dp_event.GaussianDpEvent(math.nan),
        "GaussianDpEvent",
        None,
    ],
)
def test_what_cannot_be_accounted_for_is_refused(event: object) -> None:
    with pytest.raises(EventError):
        check_event(event)
    with pytest.raises(EventError):
        compose([gaussian(noise_multiplier=1.0), event])


def test_a_look_alike_class_is_refused() -> None:
    class GaussianDpEvent(dp_event.DpEvent):
        noise_multiplier = 1e9

    with pytest.raises(EventError, match="GaussianDpEvent is not an event"):
        check_event(GaussianDpEvent())


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "GaussianDpEvent",
        {},
        {**GOOD, "class_name": "UnsupportedDpEvent"},
        {**GOOD, "class_name": ["SelfComposedDpEvent"]},
        {**GOOD, "module_name": "os"},
        {**GOOD, "extra": 1},
        {name: item for name, item in GOOD.items() if name != "count"},
        {**GOOD, "count": 0},
        {**GOOD, "count": True},
        {**GOOD, "count": "20"},
        {**GOOD, "event": None},
        {**GOOD, "event": {**event_to_json(gaussian(noise_multiplier=1.0)), "noise_multiplier": 0}},
        {**event_to_json(compose([non_private(), non_private()])), "events": {}},
        {**event_to_json(compose([non_private(), non_private()])), "events": []},
    ],
)
def test_malformed_json_is_refused(value: object) -> None:
    with pytest.raises(EventError):
        event_from_json(value)  # type: ignore[arg-type]


def test_sampling_what_must_not_be_sampled_is_refused() -> None:
    sampled = dict(event_to_json(poisson_gaussian(sampling_rate=0.1, noise_multiplier=1, steps=1)))
    inner = dict(sampled["event"])  # type: ignore[call-overload]
    with pytest.raises(EventError, match="Poisson-sampled"):
        event_from_json({**inner, "event": event_to_json(non_private())})


def test_a_tree_without_end_is_refused() -> None:
    event = gaussian(noise_multiplier=1.0)
    value = event_to_json(event)
    for _ in range(20):
        event = dp_event.SelfComposedDpEvent(event, 2)
        value = {**GOOD, "event": value}
    with pytest.raises(EventError, match="deep"):
        check_event(event)
    with pytest.raises(EventError, match="deep"):
        event_from_json(value)


def test_composition_is_flat_where_it_can_be() -> None:
    one = gaussian(noise_multiplier=1.0)
    assert compose([]) == dp_event.NoOpDpEvent()
    assert compose([one]) == one
    assert compose(iter([one, one])) == dp_event.ComposedDpEvent([one, one])

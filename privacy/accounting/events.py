"""Privacy events: what was released, in dp-accounting's vocabulary.

An event describes a mechanism well enough for anybody to recompute its epsilon. The JSON form is
dp-accounting's own named-tuple form (`DpEvent.to_named_tuple`): an object with ``module_name``,
``class_name`` and the event's fields, so that an auditor rebuilds it with that library alone.

Guarantees:
- only events whose accounting we stand for exist here: Gaussian, Laplace, Poisson-sampled Gaussian
  or Laplace, composed, self-composed, no-op, and non-private. Everything else is refused, in both
  directions: unknown class, unknown or missing field, NaN, zero or negative noise, a sampling rate
  outside (0, 1], a bool where a number belongs, a tree that is absurdly deep or wide;
- `event_from_json` imports nothing by name (dp-accounting's `from_named_tuple` would).

Noise multipliers are standard deviation (Gaussian) or scale (Laplace) over the L2 or L1
sensitivity of **one unit of privacy**; the neighbouring relation is add or remove one unit.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent as DpEvent  # noqa: PLC0414 - the vocabulary, re-exported

from privacy.accounting.event_values import check_count, check_noise, check_rate
from privacy.errors import EventError
from privacy.signing import JsonValue

MODULE = "dp_accounting.dp_event"
_MAX_DEPTH = 16
_MAX_CHILDREN = 100_000


def poisson_gaussian(*, sampling_rate: float, noise_multiplier: float, steps: int) -> DpEvent:
    """DP-SGD: `steps` Gaussian releases, each over a fresh Poisson sample of the units.

    Args:
        sampling_rate: probability with which each unit joins a step, in (0, 1].
        noise_multiplier: noise standard deviation / clipping norm of one unit, > 0.
        steps: number of steps actually taken, >= 1.

    Returns:
        The event tree.

    Raises:
        EventError: a value is out of range.
    """
    sampled = dp_event.PoissonSampledDpEvent(
        check_rate(sampling_rate), dp_event.GaussianDpEvent(check_noise(noise_multiplier))
    )
    return dp_event.SelfComposedDpEvent(sampled, check_count(steps))


def gaussian(*, noise_multiplier: float, count: int = 1) -> DpEvent:
    """`count` Gaussian releases over all units.

    Args:
        noise_multiplier: noise standard deviation / L2 sensitivity of one unit, > 0.
        count: number of releases, >= 1.

    Returns:
        The event.

    Raises:
        EventError: a value is out of range.
    """
    event = dp_event.GaussianDpEvent(check_noise(noise_multiplier))
    return event if check_count(count) == 1 else dp_event.SelfComposedDpEvent(event, count)


def laplace(*, noise_multiplier: float) -> DpEvent:
    """One Laplace release over all units.

    Args:
        noise_multiplier: noise scale / L1 sensitivity of one unit, > 0.

    Returns:
        The event.

    Raises:
        EventError: the value is out of range.
    """
    return dp_event.LaplaceDpEvent(check_noise(noise_multiplier))


def non_private() -> DpEvent:
    """A release without noise: epsilon of the units concerned is infinite."""
    return dp_event.NonPrivateDpEvent()


def compose(events: Iterable[DpEvent]) -> DpEvent:
    """Several events on the same units, adaptively one after the other.

    Args:
        events: valid events, in order.

    Returns:
        One composed event (the no-op event if there are none).

    Raises:
        EventError: an event is not one of ours.
    """
    parts = list(events)
    for part in parts:
        check_event(part)
    if not parts:
        return dp_event.NoOpDpEvent()
    return parts[0] if len(parts) == 1 else dp_event.ComposedDpEvent(parts)


def check_event(event: DpEvent) -> None:
    """Refuse an event that we cannot account for.

    Raises:
        EventError: unknown class, or a value is out of range.
    """
    event_to_json(event)


def event_to_json(event: DpEvent) -> dict[str, JsonValue]:
    """Render an event in dp-accounting's named-tuple form.

    Args:
        event: event tree.

    Returns:
        A JSON object with ``module_name``, ``class_name`` and the fields.

    Raises:
        EventError: unknown class, or a value is out of range.
    """
    return _to_json(event, 0)


def event_from_json(value: JsonValue) -> DpEvent:
    """Rebuild an event from its JSON form.

    Args:
        value: what `event_to_json` returned, possibly after a round trip through JSON.

    Returns:
        The event tree.

    Raises:
        EventError: unknown class or module, missing or extra field, value out of range.
    """
    return _from_json(value, 0)


_NUMBERS: Mapping[str, Callable[[object], float]] = MappingProxyType(
    {"noise_multiplier": check_noise, "sampling_probability": check_rate, "count": check_count}
)
_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "GaussianDpEvent": ("noise_multiplier",),
        "LaplaceDpEvent": ("noise_multiplier",),
        "PoissonSampledDpEvent": ("sampling_probability", "event"),
        "SelfComposedDpEvent": ("event", "count"),
        "ComposedDpEvent": ("events",),
        "NoOpDpEvent": (),
        "NonPrivateDpEvent": (),
    }
)
_SAMPLED = ("GaussianDpEvent", "LaplaceDpEvent")


def _to_json(event: Any, depth: int) -> dict[str, JsonValue]:
    name = type(event).__name__
    if name not in _CLASSES or type(event) is not getattr(dp_event, name):
        raise EventError(
            f"{name} is not an event that can be accounted for; known are {', '.join(_CLASSES)}"
        )
    _check_depth(depth)
    fields: dict[str, JsonValue] = {"module_name": MODULE, "class_name": name}
    for field in _CLASSES[name]:
        value = getattr(event, field)
        if field == "event":
            fields[field] = _to_json(value, depth + 1)
        elif field == "events":
            fields[field] = [_to_json(child, depth + 1) for child in _children(value)]
        else:
            fields[field] = _NUMBERS[field](value)
    _check_sampled(name, fields)
    return fields


def _from_json(value: JsonValue, depth: int) -> DpEvent:
    if not isinstance(value, Mapping):
        raise EventError(f"an event is a JSON object, got {type(value).__name__}")
    name = value.get("class_name")
    if not isinstance(name, str) or name not in _CLASSES or value.get("module_name") != MODULE:
        raise EventError(f"unknown event class {str(name)[:60]!r}; known are {', '.join(_CLASSES)}")
    if set(value) != {"module_name", "class_name", *_CLASSES[name]}:
        raise EventError(
            f"{name} has exactly the fields {_CLASSES[name]}, got {sorted(value)}"[:300]
        )
    _check_depth(depth)
    _check_sampled(name, value)
    fields: dict[str, object] = {}
    for field in _CLASSES[name]:
        if field == "event":
            fields[field] = _from_json(value[field], depth + 1)
        elif field == "events":
            fields[field] = [_from_json(child, depth + 1) for child in _children(value[field])]
        else:
            fields[field] = _NUMBERS[field](value[field])
    return getattr(dp_event, name)(**fields)


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise EventError(f"an event tree may be {_MAX_DEPTH} deep at most; flatten it")


def _children(value: object) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_CHILDREN:
        raise EventError(f"a composition is a list of 1 to {_MAX_CHILDREN} events")
    return value


def _check_sampled(name: str, fields: Mapping[str, JsonValue]) -> None:
    if name != "PoissonSampledDpEvent":
        return
    inner = fields["event"]
    if not isinstance(inner, Mapping) or inner.get("class_name") not in _SAMPLED:
        raise EventError(f"only {' and '.join(_SAMPLED)} may be Poisson-sampled")

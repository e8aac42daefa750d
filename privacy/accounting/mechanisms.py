"""How a release was made: sampler, expected batch, clipping norm, noise multiplier.

Epsilon needs only the event tree. What the tree *means* (whose noise over which sensitivity, chosen
by which sampler) is recorded beside it, so that an auditor can compare it with the code that ran.

Guarantees: a description that contradicts its event is refused. The noise multipliers and samplers
described are exactly those in the tree, no more and no fewer; a sampled mechanism names the number
of units that a step expects, an unsampled one none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from dp_accounting.dp_event import DpEvent

from privacy.accounting.events import check_event
from privacy.accounting.merging import leaves
from privacy.errors import EventError
from privacy.signing import JsonValue

_FIELDS = frozenset({"sampler", "expected_batch", "clip_norm", "noise_multiplier"})


class Sampler(StrEnum):
    """Which units a step looks at."""

    POISSON_UNITS = "poisson_units"
    """Each unit joins independently with the event's probability (`privacy.training.sampling`)."""
    ALL_UNITS = "all_units"
    """Every unit, once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mechanism:
    """One noised release, or one step of many alike.

    Attributes:
        sampler: which units take part.
        expected_batch: units that a Poisson sample expects, from the *published* count; None where
            all take part.
        clip_norm: L2 norm (Laplace: L1) that bounds what one unit adds, > 0.
        noise_multiplier: noise over `clip_norm`, > 0.

    Raises:
        EventError: a figure is not finite and > 0, or the batch does not go with the sampler.
    """

    sampler: Sampler
    expected_batch: float | None
    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        for name in ("clip_norm", "noise_multiplier"):
            object.__setattr__(self, name, _positive(getattr(self, name), name))
        if (self.expected_batch is None) != (self.sampler is Sampler.ALL_UNITS):
            raise EventError("a sampled mechanism expects a number of units; an unsampled one none")
        if self.expected_batch is not None:
            batch = _positive(self.expected_batch, "expected_batch")
            object.__setattr__(self, "expected_batch", batch)

    def to_json(self) -> dict[str, JsonValue]:
        """The mechanism as a JSON object."""
        return {
            "sampler": self.sampler.value,
            "expected_batch": self.expected_batch,
            "clip_norm": self.clip_norm,
            "noise_multiplier": self.noise_multiplier,
        }


def mechanism_from_json(value: JsonValue) -> Mechanism:
    """Rebuild a mechanism.

    Raises:
        EventError: a field is missing, extra, unknown or out of range.
    """
    if not isinstance(value, Mapping) or set(value) != _FIELDS:
        raise EventError(f"a mechanism has exactly the fields {sorted(_FIELDS)}")
    fields = cast("dict[str, float]", dict(value))
    try:
        sampler = Sampler(cast("str", fields.pop("sampler")))
    except (ValueError, TypeError) as error:
        raise EventError(f"unknown sampler {value['sampler']!r}"[:120]) from error
    return Mechanism(sampler=sampler, **fields)


def check_mechanisms(mechanisms: Sequence[Mechanism], event: DpEvent) -> None:
    """Refuse descriptions that are not of this event.

    Raises:
        EventError: the event is not valid, or samplers and multipliers are not exactly its own.
    """
    check_event(event)
    told = {(m.sampler, m.noise_multiplier) for m in mechanisms}
    meant = {
        (Sampler.POISSON_UNITS if leaf.sampled else Sampler.ALL_UNITS, leaf.noise_multiplier)
        for leaf, _ in leaves(event)
        if leaf is not None
    }
    if told != meant:
        raise EventError(
            f"the mechanisms described ({_listed(told)}) are not those of the event "
            f"({_listed(meant)}); describe each noise multiplier and its sampler once"
        )


def describe(
    event: DpEvent, *, clip_norm: float, published_units: float | None = None
) -> tuple[Mechanism, ...]:
    """Describe an event all of whose releases bound a unit alike.

    Args:
        event: the event.
        clip_norm: L2 norm (Laplace: L1) that bounds one unit in each of them.
        published_units: the published, noised number of units; needed where units are sampled.

    Returns:
        One mechanism for each sampler and noise multiplier in the event.

    Raises:
        EventError: the event is not valid, or a sampled one comes without a number of units.
    """
    check_event(event)
    found = {leaf for leaf, _ in leaves(event) if leaf is not None}
    if published_units is None and any(leaf.sampled for leaf in found):
        raise EventError("a sampled event is described with the published number of units")
    return tuple(
        Mechanism(
            sampler=Sampler.POISSON_UNITS if leaf.sampled else Sampler.ALL_UNITS,
            expected_batch=leaf.sampling_rate * (published_units or 0) if leaf.sampled else None,
            clip_norm=clip_norm,
            noise_multiplier=leaf.noise_multiplier,
        )
        for leaf in sorted(found)
    )


def _listed(pairs: set[tuple[Sampler, float]]) -> str:
    return ", ".join(f"{sampler} at {noise:g}" for sampler, noise in sorted(pairs)) or "none"


def _positive(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventError(f"{what} must be a number, got {type(value).__name__}")
    if not 0 < value < math.inf:
        raise EventError(f"{what} must be finite and > 0, got {value!r}"[:120])
    return float(value)

"""Event trees, merged: equal mechanisms are counted once, so that 300 rounds cost what one does.

Composition does not depend on order, so a list of event trees is fully described by how often each
mechanism ran. Full-batch Gaussians merge further: Gaussians with noise multipliers z_1, ..., z_k on
the same units are exactly one Gaussian with multiplier (sum z_i**-2)**-0.5 (Dong, Roth and Su 2022,
"Gaussian Differential Privacy", corollary 3.3).

Guarantees: nothing is dropped except no-ops; an unknown event makes the whole non-private; rounding
of the merged multiplier goes toward less noise.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from privacy.accounting.events import check_event
from privacy.errors import EventError

Mechanism = Literal["gaussian", "laplace"]
_SLACK = 1e-9
_PRECISION_SLACK = 1 - 1e-12


@dataclass(frozen=True, order=True, slots=True)
class Leaf:
    """One mechanism of an event tree, without its count.

    Attributes:
        mechanism: kind of noise.
        sampling_rate: Poisson sampling rate in (0, 1]; 1 means every unit every time.
        noise_multiplier: noise over the sensitivity of one unit, > 0.
        sampled: whether the tree says Poisson-sampled, be it at rate 1; no matter for the cost.
    """

    mechanism: Mechanism
    sampling_rate: float
    noise_multiplier: float
    sampled: bool

    @property
    def full_batch(self) -> bool:
        """Whether it is a Gaussian over every unit, which is charged by itself."""
        return _is_full_batch(self.mechanism, self.sampling_rate)


@dataclass(frozen=True, order=True)
class Part:
    """One mechanism and how often it ran.

    Attributes:
        mechanism: kind of noise.
        sampling_rate: Poisson sampling rate in (0, 1]; 1 means every unit every time.
        noise_multiplier: noise over the sensitivity of one unit, > 0.
        count: number of runs, >= 1.
    """

    mechanism: Mechanism
    sampling_rate: float
    noise_multiplier: float
    count: int


@dataclass(frozen=True)
class Merged:
    """All that an accountant needs to know about a list of events.

    Attributes:
        parts: the distinct mechanisms, sorted; hashable, hence a cache key.
        private: False if a non-private or unknown event is among them.
    """

    parts: tuple[Part, ...]
    private: bool

    def covers(self, other: "Merged") -> bool:
        """Whether `other` certainly costs no more than this, at every delta.

        True only if each mechanism of `other` is one of ours, run at most as often (full-batch
        Gaussians: at most the same total precision). Sufficient, not necessary.
        """
        if not self.private:
            return True
        if not other.private:
            return False
        ours = {_key(part): part for part in self.parts}
        return all(
            (mine := ours.get(_key(part))) is not None and _costs_no_more(part, mine)
            for part in other.parts
        )


def merge(events: Iterable[DpEvent]) -> Merged:
    """Merge event trees.

    Args:
        events: event trees on the same units; unknown ones count as non-private.

    Returns:
        Their merged form.
    """
    counts, private = _counted(events)
    return Merged(parts=_parts(counts), private=private)


def full_batch(events: Iterable[DpEvent]) -> tuple[Counter[float], Merged, bool]:
    """Full-batch Gaussians apart from everything else.

    Args:
        events: event trees on the same units; unknown ones count as non-private.

    Returns:
        Noise multiplier of full-batch Gaussians -> how often; the rest, merged; whether nothing
        non-private or unknown is among them.
    """
    counts, private = _counted(events)
    gaussians: Counter[float] = Counter()
    for key in [key for key in counts if _is_full_batch(*key[:2])]:
        gaussians[key[2]] += counts.pop(key)
    return gaussians, Merged(parts=_parts(counts), private=private), private


def sampled_only(event: DpEvent) -> Counter[tuple[Mechanism, float, float]]:
    """(kind, sampling rate, noise) -> runs, of all in a valid tree but full-batch Gaussians."""
    found: Counter[tuple[Mechanism, float, float]] = Counter()
    for leaf, count in leaves(event):
        if leaf is not None and not leaf.full_batch:
            found[leaf.mechanism, leaf.sampling_rate, leaf.noise_multiplier] += count
    return found


def leaves(event: DpEvent) -> Iterator[tuple[Leaf | None, int]]:
    """The mechanisms of a valid event tree and how often each ran; None is a non-private one."""
    return _leaves(event, 1)


def _counted(
    events: Iterable[DpEvent],
) -> tuple[Counter[tuple[Mechanism, float, float]], bool]:
    counts: Counter[tuple[Mechanism, float, float]] = Counter()
    private = True
    for event in events:
        try:
            check_event(event)
        except EventError:
            private = False
            continue
        for leaf, count in leaves(event):
            if leaf is None:
                private = False
            else:
                counts[leaf.mechanism, leaf.sampling_rate, leaf.noise_multiplier] += count
    return counts, private


def _leaves(event: Any, count: int) -> Iterator[tuple[Leaf | None, int]]:
    if isinstance(event, dp_event.SelfComposedDpEvent):
        yield from _leaves(event.event, count * event.count)
    elif isinstance(event, dp_event.ComposedDpEvent):
        for child in event.events:
            yield from _leaves(child, count)
    elif isinstance(event, dp_event.NonPrivateDpEvent):
        yield None, count
    elif not isinstance(event, dp_event.NoOpDpEvent):
        rate, sampled = 1.0, isinstance(event, dp_event.PoissonSampledDpEvent)
        if sampled:
            rate, event = float(event.sampling_probability), event.event
        kind: Mechanism = "gaussian" if isinstance(event, dp_event.GaussianDpEvent) else "laplace"
        yield Leaf(kind, rate, float(event.noise_multiplier), sampled), count


def _parts(counts: Counter[tuple[Mechanism, float, float]]) -> tuple[Part, ...]:
    parts, everyone = [], []
    for (kind, rate, noise), count in sorted(counts.items()):
        if _is_full_batch(kind, rate):
            everyone.append((noise, count))
        else:
            parts.append(Part(kind, rate, noise, count))
    if len(everyone) == 1 and everyone[0][1] == 1:
        parts.append(Part("gaussian", 1.0, everyone[0][0], 1))
    elif everyone:
        smallest = min(noise for noise, _ in everyone)
        relative = math.fsum(count * (smallest / noise) ** 2 for noise, count in everyone)
        merged = smallest / math.sqrt(relative) * _PRECISION_SLACK
        parts.append(Part("gaussian", 1.0, merged, 1))
    return tuple(sorted(parts))


def _key(part: Part) -> tuple[str, float, float]:
    return part.mechanism, part.sampling_rate, 0.0 if _full_batch(part) else part.noise_multiplier


def _full_batch(part: Part) -> bool:
    return _is_full_batch(part.mechanism, part.sampling_rate)


def _is_full_batch(mechanism: Mechanism, sampling_rate: float) -> bool:
    return mechanism == "gaussian" and sampling_rate == 1.0


def _costs_no_more(part: Part, than: Part) -> bool:
    if _full_batch(part):
        return part.noise_multiplier >= than.noise_multiplier * (1 - _SLACK)
    return part.count <= than.count

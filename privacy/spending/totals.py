"""Sums of what was spent, small enough to keep for ever and fine enough to answer every question.

A ledger may hold a million spends, but few *different* ones. Composition does not depend on order,
so for each line (day, researcher, study, dataset version, era) it is enough to know how often each
mechanism ran. Memory grows with the number of lines, not with the number of spends.

The dataset version is part of a line for display only. Epsilon composes **all** versions: the same
patients may be in the next version, and a patient taken out was in the last, so a new version never
gives a budget back. An era ends when the owner resets the budget.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from dp_accounting import dp_event
from dp_accounting.dp_event import DpEvent

from privacy.accounting import MAX_COUNT, Leaf, leaves

Leaves = Mapping[Leaf | None, int]


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Line:
    """What several spends have in common.

    Attributes:
        day: days since 0001-01-01 (UTC) on which they were settled.
        researcher: who asked for them.
        study: under which study.
        dataset_version: from which data.
        era: number of budget resets before them.
        block: the fixed sequence that their sampled steps are of (`Reservation.block_id`); empty
            where there are only full-batch Gaussians.
    """

    day: int
    researcher: str
    study: str
    dataset_version: str
    era: int
    block: str = ""


def day_of(time: str) -> int:
    """The day of a UTC time in ISO 8601, as a number."""
    return date.fromisoformat(time[:10]).toordinal()


class Tally:
    """Counts of mechanisms by line."""

    def __init__(self) -> None:
        self._lines: dict[Line, Leaves] = {}

    def add(self, line: Line, event: DpEvent) -> None:
        """Count one more event on a line."""
        # A new mapping each time: those handed out must stay as they were.
        counts = Counter(self._lines.get(line, {}))
        for leaf, count in leaves(event):
            counts[leaf] += count
        self._lines[line] = counts

    def snapshot(self) -> Mapping[Line, Leaves]:
        """The lines so far; does not change when more is added."""
        return dict(self._lines)


def events_of(lines: Mapping[Line, Leaves], where: Callable[[Line], bool]) -> tuple[DpEvent, ...]:
    """The events on some lines, equal mechanisms together.

    Args:
        lines: what `Tally.snapshot` gave.
        where: which lines to take.

    Returns:
        Events that compose to exactly what was counted, in a fixed order.
    """
    total: Counter[Leaf | None] = Counter()
    for line, counts in lines.items():
        if where(line):
            total.update(counts)
    private = sorted((leaf, count) for leaf, count in total.items() if leaf is not None)
    events = [event for leaf, count in private for event in _repeated(leaf, count)]
    return (*events, dp_event.NonPrivateDpEvent()) if total[None] else tuple(events)


def _repeated(leaf: Leaf, count: int) -> list[DpEvent]:
    """`count` runs, in pieces that an event tree may hold."""
    event: DpEvent = (
        dp_event.GaussianDpEvent(leaf.noise_multiplier)
        if leaf.mechanism == "gaussian"
        else dp_event.LaplaceDpEvent(leaf.noise_multiplier)
    )
    if leaf.sampled:
        event = dp_event.PoissonSampledDpEvent(leaf.sampling_rate, event)
    pieces = [MAX_COUNT] * (count // MAX_COUNT) + [count % MAX_COUNT]
    return [
        event if piece == 1 else dp_event.SelfComposedDpEvent(event, piece)
        for piece in pieces
        if piece
    ]

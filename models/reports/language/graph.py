"""A section of the report language as a graph: what may come next from each place. Pure.

Place 0 is right after the section's opening; place i + 1 is after the section's step i. A way from
a place is a text with what separates it from the text before: nothing at the start of a line, a
line break before and after lines of the list, a space otherwise. Every way leads forward, so every
section is finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from models.reports.language.language import Section


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a section.

    Attributes:
        ways: text that may come next, to the place behind it.
        may_end: whether the section may end here.
    """

    ways: Mapping[str, int]
    may_end: bool


def places(section: Section, written: Callable[[str], str] = str) -> tuple[Place, ...]:
    """The graph of a section.

    Args:
        section: its steps.
        written: what becomes of each sentence; `str` leaves the references as they are.
    """
    return tuple(_place(section, at, written) for at in range(len(section.steps) + 1))


def longest(graph: tuple[Place, ...]) -> int:
    """Greatest number of characters that a way through the graph has."""
    best = [0] * len(graph)
    for at in range(len(graph) - 1, -1, -1):
        ways = graph[at].ways.items()
        best[at] = max((len(text) + best[place] for text, place in ways), default=0)
    return best[0]


def _place(section: Section, at: int, written: Callable[[str], str]) -> Place:
    steps = section.steps
    ways: dict[str, int] = {}
    reached_end = True
    for index in range(at, len(steps)):
        step = steps[index]
        before = _separator(section, at, listed=step.listed)
        for text in step.texts:
            ways.setdefault(before + written(text), index + 1)
        if step.required:
            reached_end = False
            break
    if at == 0 and section.inline:
        last = max(i for i, step in enumerate(steps) if step.listed)
        for text in section.inline:
            ways.setdefault(_separator(section, 0, listed=True) + written(text), last + 1)
    return Place(MappingProxyType(ways), reached_end)


def _separator(section: Section, at: int, *, listed: bool) -> str:
    if at == 0:
        return "" if section.opening.endswith("\n") else " "
    return "\n" if listed or section.steps[at - 1].listed else " "

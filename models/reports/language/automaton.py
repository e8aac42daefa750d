"""Which character may come next in a section's prose, whatever model writes it. Pure.

The automaton follows the report language (`models.reports.language.language`) character by
character, so it does not care how a tokenizer cuts words. It admits the sentences that the facts
allow next, with references in place of values, and an empty line where the section may end. No
digit and no class name is in those sentences, so none can be written outside a reference; and every
section is finite, whatever the model's probabilities are. What comes out is checked all the same:
by `models.reports.verify.verify`, on the finished text, from the facts alone.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

from models.reports.language.graph import longest, places
from models.reports.language.language import Section

DONE: Final = -1
"""The place after the section."""
_END: Final = "\n\n"


class State(NamedTuple):
    """Where the next character stands: after `place`, behind the characters of `partial`."""

    place: int
    partial: str = ""


class Automaton:
    """The prose that one section may hold.

    Attributes:
        key: equal for automata that admit the same prose.
        longest: greatest number of characters of that prose.
    """

    def __init__(self, section: Section) -> None:
        graph = places(section)
        self.key = section
        self.longest = longest(graph) + len(_END)
        self._may_end = tuple(place.may_end for place in graph)
        self._ways = tuple(
            dict(place.ways) | ({_END: DONE} if place.may_end else {}) for place in graph
        )
        self._sorted = tuple(sorted(ways) for ways in self._ways)

    def start(self) -> State:
        """After the section's opening."""
        return State(0)

    def accepts(self, state: State) -> bool:
        """Whether the section may end here."""
        return state.place == DONE or (not state.partial and self._may_end[state.place])

    def advance(self, state: State, char: str) -> State | None:
        """The state after one more character; None where it may not come."""
        if state.place == DONE:
            return None
        longer = state.partial + char
        ways = self._ways[state.place]
        if longer in ways:
            return State(ways[longer])
        ordered = self._sorted[state.place]
        place = bisect_left(ordered, longer)
        if place < len(ordered) and ordered[place].startswith(longer):
            return State(state.place, longer)
        return None

"""Which tokens of a tokenizer may come next: the automaton's answer, carried over to tokens. Pure.

A token is admitted when the automaton admits all its characters, one after another. Tokens are kept
sorted by their text, so that all that share a beginning are judged together: a step costs as much
as there are admitted beginnings, not as there are tokens. Answers are remembered by state.

Tokens whose text holds a character that no prose can hold (a non-ASCII letter, half of a UTF-8
sequence) are left out from the start, and so are control tokens. Digits stay, because names of
references hold them; the automaton keeps them out of prose.
"""

from __future__ import annotations

import string
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from models.reports.language import DONE, Automaton, State

_ADMITTED: Final = frozenset(" \n-.,:(){}_" + string.ascii_letters + string.digits)
_REMEMBERED: Final = 64
"""Automata whose answers are kept."""
_Known = dict[tuple[State, tuple[int, int, int]], tuple[int, ...]]


class TokenTable:
    """The tokens of one tokenizer that a report's prose may hold.

    Attributes:
        texts: text of each usable token by id.
    """

    def __init__(self, texts: Mapping[int, str]) -> None:
        """Sort the tokens.

        Args:
            texts: token id to the characters it stands for, control tokens left out.
        """
        usable = sorted((text, token) for token, text in texts.items() if _usable(text))
        self.texts: Mapping[int, str] = {token: text for text, token in usable}
        self._texts = [text for text, _ in usable]
        self._ids = [token for _, token in usable]
        self._known: dict[object, _Known] = {}
        self._current: Automaton | None = None
        self._answers: _Known = {}

    def admitted(self, automaton: Automaton, state: State) -> tuple[int, ...]:
        """Ids of the tokens that may come next; empty where none may."""
        # Looking an automaton up by its key hashes a whole section: once a section, not a token.
        if automaton is not self._current:
            if automaton.key not in self._known and len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._current, self._answers = automaton, self._known.setdefault(automaton.key, {})
        return self._below(automaton, self._answers, state, (0, len(self._texts), 0))

    def _below(
        self, automaton: Automaton, known: _Known, state: State, place: tuple[int, int, int]
    ) -> tuple[int, ...]:
        """Ids of the admitted tokens in a place: from, to, and characters already read."""
        if (state, place) in known:
            return known[state, place]
        low, high, depth = place
        found: list[int] = []
        while low < high and len(self._texts[low]) == depth:
            found.append(self._ids[low])
            low += 1
        while low < high:
            start = self._texts[low][: depth + 1]
            after = start[:-1] + chr(ord(start[-1]) + 1)
            border = bisect_left(self._texts, after, low, high)
            following = automaton.advance(state, start[-1])
            if following is not None:
                found += self._below(automaton, known, following, (low, border, depth + 1))
            low = border
        known[state, place] = tuple(found)
        return known[state, place]


class Tracker:
    """Follows one section's prose token by token.

    Attributes:
        automaton: the rules. table: the tokens. text: the prose so far. state: where it stands.
        finished: whether the prose was ended where it may end.
    """

    def __init__(self, automaton: Automaton, table: TokenTable) -> None:
        self.automaton = automaton
        self.table = table
        self.text = ""
        self.state = automaton.start()
        self.finished = False

    @property
    def may_end(self) -> bool:
        """Whether the prose may end here."""
        return self.automaton.accepts(self.state)

    def next_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that may come next."""
        return self.table.admitted(self.automaton, self.state)

    def end(self) -> None:
        """Note that the model ended the prose here."""
        self.finished = self.may_end

    def take(self, token: int) -> None:
        """Go on by one admitted token.

        Raises:
            ValueError: the token was not admitted.
        """
        text = self.table.texts.get(token, "\0")
        for char in text:
            following = self.automaton.advance(self.state, char)
            if following is None:
                raise ValueError(f"token {token} is not admitted after {self.text[-20:]!r}")
            self.state = following
        self.text += text
        self.finished = self.state.place == DONE


def _usable(text: str) -> bool:
    return bool(text) and _ADMITTED.issuperset(text)

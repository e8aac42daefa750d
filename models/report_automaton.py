"""Which character may come next in a section's prose, whatever model writes it. Pure.

The automaton reads characters, so it does not care how a tokenizer cuts them. It admits

- words of the report vocabulary, capitals at the start of a sentence only;
- `{{name}}` where `name` is a reference of these facts, never across a line;
- single spaces, sentence ends, commas, colons, brackets, list items ("- ..."), single line breaks;
- an empty line, which ends the section.

No digit and no class name is in the vocabulary, so neither can be written outside a reference.
Sentences and sections have a greatest length; past it the automaton only lets them end. That makes
every section finite, whatever the model's probabilities are. It cannot make a section true: that is
for `models.verify`, which shares the vocabulary with this module and nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from models.report_words import VOCABULARY

MAX_SENTENCES: Final = 7
MAX_PIECES: Final = 40


class Mode(Enum):
    """Where in the text the next character stands."""

    LINE = auto()  # at the start of a line
    DASH = auto()  # after a list item's dash
    START = auto()  # at the start of a sentence or list item
    WORD = auto()  # inside a word; `partial` is what stands so far
    REFERENCE = auto()  # inside braces; `partial` is what stands so far
    WHOLE = auto()  # after a complete reference or a closing bracket
    COMMA = auto()  # after , ; or : ; `partial` is which
    GAP = auto()  # after a space inside a sentence
    BRACKET = auto()  # after an opening bracket
    END = auto()  # after a full stop
    DONE = auto()  # after the section


class State(NamedTuple):
    """What the automaton remembers.

    Attributes:
        mode: where the next character stands.
        partial: what `mode` says it is.
        opens: whether the word in `partial` opens a sentence.
        item: whether the line is a list item.
        bracket: whether a bracket is open.
        content: whether the section holds a whole sentence or list item yet.
        long: the sentence must end.
        full: the section must end.
    """

    mode: Mode
    partial: str = ""
    opens: bool = False
    item: bool = False
    bracket: bool = False
    content: bool = False
    long: bool = False
    full: bool = False


class Automaton:
    """The prose that one report's sections may hold."""

    def __init__(
        self, names: Iterable[str], *, items: int, vocabulary: Iterable[str] = VOCABULARY
    ) -> None:
        """Prepare the word lists.

        Args:
            names: names of the references that exist.
            items: how many list items a section may need beyond its sentences.
            vocabulary: words as they stand in the middle of a sentence.
        """
        self.max_sentences = MAX_SENTENCES + items
        self.max_pieces = MAX_PIECES + 4 * items
        words = frozenset(vocabulary)
        self._inside = _Prefixes(words)
        self._opening = _Prefixes(words | {word[:1].upper() + word[1:] for word in words})
        self._references = _Prefixes(f"{{{{{name}}}}}" for name in names)
        self.key = self._references.words
        self._steps: Mapping[Mode, Callable[[State, str], State | None]] = {
            Mode.LINE: self._at_line,
            Mode.DASH: self._after_dash,
            Mode.START: self._at_start,
            Mode.WORD: self._in_word,
            Mode.REFERENCE: self._in_reference,
            Mode.WHOLE: self._after_piece,
            Mode.COMMA: self._after_comma,
            Mode.GAP: self._in_gap,
            Mode.BRACKET: self._after_bracket,
            Mode.END: self._after_stop,
            Mode.DONE: self._after_all,
        }

    def start(self, opening: str) -> State:
        """After a section's opening: on a new line, or behind a sentence."""
        return State(Mode.LINE if opening.endswith("\n") else Mode.END)

    def accepts(self, state: State) -> bool:
        """Whether the section may end here."""
        if state.mode in (Mode.END, Mode.LINE):
            return state.content
        whole = state.mode is Mode.WHOLE or (state.mode is Mode.WORD and self._is_word(state))
        return state.mode is Mode.DONE or (whole and state.item and not state.bracket)

    def advance(self, state: State, char: str) -> State | None:
        """The state after one more character; None where it may not come."""
        return self._steps[state.mode](state, char)

    def _at_line(self, state: State, char: str) -> State | None:
        if char == "\n" and state.content:
            return State(Mode.DONE)
        if state.full:
            return None
        if char == "-":
            return state._replace(mode=Mode.DASH, item=True)
        return self._at_start(state, char)

    def _after_dash(self, state: State, char: str) -> State | None:
        return state._replace(mode=Mode.START) if char == " " else None

    def _at_start(self, state: State, char: str) -> State | None:
        # A sentence starts with a capital; a list item need not.
        if state.item or char == "{" or char.isupper():
            return self._begin(state, char, opens=True)
        return None

    def _in_gap(self, state: State, char: str) -> State | None:
        if char == "(" and not state.bracket:
            return state._replace(mode=Mode.BRACKET, bracket=True)
        return self._begin(state, char, opens=False)

    def _after_bracket(self, state: State, char: str) -> State | None:
        return self._begin(state, char, opens=False)

    def _begin(self, state: State, char: str, *, opens: bool) -> State | None:
        """First character of a word or reference."""
        if char == "{":
            return state._replace(mode=Mode.REFERENCE, partial="{")
        if not (self._opening if opens else self._inside).leads(char):
            return None
        return state._replace(mode=Mode.WORD, partial=char, opens=opens)

    def _is_word(self, state: State) -> bool:
        return (self._opening if state.opens else self._inside).holds(state.partial)

    def _in_word(self, state: State, char: str) -> State | None:
        longer = state.partial + char
        if (self._opening if state.opens else self._inside).leads(longer):
            return state._replace(partial=longer)
        if not self._is_word(state):
            return None
        return self._after_piece(state._replace(partial="", opens=False), char)

    def _in_reference(self, state: State, char: str) -> State | None:
        longer = state.partial + char
        if not self._references.leads(longer):
            return None
        if self._references.holds(longer):
            return state._replace(mode=Mode.WHOLE, partial="")
        return state._replace(partial=longer)

    def _after_piece(self, state: State, char: str) -> State | None:
        """After a complete word, reference or bracket."""
        if char in " ,;:":
            following = Mode.GAP if char == " " else Mode.COMMA
            partial = "" if char == " " else char
            return None if state.long else state._replace(mode=following, partial=partial)
        if state.bracket:
            return state._replace(mode=Mode.WHOLE, bracket=False) if char == ")" else None
        if char == ".":
            return state._replace(mode=Mode.END, content=True, long=False)
        if char == "\n" and state.item:
            return self._new_line(state._replace(content=True, long=False))
        return None

    def _after_comma(self, state: State, char: str) -> State | None:
        if char == "\n" and state.partial == ":" and not state.bracket:
            return self._new_line(state)
        return state._replace(mode=Mode.GAP, partial="") if char == " " else None

    def _after_stop(self, state: State, char: str) -> State | None:
        if char == "\n":
            return self._new_line(state)
        return state._replace(mode=Mode.START) if char == " " and not state.full else None

    def _after_all(self, state: State, char: str) -> State | None:
        return None

    def _new_line(self, state: State) -> State:
        return state._replace(mode=Mode.LINE, partial="", item=False)


class _Prefixes:
    """Words, searchable by how they begin."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(sorted(set(words)))
        self._whole = frozenset(self.words)

    def leads(self, start: str) -> bool:
        """Whether some word begins like this."""
        place = bisect_left(self.words, start)
        return place < len(self.words) and self.words[place].startswith(start)

    def holds(self, word: str) -> bool:
        """Whether this is a whole word."""
        return word in self._whole

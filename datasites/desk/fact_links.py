"""Which words of a report come from which fact. Pure.

Every value of the facts that stands in a text is linked to its reference: longest first, on word
borders, each place once. Where several facts are written the same way (two classes with the same
probability), the class that the sentence names decides; if that leaves more than one, all of them
are named. Digits that no fact accounts for are listed: in a verified text there are none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models import Facts, Reference, references

_DIGITS = re.compile(r"\S*\d\S*")


@dataclass(frozen=True)
class Link:
    """Words of a text and the facts they state.

    Attributes:
        start, end: characters of the text, `end` not included.
        names: references that are written this way here; more than one only where the facts
            themselves do not tell them apart.
    """

    start: int
    end: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Linked:
    """A text with its links.

    Attributes:
        links: in the order of the text, apart from each other.
        unlinked: words with digits that no fact accounts for.
    """

    links: tuple[Link, ...]
    unlinked: tuple[str, ...]


def link(text: str, facts: Facts) -> Linked:
    """Link a text to its facts."""
    written: dict[str, list[Reference]] = {}
    for row in references(facts).values():
        if row.role != "word":
            written.setdefault(row.text, []).append(row)
    links: list[Link] = []
    for value in sorted(written, key=len, reverse=True):
        for match in _pattern(value).finditer(text):
            if not any(one.start < match.end() and match.start() < one.end for one in links):
                names = _fitting(written[value], text, match.start())
                links.append(Link(match.start(), match.end(), names))
    links.sort(key=lambda one: one.start)
    loose = [
        match.group()
        for match in _DIGITS.finditer(text)
        if not any(one.start < match.end() and match.start() < one.end for one in links)
    ]
    return Linked(tuple(links), tuple(loose))


def _pattern(value: str) -> re.Pattern[str]:
    """Where a value stands; a name of a letter or two only after a colon, "at" or "of"."""
    before = r"(?<![\w.])" if value[0].isalnum() else ""
    if len(value) < 3:
        before = r"(?:(?<=: )|(?<= at )|(?<= of ))"
    after = r"(?!\w)" if value[-1].isalnum() else ""
    return re.compile(before + re.escape(value) + after)


def _fitting(rows: Sequence[Reference], text: str, place: int) -> tuple[str, ...]:
    """The references of equal text that fit where they stand."""
    start = max(text.rfind("\n", 0, place), text.rfind(". ", 0, place)) + 1
    ends = [found for found in (text.find("\n", place), text.find(". ", place)) if found >= 0]
    sentence = text[start : min(ends, default=len(text))]
    named = [row for row in rows if not row.subject or row.subject in sentence]
    measured = [row for row in named if row.measure and row.measure in sentence]
    return tuple(row.name for row in (measured or named or rows))

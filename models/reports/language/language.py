"""The language of reports: which sentences a report of given facts may hold, and in which order.

A controlled language, finite for any facts. Its sentences are data (`language.toml`); each
belongs to a slot, and a slot may be said only for facts that bear it out. A section is its slots in
their order, each at most once and the required ones always; the section on classes starts with a
line for each class, or one sentence that holds them all. So a section is a small graph: from each
place, the sentences that may come next.

Who reads a report (`models.reports.language.parse`) accepts what follows these graphs and nothing
else. Who writes one is held to the same graphs (`models.reports.language.automaton`), with
references in place of values. Neither has to trust the other: facts decide, for both, which
sentences there are. Pure.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from models.reports.facts import CaseFacts, Facts, Reference, references
from models.reports.language.layout import section_openings

LANGUAGE_FILE: Final = Path(__file__).with_suffix(".toml")
INLINE_CLASSES: Final = 4
LIST_SECTION: Final = 1
"""Place of the section on classes, in both kinds of report."""

_CHOICE: Final = re.compile(r"\(([^()]*\|[^()]*)\)")
_WHERE_KNOWN: Final = re.compile(r"\[([^\[\]]*)\]")
_REFERENCE: Final = re.compile(r"\{\{([^{}]*)\}\}")


@dataclass(frozen=True, slots=True)
class Step:
    """One place of a section: one of some sentences, or nothing where it is not required.

    Attributes:
        texts: the sentences, with references. The first is the template's.
        required: whether one of them must be said.
        plain: whether the template says it.
        chance: how often the texts that the shipped model learns from say it, 0..1.
        listed: whether it is a line of the list of classes.
    """

    texts: tuple[str, ...]
    required: bool = False
    plain: bool = False
    chance: float = 1.0
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """What one section of a report of given facts may say.

    Attributes:
        opening: its heading, and under Limits the fixed sentence.
        steps: in the order in which they may be said.
        inline: sentences that stand for all lines of the list; may be empty.
    """

    opening: str
    steps: tuple[Step, ...]
    inline: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Slot:
    patterns: tuple[str, ...]
    when: str = "always"
    required: bool = False
    plain: bool = False
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class _Language:
    sections: tuple[tuple[_Slot, ...], ...]
    items: tuple[str, ...]
    leads: tuple[str, ...]
    inline: tuple[str, ...]


def _case(rule: Callable[[CaseFacts], bool]) -> Callable[[Facts], bool]:
    return lambda facts: isinstance(facts, CaseFacts) and rule(facts)


_CONDITIONS: Final[Mapping[str, Callable[[Facts], bool]]] = {
    "always": lambda facts: True,
    "tied": _case(lambda facts: facts.tied),
    "not tied": _case(lambda facts: not facts.tied),
    "board": _case(lambda facts: facts.family != "healthy" and facts.confidence != "low"),
    "doubtful": _case(lambda facts: facts.confidence == "low" or facts.margin_word == "narrow"),
    "uncalibrated": _case(lambda facts: facts.calibration is None),
    "unusual": _case(lambda facts: facts.unusual),
    "typical": _case(lambda facts: facts.outlier is not None and not facts.unusual),
    "clear": _case(lambda facts: facts.quality == ()),
    "outlier unchecked": _case(lambda facts: facts.outlier is None),
    "quality unchecked": _case(lambda facts: facts.quality is None),
    "hospital": lambda facts: facts.kind == "hospital",
    "global": lambda facts: facts.kind == "global",
    "noised": lambda facts: not isinstance(facts, CaseFacts) and facts.noised,
    "exact": lambda facts: not isinstance(facts, CaseFacts) and not facts.noised,
    "no interval": lambda facts: (
        not isinstance(facts, CaseFacts) and "accuracy" not in facts.intervals
    ),
}
_DEGREES: Final = ("high", "moderate", "low")
_FAMILIES: Final = ("glioma", "meningioma", "pituitary", "healthy", "other")


def holds(condition: str, facts: Facts, table: Mapping[str, Reference]) -> bool:
    """Whether a condition holds: a named one, a degree, a family, or that a reference exists.

    Args:
        condition: its word.
        facts: the facts.
        table: their references.
    """
    if condition in _CONDITIONS:
        return _CONDITIONS[condition](facts)
    if condition in _DEGREES:
        return condition == (facts.confidence if isinstance(facts, CaseFacts) else facts.level)
    if condition in _FAMILIES:
        return isinstance(facts, CaseFacts) and facts.family == condition
    return condition in table


def sections(facts: Facts) -> tuple[Section, ...]:
    """What each section of a report of these facts may say, in order."""
    table = references(facts)
    words = _language("case" if isinstance(facts, CaseFacts) else "cohort")
    found = []
    for index, opening in enumerate(section_openings(facts)):
        steps = [
            Step(
                tuple(text for pattern in slot.patterns for text in variants(pattern, table)),
                slot.required,
                slot.plain,
                slot.chance,
            )
            for slot in words.sections[index]
            if holds(slot.when, facts, table)
        ]
        inline: tuple[str, ...] = ()
        if index == LIST_SECTION:
            steps = [*_list(words, facts, table), *steps]
            inline = _inline(words, facts, table)
        found.append(Section(opening, tuple(steps), inline))
    return tuple(found)


def variants(pattern: str, table: Mapping[str, Reference]) -> tuple[str, ...]:
    """Every sentence that a pattern stands for, where these references exist."""

    def kept(match: re.Match[str]) -> str:
        names = _REFERENCE.findall(match.group(1))
        return match.group(1) if all(name in table for name in names) else ""

    return tuple(_spelled(_WHERE_KNOWN.sub(kept, pattern)))


def patterns(facts: Facts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each section's heading, with the patterns that these facts admit, to show to a model."""
    table = references(facts)
    words = _language("case" if isinstance(facts, CaseFacts) else "cohort")
    for index, opening in enumerate(section_openings(facts)):
        shown = [
            p for s in words.sections[index] if holds(s.when, facts, table) for p in s.patterns
        ]
        lines = list(words.items) if index == LIST_SECTION else []
        yield opening.split("\n")[0], (*lines, *shown)


def count_sentences() -> int:
    """How many distinct sentences and list lines the language holds, over both kinds."""
    found: set[str] = set()
    for kind in ("case", "cohort"):
        words = _language(kind)
        slots = [p for section in words.sections for slot in section for p in slot.patterns]
        for pattern in (*slots, *words.items, *words.leads, *words.inline):
            found.update(_spelled(pattern))
    return len(found)


@cache
def _spelled(pattern: str) -> tuple[str, ...]:
    parts = _CHOICE.split(pattern)
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return tuple("".join(chosen) for chosen in itertools.product(*options))


def _list(words: _Language, facts: Facts, table: Mapping[str, Reference]) -> Iterator[Step]:
    yield Step(
        tuple(text for pattern in words.leads for text in variants(pattern, table)),
        chance=0.5,
        listed=True,
    )
    for rank in range(1, len(facts.ranked) + 1):
        items = (pattern.replace("K", str(rank)) for pattern in words.items)
        texts = tuple(text for item in items for text in variants(item, table))
        yield Step(texts, required=True, listed=True)


def _inline(words: _Language, facts: Facts, table: Mapping[str, Reference]) -> tuple[str, ...]:
    if len(facts.ranked) > INLINE_CLASSES:
        return ()
    pairs = [f"{{{{p.{k}}}}} for {{{{class.{k}}}}}" for k in range(1, len(facts.ranked) + 1)]
    listed = f"{', '.join(pairs[:-1])} and {pairs[-1]}"
    whole = (pattern.replace("LIST", listed) for pattern in words.inline)
    return tuple(text for pattern in whole for text in variants(pattern, table))


@cache
def _language(kind: str) -> _Language:
    data = tomllib.loads(LANGUAGE_FILE.read_text(encoding="utf-8"))
    macros: dict[str, str] = data["macros"]
    part: dict[str, Any] = data[kind]

    def fill(rows: list[str]) -> tuple[str, ...]:
        # Alternatives do not nest: a macro inside one gives its options to it.
        filled = []
        for row in rows:
            text = row
            for name, choice in macros.items():
                text = re.sub(rf"(?<=[(|])<{name}>(?=[|)])", choice[1:-1], text)
                text = text.replace(f"<{name}>", choice)
            filled.append(text)
        return tuple(filled)

    slots = tuple(
        tuple(_Slot(**{**slot, "patterns": fill(slot["patterns"])}) for slot in section["slots"])
        for section in part["sections"]
    )
    return _Language(slots, fill(part["items"]), fill(part["leads"]), fill(part["inline"]))

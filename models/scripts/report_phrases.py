"""The phrase grammar that the shipped report model learns from; randomness is passed in.

The wording is data (`report_phrases.toml`); here stand the facts for which each sentence may be
said, and how a body is put together. Every sentence, in every variant, passes `models.verify` for
facts it may be said of (a test says so).
"""

from __future__ import annotations

import itertools
import random
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from models.facts import CaseFacts, Facts, references
from models.report_layout import section_openings

PHRASES_FILE: Final = Path(__file__).with_name("report_phrases.toml")
INLINE_CHANCE: Final = 0.2
INLINE_CLASSES: Final = 4

_CHOICE: Final = re.compile(r"\(([^()]*\|[^()]*)\)")
_CONDITIONS: Final[Mapping[str, Callable[[Facts], bool]]] = {
    "always": lambda facts: True,
    "tied": lambda facts: isinstance(facts, CaseFacts) and facts.tied,
    "not tied": lambda facts: isinstance(facts, CaseFacts) and not facts.tied,
    "board": lambda facts: (
        isinstance(facts, CaseFacts) and facts.family != "healthy" and facts.confidence != "low"
    ),
    "doubtful": lambda facts: (
        isinstance(facts, CaseFacts)
        and (facts.confidence == "low" or facts.margin_word == "narrow")
    ),
    "hospital": lambda facts: facts.kind == "hospital",
    "global": lambda facts: facts.kind == "global",
    "noised": lambda facts: not isinstance(facts, CaseFacts) and facts.noised,
    "exact": lambda facts: not isinstance(facts, CaseFacts) and not facts.noised,
}
_DEGREES: Final = ("high", "moderate", "low")
_FAMILIES: Final = ("glioma", "meningioma", "pituitary", "healthy", "other")


def holds(condition: str, facts: Facts) -> bool:
    """Whether a condition holds: a named one, a degree, a family, or that a reference exists."""
    if condition in _CONDITIONS:
        return _CONDITIONS[condition](facts)
    if condition in _DEGREES:
        return condition == (facts.confidence if isinstance(facts, CaseFacts) else facts.level)
    if condition in _FAMILIES:
        return isinstance(facts, CaseFacts) and facts.family == condition
    return condition in references(facts)


@dataclass(frozen=True, slots=True)
class Slot:
    """One sentence that may be said.

    Attributes:
        patterns: ways to say it.
        when: name of the facts for which it may be said.
        chance: how often it is said then, 0..1.
    """

    patterns: tuple[str, ...]
    when: str = "always"
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class Grammar:
    """The phrases of one kind of report.

    Attributes:
        sections: slots, section by section.
        items: patterns of a list line; K is the rank.
        leads: patterns of the line above a list.
        inline: patterns of a sentence that holds the list; may be empty.
    """

    sections: tuple[tuple[Slot, ...], ...]
    items: tuple[str, ...]
    leads: tuple[str, ...]
    inline: tuple[str, ...]


@cache
def grammar(kind: str) -> Grammar:
    """The phrases for "case" or "cohort", macros filled in."""
    data = tomllib.loads(PHRASES_FILE.read_text(encoding="utf-8"))
    macros: dict[str, str] = data["macros"]
    part: dict[str, Any] = data[kind]

    def fill(patterns: list[str]) -> tuple[str, ...]:
        # Alternatives do not nest: a macro inside one gives its options to it.
        filled = []
        for pattern in patterns:
            for name, choice in macros.items():
                pattern = re.sub(rf"(?<=[(|])<{name}>(?=[|)])", choice[1:-1], pattern)  # noqa: PLW2901
                pattern = pattern.replace(f"<{name}>", choice)  # noqa: PLW2901
            filled.append(pattern)
        return tuple(filled)

    sections = tuple(
        tuple(Slot(**{**slot, "patterns": fill(slot["patterns"])}) for slot in section["slots"])
        for section in part["sections"]
    )
    return Grammar(sections, fill(part["items"]), fill(part["leads"]), fill(part["inline"]))


def variants(pattern: str) -> Iterator[str]:
    """Every sentence a pattern stands for."""
    parts = _CHOICE.split(pattern)
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    for chosen in itertools.product(*options):
        yield "".join(chosen)


def count_variants() -> int:
    """How many distinct sentences and list lines the grammar holds, over both kinds."""
    sentences: set[str] = set()
    for kind in ("case", "cohort"):
        phrases = grammar(kind)
        patterns = [p for section in phrases.sections for slot in section for p in slot.patterns]
        for pattern in (*patterns, *phrases.items, *phrases.leads, *phrases.inline):
            sentences.update(variants(pattern))
    return len(sentences)


def say(pattern: str, rng: random.Random) -> str:
    """One of a pattern's sentences."""
    return _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), pattern)


def write_body(facts: Facts, rng: random.Random) -> str:
    """A body by the grammar, with references."""
    phrases = grammar("case" if isinstance(facts, CaseFacts) else "cohort")
    parts = []
    for index, opening in enumerate(section_openings(facts)):
        lines = _list_lines(facts, phrases, rng) if index == 1 else []
        said = [
            say(rng.choice(slot.patterns), rng)
            for slot in phrases.sections[index]
            if holds(slot.when, facts) and rng.random() < slot.chance
        ]
        if said:
            lines.append(" ".join(said))
        gap = "" if opening.endswith("\n") else " "
        parts.append(opening + gap + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _list_lines(facts: Facts, phrases: Grammar, rng: random.Random) -> list[str]:
    ranks = range(1, len(facts.ranked) + 1)
    short = len(facts.ranked) <= INLINE_CLASSES
    if phrases.inline and short and rng.random() < INLINE_CHANCE:
        pairs = [f"{{{{p.{k}}}}} for {{{{class.{k}}}}}" for k in ranks]
        listed = f"{', '.join(pairs[:-1])} and {pairs[-1]}"
        return [say(rng.choice(phrases.inline), rng).replace("LIST", listed)]
    item = rng.choice(phrases.items)
    lines = [item.replace("K", str(k)) for k in ranks]
    if rng.random() < 0.5:
        lines.insert(0, say(rng.choice(phrases.leads), rng))
    return lines

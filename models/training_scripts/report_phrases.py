"""Texts in the report language, drawn at random: what the shipped report model learns from.

Randomness is passed in. How often an optional sentence is said is `chance` in the language's data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from models.reports.facts import Facts
from models.reports.language.graph import places
from models.reports.language.language import Section, sections

INLINE_CHANCE: Final = 0.2


def write_body(facts: Facts, rng: random.Random) -> str:
    """A body in the language, with references."""
    return "\n\n".join(o + prose for o, prose in write_sections(facts, rng)) + "\n"


def write_sections(facts: Facts, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Opening and prose of each section, in order."""
    for section in sections(facts):
        yield section.opening, _prose(section, rng)


def _prose(section: Section, rng: random.Random) -> str:
    graph, text, at = places(section), "", 0
    if section.inline and rng.random() < INLINE_CHANCE:
        text = rng.choice(section.inline)
        at = max(index for index, step in enumerate(section.steps) if step.listed) + 1
    pattern = rng.random()
    for index in range(at, len(section.steps)):
        step = section.steps[index]
        if not step.required and rng.random() >= step.chance:
            continue
        ways = [way for way, place in graph[at].ways.items() if place == index + 1]
        # Lines of one list are alike; other sentences are drawn freely.
        chosen = int(pattern * len(ways)) if step.listed and step.required else None
        text += rng.choice(ways) if chosen is None else ways[chosen]
        at = index + 1
    return text

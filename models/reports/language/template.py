"""Writes a report's body without a language model: plain, complete, the same for the same facts.

Used when no draft of the language model passes verification, and always passes it itself (a test
over random facts says so): it says the first sentence of every slot of the report language that is
required or marked as plain. Returns a draft with references; `models.reports.language.rendering`
fills them in.
"""

from __future__ import annotations

from models.reports.facts import Facts
from models.reports.language.graph import places
from models.reports.language.language import Section, sections


def template_body(facts: Facts) -> str:
    """The body of a report, with references, sections in order."""
    return "\n\n".join(_section(section) for section in sections(facts)) + "\n"


def _section(section: Section) -> str:
    graph, text, at = places(section), section.opening, 0
    for index, step in enumerate(section.steps):
        if step.required or step.plain:
            said = next(way for way, place in graph[at].ways.items() if place == index + 1)
            text, at = text + said, index + 1
    return text

"""Reads a report as the report language, whole: what it does not hold is refused. Pure.

This is an allow-list. A text passes if it is the header, then for each section its opening and a
way through the section's sentences with the values of these facts filled in, then a line on who
wrote it; character for character. Whatever else a text may hold (number words, look-alike letters,
markup, a name, a denial, a sentence that is true but not in the language) has no way through, and
nobody needs to have thought of it.

`models.reports.verify.read` reads the same text on its own terms and says in more detail what is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from models.reports.errors import ReportFinding
from models.reports.facts import Facts, references
from models.reports.language.graph import Place, places
from models.reports.language.language import Section, sections
from models.reports.language.layout import PROVENANCE, header_of
from models.reports.language.rendering import fill, render


def language_findings(text: str, facts: Facts) -> Iterator[ReportFinding]:
    """The first place where a text leaves the language; nothing where it never does."""
    header = render(header_of(facts), facts).text
    endings = [f"\n\n{line}\n" for line in PROVENANCE.values()]
    ending = next((end for end in endings if text.endswith(end)), "")
    if not text.startswith(header) or not ending or len(header) + len(ending) > len(text):
        yield ReportFinding("layout", 0, 0, "", "the text lacks its header or its last line")
        return
    start, body_end = len(header), len(text) - len(ending)
    expected = sections(facts)
    for number, section in enumerate(expected):
        last = number == len(expected) - 1
        gap = -1 if last else text.find("\n\n", start, body_end)
        end = body_end if gap < 0 else gap
        if gap < 0 and not last:
            yield ReportFinding("missing", end, end, "", "a section is missing, or an empty line")
            return
        reached = _read_section(text, (start, end), section, facts)
        if reached is not None:
            yield _stray(text, (reached, end), section)
            return
        start = end + 2


def _read_section(text: str, bounds: tuple[int, int], section: Section, facts: Facts) -> int | None:
    """None where the section is read to its end, else how far the best reading comes."""
    start, end = bounds
    if not text.startswith(section.opening, start, end):
        return start
    table = references(facts)
    graph = places(section, lambda draft: fill(draft, table))
    begin = start + len(section.opening)
    seen: set[tuple[int, int]] = set()
    waiting, furthest = [(0, begin)], begin
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        place, position = graph[here[0]], here[1]
        furthest = max(furthest, position)
        if position == end and place.may_end:
            return None
        waiting += _onward(text, position, end, place)
    return furthest


def _onward(text: str, position: int, end: int, place: Place) -> Iterator[tuple[int, int]]:
    for said, following in place.ways.items():
        if text.startswith(said, position, end):
            yield following, position + len(said)


def _stray(text: str, bounds: tuple[int, int], section: Section) -> ReportFinding:
    heading = section.opening.split("\n")[0]
    start, end = bounds
    while start < end and text[start] in " \n":
        start += 1
    if start >= end:
        return ReportFinding(
            "missing", end, end, "", f"{heading} lacks a sentence that it must hold"
        )
    stop = min(i for i in (text.find(". ", start), text.find("\n", start), end) if i >= start)
    stop = min(stop + 1, end)
    message = f"no sentence that these facts allow in {heading} after what stands before it"
    return ReportFinding("sentence", start, stop, text[start:stop], message)

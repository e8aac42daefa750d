"""A report as it lies on the desk: text, facts, and which words are blocked. Pure.

A redaction never cuts a word, a number or a fact in two: the chosen span grows until it holds
whole words and whole values of the facts, and a sentence that denies something goes as a whole,
so that what is left cannot say another thing than before. The title, the headings, the sentence
that this is decision support and the line on who wrote it cannot be redacted. A block has the
same length whatever it covers.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from datasites.errors import RedactionError
from datasites.worker import DraftReport
from models import DISCLAIMER, Facts, facts_from_json, references, sections_of

BLOCK = "█████"
_DENIALS = re.compile(r"\b(?:not|no|cannot|without|never|neither|nor)\b", re.IGNORECASE)
_STOPS = ".,;:)"


class Span(BaseModel):
    """Characters `start` to `end` of a text, `end` not included."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]


class HeldReport(DraftReport):
    """A report on the desk; see `DraftReport` for what the job left.

    Attributes:
        edits: how often the owner changed the words.
        redactions: the blocked spans of `text`, in order, apart from each other.
    """

    edits: int = 0
    redactions: tuple[Span, ...] = ()

    @property
    def parsed(self) -> Facts:
        """The facts.

        Raises:
            FactsError: they are none.
        """
        return facts_from_json(self.facts)

    @property
    def visible(self) -> str:
        """The text with a block for every redacted span: what leaves."""
        text = self.text
        for span in reversed(self.redactions):
            text = f"{text[: span.start]}{BLOCK}{text[span.end :]}"
        return text

    @property
    def visible_facts(self) -> dict[str, str]:
        """References of the facts, by name, that the visible text still writes out."""
        shown = self.visible
        hidden = [self.text[span.start : span.end] for span in self.redactions]
        return {
            name: row.text
            for name, row in references(self.parsed).items()
            if row.text in shown and not any(row.text in text for text in hidden)
        }


def occurrences(text: str, words: str) -> list[Span]:
    """Every place where `words` stand in `text`.

    Raises:
        RedactionError: nowhere, or there are no words.
    """
    if not words.strip():
        raise RedactionError("say which words to redact: --words TEXT")
    found = [Span(start=m.start(), end=m.end()) for m in re.finditer(re.escape(words), text)]
    if not found:
        raise RedactionError(f"{words[:60]!r} does not stand in this report")
    return found


def redact(report: HeldReport, spans: list[Span]) -> HeldReport:
    """The report with more spans blocked.

    Raises:
        RedactionError: a span lies outside the text, or covers what must stay readable.
    """
    facts = report.parsed
    grown = [*report.redactions, *(_grow(report.text, span, facts) for span in spans)]
    for span in grown:
        _must_not_cover(report.text, span, facts)
    return report.model_copy(update={"redactions": _merged(grown)})


def _grow(text: str, span: Span, facts: Facts) -> Span:
    start, end = span.start, span.end
    if not start < end <= len(text) or not text[start:end].strip():
        raise RedactionError(f"{start}:{end} holds no words of this text (0 to {len(text)})")
    values = sorted({row.text for row in references(facts).values()}, key=len)
    before = (-1, -1)
    while before != (start, end):
        before = (start, end)
        start, end = _whole_words(text, start, end)
        for value in values:
            for match in re.finditer(re.escape(value), text):
                if match.start() < end and start < match.end():
                    start, end = min(start, match.start()), max(end, match.end())
        low, high = _sentence(text, start, end)
        if _DENIALS.search(text[start:end]):
            start, end = low, high
    while end - 1 >= span.end and text[end - 1] in _STOPS:
        end -= 1
    return Span(start=start, end=end)


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return start, end


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence or line around a span."""
    low = text.rfind("\n", 0, start) + 1
    stop = text.rfind(". ", low, start)
    low = stop + 2 if stop >= 0 else low
    ends = (text.find("\n", end - 1), text.find(". ", end - 1))
    stops = [place for place in ends if place >= 0]
    high = min(stops, default=len(text))
    return low, max(high, end)


def _must_not_cover(text: str, span: Span, facts: Facts) -> None:
    lines = text.splitlines()
    kept = [lines[0], *sections_of(facts), lines[-1]]
    place = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\n")
        fixed = [(place, place + len(bare))] if bare in kept else []
        at = bare.find(DISCLAIMER)
        if at >= 0:
            fixed.append((place + at, place + at + len(DISCLAIMER)))
        for low, high in fixed:
            if span.start < high and low < span.end:
                raise RedactionError(f"{text[low:high]!r} must stay readable; choose other words")
        place += len(line)


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if merged and span.start <= merged[-1].end:
            last = merged.pop()
            merged.append(Span(start=last.start, end=max(last.end, span.end)))
        else:
            merged.append(span)
    return tuple(merged)

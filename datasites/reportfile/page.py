"""What stands on a report's page, whatever the format. Pure.

A page always says whether its report was released, who wrote the prose, whether it was edited or
redacted, and that it is decision support; a format cannot leave that out.
"""

from __future__ import annotations

from dataclasses import dataclass

from datasites.desk import HeldReport, Item, ItemState
from datasites.plans import ReleasedReport
from models import DISCLAIMER, Facts, facts_from_json, references

_SOURCES = {
    "llama": "prose by a language model, figures filled in from facts",
    "template": "fixed template; no draft of the language model passed verification",
}


@dataclass(frozen=True)
class Page:
    """One report, ready to be written in any format.

    Attributes:
        title: first line of the report.
        header: label and value of the lines below it.
        sections: heading and lines of each section, in order.
        status: whether it was released, in a line.
        released: whether it was.
        origin: who wrote it and what was changed, in lines.
        facts: name and text of the facts, as the report writes them.
        case: the case's pseudonym; empty for a cohort.
        text: the report, whole.
        figures: of a case report, each class with its probability, 0 to 1; empty when redacted.
    """

    title: str
    header: tuple[tuple[str, str], ...]
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    status: str
    released: bool
    origin: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    case: str
    text: str
    figures: tuple[tuple[str, float], ...] = ()

    @property
    def footer(self) -> str:
        """What stands below every page."""
        return DISCLAIMER if self.released else f"NOT RELEASED. {DISCLAIMER}"


def page_of_held(report: HeldReport, item: Item, *, hospital: str) -> Page:
    """The page of a report on the desk, whatever its state.

    Raises:
        FactsError: its facts cannot be read.
    """
    facts = report.parsed
    redacted = bool(report.redactions)
    rows = report.visible_facts if redacted else _rows(facts)
    case = getattr(facts, "case_id", "")
    status = f"{item.state.value} at {hospital}; not released"
    if item.state is ItemState.RELEASED:
        status = f"released by {hospital} on {item.decided}"
    return _page(
        report.visible,
        status=status,
        released=item.state is ItemState.RELEASED,
        origin=_origin(report.source, edits=report.edits, redactions=len(report.redactions)),
        facts=rows,
        case=case if case in report.visible else "",
        figures={} if redacted else dict(getattr(facts, "probabilities", {})),
    )


def page_of_released(report: ReleasedReport) -> Page:
    """The page of a released report.

    Raises:
        FactsError: its facts cannot be read.
    """
    facts = facts_from_json(report.facts) if report.facts else None
    case = report.visible_facts.get("case_id", "") if facts is None else ""
    return _page(
        report.text,
        status=f"released by {report.hospital} on {report.released}",
        released=True,
        origin=_origin(report.source, edits=report.edits, redactions=report.redactions),
        facts=report.visible_facts if facts is None else _rows(facts),
        case=getattr(facts, "case_id", case),
        figures=dict(getattr(facts, "probabilities", {})),
    )


def _page(
    text: str,
    *,
    status: str,
    released: bool,
    origin: tuple[str, ...],
    facts: dict[str, str],
    case: str,
    figures: dict[str, float],
) -> Page:
    first, *blocks = text.strip().split("\n\n")
    title, *labels = first.split("\n")
    header = [line.partition(": ") for line in labels]
    sections = [block.split("\n") for block in blocks]
    return Page(
        title=title,
        header=tuple((label, value) for label, _, value in header),
        # The last block is the line on who wrote it: it stands under the origin.
        sections=tuple((lines[0], tuple(lines[1:])) for lines in sections[:-1]),
        status=status,
        released=released,
        origin=origin,
        facts=tuple(facts.items()),
        case=case,
        text=text,
        figures=tuple(sorted(figures.items(), key=lambda pair: -pair[1])),
    )


def _rows(facts: Facts) -> dict[str, str]:
    return {name: row.text for name, row in references(facts).items()}


def _origin(source: str, *, edits: int, redactions: int) -> tuple[str, ...]:
    lines = [_SOURCES.get(source, source)]
    if edits:
        lines.append(f"edited {edits} time(s) by the data owner, and verified again each time")
    if redactions:
        lines.append(f"{redactions} block(s) put in by the data owner; its facts stayed there")
    return tuple(lines)

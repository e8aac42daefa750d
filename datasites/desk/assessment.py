"""What is known about a report before anybody decides: is it true, whom may it name. Pure.

The verifier knows nothing of who wrote the text; it runs here, outside the sandbox, on what came
out of it, and again on every edit. A redacted report is verified as it was before its blocks were
put in; the blocks hide, and change nothing else (see `datasites.desk.held_report`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datasites.desk.held_report import HeldReport
from datasites.desk.identifiers import PSEUDONYM, Mark, scan
from models import CohortFacts, Facts, ReportCheckError, ReportError, references, verify_report


@dataclass(frozen=True)
class Assessment:
    """What was found about a report.

    Attributes:
        problems: what its facts do not bear out, one line each; none means verified.
        marks: what may identify somebody, in what would leave.
        noised: whether every figure of this hospital in it was noised or is the researcher's own.
    """

    problems: tuple[str, ...]
    marks: tuple[Mark, ...]
    noised: bool

    @property
    def verified(self) -> bool:
        """Whether every statement is borne out by the facts."""
        return not self.problems


def assess(report: HeldReport, *, words: Sequence[str]) -> Assessment:
    """Verify and scan a report.

    Args:
        report: the report as it lies on the desk.
        words: the site's list of words that identify.
    """
    problems = problems_of(report)
    try:
        facts = report.parsed
    except ReportError:
        return Assessment(problems, scan(report.visible, words=words), noised=False)
    own = _own_values(facts)
    marks = list(scan(report.visible, words=words, own=own))
    if not report.redactions:  # the facts of a redacted report stay here
        for place, value in _strings(json.loads(report.facts), "facts"):
            marks += scan(value, words=words, own=own, where=place)
    return Assessment(problems, tuple(marks), noised=_noised(facts))


def problems_of(report: HeldReport) -> tuple[str, ...]:
    """What the verifier finds; empty when the text is borne out by its facts."""
    try:
        facts = report.parsed
        verify_report(report.text, facts)
    except ReportCheckError as error:
        return tuple(str(finding) for finding in error.findings)
    except ReportError as error:
        return (f"its facts cannot be read: {error}",)
    if facts.kind != report.kind:
        return (f"it is called a {report.kind} report, its facts are of kind {facts.kind}",)
    return ()


def _noised(facts: Facts) -> bool:
    """Of a cohort's figures: a global report holds none of this hospital's own."""
    return isinstance(facts, CohortFacts) and (facts.kind == "global" or facts.noised)


def _own_values(facts: Facts) -> list[str]:
    """Values that this hospital's software made, and that therefore name nobody."""
    own = [row.text for row in references(facts).values() if row.role == "figure"]
    case = getattr(facts, "case_id", "")
    return [*own, case] if PSEUDONYM.fullmatch(case) else own


def _strings(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, keys included, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{place} (a key)", str(key)
            yield from _strings(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{place}.{number}")

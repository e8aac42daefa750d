"""What a data owner sees of an item before deciding; lines of text, no decisions, no files.

In this order, because it is read at two in the morning: what it is and where it stands; who asked
and under which approval; whether it is true; whom it may name; what releasing it costs; what
exactly would leave; what happens when nothing is done; and the words to decide with.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from datasites.desk import (
    NOT_SCANNED,
    SCANNED,
    Assessment,
    HeldReport,
    Item,
    ItemKind,
    ItemState,
    link,
)
from datasites.plans import APPROVED, Approval
from models import ReportError, references

_TITLES = {
    ItemKind.WEIGHTS: "model weights",
    ItemKind.GENERATOR: "generator, adapted here with DP; the study's other hospitals draw from it",
    ItemKind.EVALUATION: "noised counts of this hospital's test cases",
    ItemKind.CASE_REPORT: "case report (one person)",
    ItemKind.HOSPITAL_REPORT: "cohort report (this hospital's test cases)",
    ItemKind.GLOBAL_REPORT: "cohort report (the researcher's own evaluation)",
}
_WIDTH = 100
_LABEL = 13


@dataclass(frozen=True)
class Shown:
    """Everything about an item that is shown.

    Attributes:
        item: the item.
        approval: the decision on its plan.
        quorum: reviewers the hospital wants.
        report: the report it is; None for weights, and for one that cannot be read.
        assessment: what was found about it; None for weights.
        differences: what edits changed.
        disclosed: units that were disclosed without noise so far.
        listed_words: how many words the site's list holds.
        files: its files.
        now: UTC time.
    """

    item: Item
    approval: Approval | None
    quorum: int
    report: HeldReport | None
    assessment: Assessment | None
    differences: str
    disclosed: int
    listed_words: int
    files: Mapping[str, bytes]
    now: datetime

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(len(data) for data in self.files.values())


def view(seen: Shown, *, site: str) -> Iterator[str]:
    """The lines of an item's page; `site` is the site's folder as it was typed."""
    item = seen.item
    yield f"{_TITLES[item.kind]}   {item.id}   {item.state.upper()}"
    yield from _row("asked by", f"{item.researcher}, request {item.request}, study {item.study}")
    yield from _row("approval", approval_text(seen.approval, quorum=seen.quorum, now=seen.now))
    yield from _row("made", item.note or "by the trainer of this hospital's own release")
    if item.held:
        yield from _row("here since", item.held)
    if seen.assessment is not None:
        yield from _row("checked", checked_text(seen.assessment, item))
        yield from _row("identifiers", _marks_text(seen.assessment))
    yield from _row("changed", _changes_text(item))
    yield from _row("if released", cost_text(item, disclosed=seen.disclosed))
    yield from _row("what leaves", _leaving_text(seen))
    if item.is_open:
        yield from _row("if you wait", "nothing leaves; it stays here until somebody decides")
    else:
        yield from _row("decided", _decision_text(item))
    if item.kind is ItemKind.EVALUATION:
        yield from ("", "--- all of it")
        yield from (data.decode(errors="replace") for data in seen.files.values())
    if seen.report is not None:
        yield from _report(seen.report, item)
    if seen.assessment is not None:
        yield from _findings(seen)
    if seen.differences:
        yield from ("", "--- edits (stay here)", seen.differences.rstrip())
    if item.is_open:
        yield from _decide_with(seen, site)


def approval_text(approval: Approval | None, *, quorum: int, now: datetime) -> str:
    """Under which approval an item was made, and whether that still holds."""
    if approval is None:
        return "NONE: its plan was never approved here; it cannot leave"
    by = ", ".join(approval.reviewers)
    about = f"plan {approval.plan_sha256[:12]}, {approval.decision} by {by}"
    if approval.revoked:
        return f"{about}, REVOKED since: it cannot leave"
    if approval.decision != APPROVED or len(approval.reviewers) < quorum:
        return f"{about}: NOT IN FORCE, it cannot leave"
    if now >= datetime.fromisoformat(approval.expires):
        return f"{about}, ran out on {approval.expires[:16]}Z (you may still release it)"
    return f"{about}, in force until {approval.expires[:16]}Z"


def checked_text(assessment: Assessment, item: Item) -> str:
    """The verifier's word in a line."""
    if not assessment.verified:
        return f"FAILED: {len(assessment.problems)} thing(s) its facts do not bear out, see below"
    if item.redactions:
        return "verified before its blocks were put in: every statement follows from its facts"
    return "verified: every number, class, name and comparison follows from its facts"


def cost_text(item: Item, *, disclosed: int = 0) -> str:
    """What releasing an item costs in privacy."""
    if item.kind in (ItemKind.WEIGHTS, ItemKind.GENERATOR):
        return "no further privacy: paid in full when its job ran"
    if item.kind in (ItemKind.HOSPITAL_REPORT, ItemKind.EVALUATION):
        return "no further privacy: its figures were noised, and paid for when its job ran"
    if item.kind is ItemKind.GLOBAL_REPORT:
        return "no privacy of this hospital: its figures are the researcher's own"
    return (
        "NON-PRIVATE DISCLOSURE: says something about one person without noise; epsilon of that "
        f"unit becomes infinite, for good ({disclosed} unit(s) disclosed so far)"
    )


def short_cost(item: Item) -> str:
    """The same in two words, for a list."""
    return "DISCLOSES 1 UNIT" if item.is_disclosure else "costs nothing more"


def _row(label: str, text: str) -> Iterator[str]:
    lines = textwrap.wrap(text, _WIDTH - _LABEL - 2) or [""]
    yield f"  {label:<{_LABEL}}{lines[0]}"
    for line in lines[1:]:
        yield " " * (_LABEL + 2) + line


def _marks_text(assessment: Assessment) -> str:
    if not assessment.marks:
        return "none marked (that is no proof: see what is scanned, below)"
    kinds = sorted({mark.kind.value for mark in assessment.marks})
    return f"{len(assessment.marks)} MARKED: {', '.join(kinds)}; see below"


def _changes_text(item: Item) -> str:
    parts = []
    if item.edits:
        parts.append(f"edited {item.edits} time(s), verified again each time")
    if item.redactions:
        parts.append(f"{item.redactions} block(s)")
    return "; ".join(parts) or "no, as the job left it"


def _leaving_text(seen: Shown) -> str:
    item, to = seen.item, seen.item.researcher
    if not item.is_report:
        return f"{', '.join(seen.files)} ({seen.size_bytes} bytes), to {to}"
    if item.redactions:
        return f"the text below with its blocks, without its facts; signed by this site; to {to}"
    return f"the text and the facts below, signed by this site; nothing else; to {to}"


def _decision_text(item: Item) -> str:
    how = "sent" if item.sent else "not sent yet"
    code = f", told as {item.code}" if item.code else ""
    return f"{item.state} by {item.decided_by} at {item.decided} ({how}{code}): {item.reason}"


def _report(report: HeldReport, item: Item) -> Iterator[str]:
    yield from ("", "--- text (a number in brackets is the fact its words come from)")
    try:
        facts = report.parsed
    except ReportError as error:
        yield from report.visible.rstrip().split("\n")
        yield from ("", f"--- facts: CANNOT BE READ ({error})")
        return
    text = report.visible if item.redactions else report.text
    linked = link(text, facts)
    numbers: dict[tuple[str, ...], int] = {}
    shown, place = [], 0
    for one in linked.links:
        number = numbers.setdefault(one.names, len(numbers) + 1)
        shown.append(f"{text[place : one.end]}[{number}]")
        place = one.end
    yield from ("".join(shown) + text[place:]).rstrip().split("\n")
    for words in linked.unlinked:
        yield f"!! {words!r} comes from no fact"
    yield from ("", "--- facts, as the text uses them")
    table = references(facts)
    for names, number in numbers.items():
        row = table[names[0]]
        exact = (
            "" if row.value is None or isinstance(row.value, str) else f" (exactly {row.value:g})"
        )
        subject = f" of {row.subject}" if row.subject else ""
        yield f"  [{number}] {' or '.join(names)}{subject} = {row.text}{exact}"
    yield from (
        "",
        "--- facts, whole" + (" (stay here)" if item.redactions else " (leave as well)"),
    )
    yield from json.dumps(json.loads(report.facts), indent=2, sort_keys=True).split("\n")


def _findings(seen: Shown) -> Iterator[str]:
    assessment = seen.assessment
    if assessment is None:
        return
    if assessment.problems:
        yield from ("", "--- what the facts do not bear out")
        yield from (f"  {problem}" for problem in assessment.problems)
    yield from ("", "--- identifiers")
    for mark in assessment.marks:
        yield f"  {mark.kind}: {mark.words!r} in {mark.where} {mark.start}-{mark.end}"
    if not assessment.marks:
        yield "  none marked"
    words = f"{seen.listed_words} words" if seen.listed_words else "EMPTY: no identifiers.txt here"
    yield from _row("scanned", f"{SCANNED} ({words})")
    yield from _row("not scanned", NOT_SCANNED)


def _decide_with(seen: Shown, site: str) -> Iterator[str]:
    item, content = seen.item, seen.item.content_sha256[:12]
    start = "dura site releases"
    yield from ("", "--- decide (one of these; none can be undone)")
    if item.state is ItemState.HELD:
        yield f"  {start} release {site} {item.id} --as NAME --content {content}"
    yield f"  {start} withhold {site} {item.id} --as NAME --reason TEXT"
    if item.is_report:
        yield "--- or change it first (it is verified again)"
        yield f"  {start} edit {site} {item.id} --file TEXT.txt --as NAME --reason TEXT"
        yield f'  {start} redact {site} {item.id} --words "WORDS" --as NAME --reason TEXT'

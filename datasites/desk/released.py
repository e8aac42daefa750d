"""Released reports: how a site signs one, and how anybody checks one offline. Pure.

`check_released` goes through, in this order, and says of each what came of it:

    form       it is a released report of a version that is known
    key        it names the key that the hospital is known by (from the checker, never from it)
    signature  that key signed exactly this
    hash       the text is the one whose hash was signed
    facts      every number, class, name and comparison of the text is borne out by its facts; of
               a redacted report, whose facts stay at the hospital: every number that is still
               readable is among the facts that came along, and it has as many blocks as it says
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pydantic

from datasites.desk.held_report import BLOCK, HeldReport
from datasites.desk.items import Item
from datasites.plans import ReleasedReport
from models import DISCLAIMER, ReportError, facts_from_json, verify_report
from privacy import (
    JsonValue,
    Purpose,
    SignatureError,
    SigningKey,
    fingerprint,
    sha256_hex,
    sign_document,
    verify_document,
)

_DIGITS = re.compile(r"\S*\d\S*")


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what.
        problem: what is wrong; empty when it holds.
        note: what a reader should know about it.
    """

    name: str
    problem: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it holds."""
        return not self.problem


def sign_released(
    item: Item, report: HeldReport, *, hospital: str, key: SigningKey
) -> ReleasedReport:
    """The document that leaves; the same item and report always give the same bytes."""
    redacted = bool(report.redactions)
    text = report.visible
    released = ReleasedReport(
        item=item.id,
        kind=item.kind.value,
        hospital=hospital,
        study=item.study,
        plan_sha256=item.plan_sha256,
        request=item.request,
        text=text,
        text_sha256=sha256_hex(text.encode()),
        facts="" if redacted else report.facts,
        visible_facts=report.visible_facts if redacted else {},
        source=report.source,
        edits=report.edits,
        redactions=len(report.redactions),
        released=item.decided,
        public_key=key.public_hex,
    )
    signature = sign_document(_body(released), purpose=Purpose.RELEASED_REPORT, key=key)
    return released.model_copy(update={"signature": signature})


def verify_released(report: ReleasedReport, *, public_hex: str) -> None:
    """Check that a hospital's key signed exactly this report.

    Raises:
        SignatureError: it did not.
    """
    verify_document(
        _body(report),
        purpose=Purpose.RELEASED_REPORT,
        public_hex=public_hex,
        signature_hex=report.signature,
    )


def check_released(data: bytes, *, public_hex: str) -> list[Check]:
    """Check a released report; stops at the first check that makes the others meaningless.

    Args:
        data: the file.
        public_hex: the key its hospital is known by.
    """
    try:
        report = ReleasedReport.model_validate_json(data)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        return [Check("form", f"this is no released report ({where}: {fault['msg'].lower()})")]
    checks = [Check("form"), _key(report, public_hex), _signature(report, public_hex)]
    checks.append(_hash(report))
    checks.append(_redacted(report) if report.redactions else _facts(report))
    return checks


def _body(report: ReleasedReport) -> dict[str, JsonValue]:
    return report.model_dump(mode="json", exclude={"signature"})


def _key(report: ReleasedReport, public_hex: str) -> Check:
    if report.public_key != public_hex:
        return Check("key", "it names another key than the one its hospital is known by")
    return Check("key", note=fingerprint(public_hex))


def _signature(report: ReleasedReport, public_hex: str) -> Check:
    try:
        verify_released(report, public_hex=public_hex)
    except SignatureError as error:
        return Check("signature", str(error))
    return Check("signature")


def _hash(report: ReleasedReport) -> Check:
    found = sha256_hex(report.text.encode())
    if found != report.text_sha256:
        return Check("hash", f"the text has the hash {found[:12]}, not {report.text_sha256[:12]}")
    return Check("hash", note=found[:12])


def _facts(report: ReleasedReport) -> Check:
    try:
        facts = facts_from_json(report.facts)
        if facts.kind != report.kind:
            return Check("facts", f"a {report.kind} report with facts of kind {facts.kind}")
        verify_report(report.text, facts)
    except ReportError as error:
        return Check("facts", str(error))
    return Check("facts", note="every number, class and name is in its facts")


def _redacted(report: ReleasedReport) -> Check:
    blocks = report.text.count(BLOCK)
    if report.facts or blocks != report.redactions:
        return Check("facts", f"it says {report.redactions} block(s), and holds {blocks}")
    if DISCLAIMER not in report.text:
        return Check("facts", f"{DISCLAIMER!r} is missing")
    text = report.text
    for value in sorted(report.visible_facts.values(), key=len, reverse=True):
        text = text.replace(value, " ")
    if loose := _DIGITS.search(text.replace(BLOCK, " ")):
        return Check("facts", f"{loose.group()!r} is not among the facts that came along")
    return Check(
        "facts",
        note="redacted: readable numbers are in the facts that came along; the whole text was "
        "verified at the hospital, which signed that",
    )

"""Says whether a report is borne out by its facts. Deterministic; knows nothing of who wrote it.

Guarantee: a text that passes holds no number and no class name that its facts do not hold, written
as the facts are written and said of what the facts say it of; no name, finding, drug, date, number
word, prognosis, treatment or certainty that was made up; no ranking, comparison or grading that the
facts contradict; and it has its header, its sections in order, the sentence "This report is
decision support, not a diagnosis." and a line on who wrote it.

Two readers that share nothing but the facts must both agree:

- `models.reports.language.parse` accepts the sentences of the report language that these facts
allow, whole
  and in their order, and nothing else;
- `models.reports.verify.read` and `models.reports.verify.claims` take the text apart into words and
values, and
  hold what each sentence claims against the facts. They would find a sentence of the language that
  these facts do not bear out, and they say in detail what is wrong with a text.

All findings are collected, so that a person who corrects a text sees everything at once. It cannot
judge whether advice is wise beyond the rules of `models.reports.verify.case_claims`. Needs no
torch.
"""

from __future__ import annotations

from models.reports.errors import ReportCheckError, ReportFinding
from models.reports.facts import CaseFacts, Facts, facts_sha256
from models.reports.language import PROVENANCE, language_findings
from models.reports.report import Report
from models.reports.verify.case_claims import case_findings
from models.reports.verify.cohort_claims import cohort_findings
from models.reports.verify.read import MAX_CHARACTERS, read_report


def verify_report(report: Report | str, facts: Facts) -> None:
    """Check a report, or its text alone, against facts.

    Args:
        report: a report, or the text of one.
        facts: the facts it was written from.

    Raises:
        ReportCheckError: with every finding and its place in the text. Of a `Report`, also where
            its hash of the facts, its kind or its source is not what text and facts say.
    """
    if findings := check_report(report, facts):
        raise ReportCheckError(findings)


def check_report(report: Report | str, facts: Facts) -> tuple[ReportFinding, ...]:
    """What `verify_report` would raise, in the order of the text; empty where it passes.

    To show findings beside a text. Whether a report may leave is for `verify_report`, whose
    answer cannot be forgotten.
    """
    if isinstance(report, str):
        text, outer = report, []
    else:
        text, outer = report.text, _record_findings(report, facts)
    reading = read_report(text, facts)
    if isinstance(facts, CaseFacts):
        claims = case_findings(facts, reading.sentences)
    else:
        claims = cohort_findings(facts, reading.sentences)
    strays = [] if len(text) > MAX_CHARACTERS else language_findings(text, facts)
    findings = [*outer, *reading.findings, *claims, *strays]
    return tuple(sorted(findings, key=lambda found: (found.start, found.end)))


def _record_findings(report: Report, facts: Facts) -> list[ReportFinding]:
    """What a report's record says of itself against its text and facts."""
    found = []
    if report.facts_sha256 != facts_sha256(facts):
        message = f"the report was written from other facts, {report.facts_sha256[:12]}"
        found.append(ReportFinding("layout", 0, 0, "", message))
    if report.kind != facts.kind:
        message = f"the report is of kind {report.kind!r}, the facts are of kind {facts.kind!r}"
        found.append(ReportFinding("layout", 0, 0, "", message))
    if not report.text.endswith(f"{PROVENANCE[report.source]}\n"):
        end = len(report.text)
        message = f"the record says {report.source!r} wrote it, the last line says otherwise"
        found.append(ReportFinding("layout", end, end, "", message))
    return found

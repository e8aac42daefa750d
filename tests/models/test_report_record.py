"""The record of a report: what it says of itself holds, and it goes through JSON."""

from __future__ import annotations

import pytest

from models.reports.errors import ReportCheckError, ReportFileError
from models.reports.facts import Facts, facts_sha256
from models.reports.report import Report
from models.reports.verify.verify import verify_report
from tests.models.reportkit import CASE, HASH, text_of


def report_of(facts: Facts, **changes: object) -> Report:
    values: dict[str, object] = {
        "kind": facts.kind,
        "text": text_of(facts),
        "source": "template",
        "attempts": 0,
        "rejected": (),
        "seed": 1,
        "model_id": "report_llama",
        "model_sha256": HASH,
        "facts_sha256": facts_sha256(facts),
        "references": (),
    }
    return Report(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"facts_sha256": HASH}, {"source": "llama"}, {"kind": "global"}],
)
def test_a_record_that_contradicts_itself_is_caught(changes: dict[str, object]) -> None:
    verify_report(report_of(CASE), CASE)
    with pytest.raises(ReportCheckError):
        verify_report(report_of(CASE, **changes), CASE)


def test_a_report_goes_through_json() -> None:
    report = report_of(CASE, rejected=("number",))
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version":1', '"version":2'),
        ('"source":"template"', '"source":"a person"'),
        ('"kind":"case"', '"kind":"poem"'),
        ('"attempts":0', '"attempts":"0"'),
        ('"rejected":[]', '"rejected":[1]'),
        ('"seed":1', '"seed":1,"seed":2'),
        ('"seed":1,', ""),
        ('"model_id":"report_llama"', '"model_id":7'),
    ],
)
def test_a_damaged_report_file_is_refused(old: str, new: str) -> None:
    text = report_of(CASE).to_json()
    assert old in text
    with pytest.raises(ReportFileError):
        Report.from_json(text.replace(old, new))

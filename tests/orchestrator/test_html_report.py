"""The page: complete, self-contained, and deaf to what hostile names say."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest

from models import ClassScore, Evaluation
from orchestrator.aggregation.contribution import Contribution
from orchestrator.errors import ReportingError
from orchestrator.results.html_report import (
    STANDARD_LIMITS,
    ApprovalRow,
    HospitalReport,
    LedgerStatus,
    Picture,
    ReportRow,
    StudyReport,
    render_html,
)
from orchestrator.rounds.progress import RoundScore

NOON = datetime(2030, 5, 6, 12, 0, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (900).to_bytes(4, "big") + (300).to_bytes(4, "big")
HOSTILE = "<script>alert('x')</script>\"' onload=x {{ 7 * 7 }} &amp; </style>"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and complains about tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def approval(approver: str = "Dr. Meyer") -> ApprovalRow:
    return ApprovalRow(
        approver=approver,
        approved_at=NOON,
        expires_at=NOON + timedelta(days=30),
        maximum_rounds=20,
        standing_release=True,
    )


def hospital(name: str = "north", **changed: object) -> HospitalReport:
    plain = HospitalReport(
        name=name,
        units=1234.4,
        rounds_joined=9,
        epsilon=2.751,
        delta=1e-5,
        budget=8.0,
        approvals=(approval(),),
        ledger=LedgerStatus(verified=True, entries=41, head_sha256="ab" * 32),
        unit="near-duplicate group",
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def evaluation(name: str = "glioma") -> Evaluation:
    score = ClassScore(name=name, precision=0.811, recall=0.722, f1=0.633, support=290, auc=0.955)
    return Evaluation(
        n=290,
        accuracy=0.8123,
        balanced_accuracy=0.7999,
        macro_f1=0.75,
        per_class=(score,),
        confusion=((290,),),
        roc=(),
        expected_calibration_error=0.051,
        loss=0.5123,
        classes=(name,),
    )


def report(**changed: object) -> StudyReport:
    line = Contribution(
        round=1,
        hospital="north",
        units=1234.4,
        update_norm=2.5,
        cosine_to_aggregate=None,
        epsilon=0.5,
        delta=1e-5,
        wall_s=3.25,
    )
    plain = StudyReport(
        name="Five hospitals",
        researcher="r@lab.org",
        created_at=NOON,
        plan_sha256="0f" * 32,
        model_sha256="9c" * 32,
        strategy="krum (byzantine = 1)",
        rounds=12,
        neighbouring="add or remove one unit",
        hospitals=(hospital(), hospital("south", epsilon=1.0)),
        evaluation=evaluation(),
        evaluation_data="the researcher's own test folder",
        scores=(RoundScore(round=1, loss=0.6, accuracy=0.7, macro_f1=0.65),),
        contributions=(line,),
        pictures=(Picture(title="ROC", description="one curve a class", png=PNG),),
        reports=(
            ReportRow(
                hospital="north",
                title="Case 17",
                text="First.\n\nSecond.",
                released_by="Dr. Lind",
                released_at=NOON,
            ),
        ),
        reports_held=2,
        reports_withheld=3,
        further_limits=("Only adults.",),
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def text_of(page: StudyReport) -> str:
    return re.sub(r"\s+", " ", Page(render_html(page)).text)


def test_the_page_says_what_it_must() -> None:
    text = text_of(report())
    for said in (
        "Five hospitals",
        "north",
        "south",
        "Dr. Meyer",
        "2030-05-06 12:00 UTC",
        "0f" * 32,
        "9c" * 32,
        "krum (byzantine = 1)",
        "near-duplicate group",
        "add or remove one unit",
        "2.76",
        "1e-5",
        "of ε = 8",
        "2 of 2 ledgers verified",
        "41 entries",
        "81.1%",
        "72.2%",
        "63.3%",
        "0.955",
        "Case 17",
        "Dr. Lind",
        "1 released, 2 held for a decision, 3 withheld",
        "Only adults.",
        *STANDARD_LIMITS,
    ):
        assert said in text, said


def test_each_hospitals_unit_stands_beside_its_epsilon() -> None:
    mixed = report(hospitals=(hospital(epsilon=3.5, unit="image"), hospital("south", epsilon=1.0)))
    assert mixed.units_of_privacy == "image or near-duplicate group"
    html = render_html(mixed)
    assert "(δ = 1e-5) per image (add or remove one unit)" in html
    assert html.count("<td>image</td>") == html.count("<td>near-duplicate group</td>") == 1


def test_the_limits_say_what_dp_and_the_model_do_not_promise() -> None:
    together = " ".join(STANDARD_LIMITS)
    for said in ("not a diagnosis", "more than one hospital", "released report", "physician"):
        assert said in together


def test_hostile_text_stays_text() -> None:
    line = report().contributions[0]
    nasty = report(
        name=HOSTILE,
        researcher=HOSTILE,
        plan_sha256=HOSTILE,
        model_sha256=HOSTILE,
        strategy=HOSTILE,
        neighbouring=HOSTILE,
        evaluation_data=HOSTILE,
        evaluation=evaluation(HOSTILE),
        hospitals=(
            hospital(HOSTILE, unit=HOSTILE, approvals=(approval(HOSTILE),)),
            hospital(
                HOSTILE,
                epsilon=math.inf,
                ledger=LedgerStatus(
                    verified=False, entries=1, head_sha256=HOSTILE, problem=HOSTILE
                ),
            ),
        ),
        contributions=(replace(line, hospital=HOSTILE),),
        pictures=(Picture(title=HOSTILE, description=HOSTILE, png=PNG),),
        reports=tuple(
            ReportRow(
                hospital=HOSTILE, title=HOSTILE, text=HOSTILE, released_by=HOSTILE, released_at=NOON
            )
            for _ in range(1)
        ),
        further_limits=(HOSTILE,),
    )
    html = render_html(nasty)
    page = Page(html)
    assert "<script" not in html.lower()
    assert page.tags.count("style") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("{{ 7 * 7 }}") >= 18
    assert ("alt", HOSTILE) in page.attributes


def test_nothing_is_fetched_and_nothing_runs() -> None:
    html = render_html(report())
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "form", "a"} & set(page.tags)
    sources = [value or "" for name, value in page.attributes if name in {"src", "href", "srcset"}]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "@import" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_light_dark_and_print() -> None:
    html = render_html(report())
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_the_same_value_gives_the_same_page() -> None:
    assert render_html(report()) == render_html(report())


def test_no_guarantee_and_broken_ledgers_are_said_loudly() -> None:
    broken = LedgerStatus(
        verified=False, entries=17, head_sha256="cd" * 32, problem="entry 9: hash"
    )
    bad = hospital("south", epsilon=math.inf, ledger=broken, approvals=())
    text = text_of(report(hospitals=(hospital(), bad, hospital("west", ledger=None, budget=None))))
    assert "largest ε of a hospital: no guarantee at south" in text
    assert "✗ broken" in text
    assert "entry 9: hash" in text
    assert "1 of 3 ledgers verified" in text
    assert "no approval on record" in text
    assert "not checked" in text
    assert "budget not known" in text


def test_a_study_without_evaluation_pictures_or_reports() -> None:
    bare = report(evaluation=None, pictures=(), scores=(), contributions=(), reports=())
    text = text_of(bare)
    assert "not evaluated" in text
    assert "0 released" in text


def test_undefined_scores_are_dashes() -> None:
    whole = evaluation()
    nothing = replace(whole.per_class[0], auc=None)
    text = text_of(report(evaluation=replace(whole, per_class=(nothing,))))
    assert "63.3% –" in text
    assert "None" not in text


def test_times_are_shown_in_utc() -> None:
    east = datetime(2031, 1, 1, 3, 0, tzinfo=timezone(timedelta(hours=5)))
    assert "2030-12-31 22:00 UTC" in text_of(report(created_at=east))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hospitals": ()}, "no hospital"),
        ({"hospitals": (hospital(epsilon=math.nan),)}, "not a number"),
        ({"created_at": NOON.replace(tzinfo=None)}, "time zone"),
    ],
)
def test_what_cannot_be_reported_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ReportingError, match=message):
        report(**changed)


@pytest.mark.parametrize("png", [b"", b"GIF89a" + bytes(40), PNG[:20]])
def test_a_picture_must_be_png(png: bytes) -> None:
    with pytest.raises(ReportingError, match="not PNG"):
        Picture(title="x", description="x", png=png)


def test_wide_pictures_get_the_whole_width() -> None:
    square = PNG[:20] + (900).to_bytes(4, "big")
    assert Picture(title="x", description="x", png=PNG).wide
    assert not Picture(title="x", description="x", png=square).wide
    assert "class=half" in render_html(
        report(pictures=(Picture(title="x", description="x", png=square),))
    )

"""The audit page: escaped, self-contained, says what does not hold; its curve is in its frame."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.audit.account import KEPT, read_account
from orchestrator.audit.html import HEIGHT, WIDTH, chart, render_audit
from orchestrator.audit.report import AuditReport, PlanReport, SiteReport
from orchestrator.audit.verify import LedgerFinding
from orchestrator.empirical.result import Bound, EmpiricalAudit
from privacy import (
    Budget,
    Disclosure,
    DisclosureKind,
    EntryKind,
    describe,
    disclose,
    gaussian,
    replay,
    reserve,
    set_budget,
)
from privacy.ledger.chain import SealedEntry
from tests.orchestrator.storykit import KEY, TIME, Story, note, wanted

NASTY = "<script>alert(1)</script>"


def _account(spends: int = 3, *, epsilon: float = 8.0):
    story = Story()
    budget = Budget(epsilon=epsilon, delta=1e-5)
    event = gaussian(noise_multiplier=20.0)
    told = describe(event, clip_norm=1.0, published_units=100.0)
    story.entries = [
        note(EntryKind.LEDGER_OPENED, KEY.public_hex),
        set_budget(budget, reason=NASTY, time=TIME, actor=NASTY),
    ]
    for number in range(spends):
        asked = wanted(str(number), "train/1", event=event, mechanisms=told)
        story.entries.append(reserve(story.account(), asked, time=TIME, actor=NASTY))
    shown = Disclosure(
        kind=DisclosureKind.CASE_REPORT, units=1, scope="case report 7", dataset_version="d"
    )
    story.entries += [
        replace(note(EntryKind.RUN_REFUSED, "r"), actor=NASTY, reason=NASTY),
        disclose(shown, resource="r", reason=NASTY, time=TIME, actor=NASTY),
    ]
    sealed = [
        SealedEntry(entry=entry, sequence=number, entry_hash="0" * 64)
        for number, entry in enumerate(story.entries)
    ]
    return read_account(replay(sealed, keep=KEPT))


def _audit(*, rejected: bool) -> EmpiricalAudit:
    bound = Bound(
        name="gradient",
        access="white-box",
        canaries=1000,
        guesses=500,
        correct=300,
        epsilon=0.4,
        epsilon_fdp=0.6,
        claim_rejected=rejected,
    )
    return EmpiricalAudit(
        made="2026-11-24T12:00:00Z",
        target="classifier",
        model="small_cnn",
        data="mock phantoms",
        claim=2.0,
        delta=1e-5,
        unit="phantom",
        noise_multiplier=3.2,
        sampling_rate=0.3,
        steps=24,
        confidence=0.95,
        bounds=(bound,),
    )


@pytest.fixture
def report() -> AuditReport:
    good = LedgerFinding("a@x", "sites/A/ledger.jsonl", 7, "f" * 64, "")
    bad = LedgerFinding("b@x", "sites/B/ledger.jsonl", 0, "", "ledger entry 3: changed")
    return AuditReport(
        folder=NASTY,
        created_at=datetime(2026, 11, 24, tzinfo=UTC),
        relation="add or remove one unit",
        accountant="dp-accounting 0.6.0 PLD",
        sites=(
            SiteReport(hospital="a@x", chain=good, account=_account()),
            SiteReport(hospital="b@x", chain=bad, account=None),
        ),
        plans=(
            PlanReport(
                sha256="e" * 64,
                study="s",
                researcher="r@x",
                findings=({"code": "tiny_batch", "severity": "warning", "what": "few", "do": "x"},),
            ),
        ),
        empirical=(_audit(rejected=False),),
    )


def test_the_page_is_self_contained_escaped_and_frank(report):
    page = render_audit(report)
    assert NASTY not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "Something does not hold" in page
    assert "ledger entry 3: changed" in page
    assert "case report 7" in page
    assert "tiny batch" in page
    assert page == render_audit(report)


def test_only_a_sound_report_says_so(report):
    sound = AuditReport(**{**vars(report), "sites": report.sites[:1]})
    assert sound.sound
    assert "Everything checked holds" in render_audit(sound)
    red = AuditReport(**{**vars(sound), "empirical": (_audit(rejected=True),)})
    assert not red.sound
    assert "refuted" in render_audit(red)


def test_the_document_says_what_is_asked_of_it(report):
    sites = report.to_json()["sites"]
    wanted = {"epsilon", "delta", "unit", "second_opinions", "events", "refusals", "chain"}
    assert wanted <= set(sites["a@x"])
    assert sites["a@x"]["events"][0]["event"]["class_name"] == "GaussianDpEvent"
    assert (sites["b@x"]["epsilon"], sites["b@x"]["chain"]["verified"]) == ("infinite", False)


@pytest.mark.parametrize("spends", [1, 3, 200])
@pytest.mark.parametrize("budget", [8.0, 1000.0])
def test_the_curve_stays_in_its_frame_and_never_falls(spends, budget):
    drawn = chart(_account(spends, epsilon=budget))
    points = [tuple(map(float, pair.split(","))) for pair in drawn.line.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True)
    assert (drawn.budget_y is None) == (budget > 100 or spends < 200)


def test_nothing_spent_draws_nothing():
    assert chart(_account(0)) is None


def test_red_is_a_bound_above_the_claim_or_a_refuted_curve():
    assert not _audit(rejected=False).red
    assert _audit(rejected=True).red
    bound = _audit(rejected=False).bounds[0].model_copy(update={"epsilon": 2.1})
    above = _audit(rejected=False).model_copy(update={"bounds": (bound,)})
    assert above.red
    assert "RED: at least epsilon 2.100" in above.to_text()
    assert "green" in _audit(rejected=False).to_text()

"""A hospital's report and the study's speak of the trend over the rounds and of contribution.

Site, agent, sandbox, LLaMa, relay and keys are real; the researcher's figures are the test's.
"""

from __future__ import annotations

import pytest

from datasites.desk import Desk
from datasites.errors import Reason
from datasites.plans import GlobalScores, ReportPart, ReportTask, RoundAccuracy, make_bundle
from datasites.plans.answers import Status
from models import verify_report
from privacy import sha256_hex

TREND = (RoundAccuracy(round=1, accuracy=0.6), RoundAccuracy(round=2, accuracy=0.9))


def task(world) -> ReportTask:
    return ReportTask(
        request="rep",
        plan_sha256=world.bundle.sha256,
        weights_sha256=sha256_hex(world.weights),
        rounds=2,
        hospitals=2,
        scores=GlobalScores(n_cases=20, accuracy=0.9, macro_f1=0.9, confusion=((9, 1), (1, 9))),
        trend=TREND,
        share=0.25,
        shares=(0.25, 0.75),
    )


@pytest.fixture
def named(world, plan, cold):
    """An agent with an approved plan that names its two hospitals."""
    part = ReportPart(cases=0, metrics_noise_multiplier=5.0, hospitals=("A", "North"))
    world.submit_plan(make_bundle(plan.model_copy(update={"reports": part}), None))
    agent = world.start()
    agent.step()
    world.approve()
    return agent


def test_reports_speak_of_trend_and_contribution(world, named, until):
    world.ask(task(world))
    until(named, lambda: world.answer("rep"))
    assert world.answer("rep").status is Status.HELD
    desk = Desk(world.site)
    held = {item.kind.value: desk.report(item) for item in desk.items()}
    own, study = held["hospital"], held["global"]
    for report in (own, study):
        verify_report(report.text, report.parsed)
        assert "rising" in report.text
    assert "from 60.0 % after round 1 to 90.0 % after round 2 on the test cases" in own.text
    assert "from 60.0 % after round 1 to 90.0 % after round 2." in study.text
    assert "A 25.0 %, all others 75.0 %." in own.text
    assert "North" not in own.text + own.facts
    assert "A 25.0 %, North 75.0 %." in study.text
    assert (own.parsed.n_hospitals, study.parsed.hospitals) == (2, ("A", "North"))


def test_shares_of_hospitals_that_the_plan_does_not_name_are_refused(approved):
    answer = approved.refuse(task(approved))
    assert (answer.status, answer.reason) == (Status.REFUSED, Reason.MALFORMED_REQUEST)

"""What report tasks tell a hospital: the trend, its own share, and no other hospital unnamed."""

from __future__ import annotations

import numpy as np
import pytest

from models import evaluate
from orchestrator.study.study import StrategySpec
from tests.orchestrator.conftest import CLASSES, SITES, first_weights

A, B, C = SITES


def told(world, **changes):
    """The report task that each hospital gets in a run of the study with these changes."""
    tasks = {}

    def record(hospital, task, data):
        tasks[hospital.email] = task
        return hospital.honest(task, data)

    for hospital in world.hospitals.values():
        hospital.answers["reports"] = record
    run = world.run()
    run._study = run._study.model_copy(update=changes)
    weights = run.train(first_weights())
    run.ask_reports(weights, evaluate(np.full((4, 4), 0.25), np.arange(4), CLASSES))
    return tasks


def test_a_hospital_is_told_of_the_others_only_what_the_plan_tells(world):
    tasks = told(world)
    scores = [(s.round, s.accuracy) for s in world.folder.load().scores if s.round]
    assert set(tasks) == {A, B, C}
    for site, task in tasks.items():
        assert [(point.round, point.accuracy) for point in task.trend] == scores
        assert (task.hospitals, task.share, task.shares) == (3, pytest.approx(1 / 3), ())
        text = task.model_dump_json()
        assert not [other for other in SITES if other in text and other != site]


def test_shares_go_to_the_one_that_writes_of_all_where_the_plan_names_them(world):
    part = world.study.reports.model_copy(update={"hospitals": ("a", "b", "c")})
    tasks = told(world, reports=part)
    assert tasks[A].shares == pytest.approx((1 / 3,) * 3)
    assert (tasks[B].shares, tasks[C].shares) == ((), ())


def test_a_strategy_that_weighs_no_hospital_tells_no_share(world):
    tasks = told(world, strategy=StrategySpec(name="fedmedian"))
    assert {(t.share, t.shares, len(t.trend)) for t in tasks.values()} == {(None, (), 2)}

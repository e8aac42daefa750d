"""What a plan costs and what a reviewer is shown: each part's own event, and every changed byte."""

from __future__ import annotations

import pytest

from datasites.plans import (
    GenerateTask,
    ModelPart,
    ReportTask,
    TrainTask,
    difference,
    make_bundle,
    plan_cost,
    plan_events,
    task_event,
)
from datasites.plans.costs import generator_event, metrics_event
from privacy import Budget, epsilon, gaussian, poisson_gaussian

SHA = "a" * 64
TRAIN = TrainTask(
    request="r", plan_sha256=SHA, round=1, weights_sha256=SHA, steps=3, learning_rate=0.1
)


def test_each_task_costs_what_it_runs(plan):
    train = poisson_gaussian(sampling_rate=0.3, noise_multiplier=1.2, steps=3)
    assert task_event(plan, TRAIN) == train
    generator = poisson_gaussian(sampling_rate=0.2, noise_multiplier=2.0, steps=4)
    assert task_event(plan, GenerateTask(request="g", plan_sha256=SHA)) == generator
    report = ReportTask(request="p", plan_sha256=SHA, weights_sha256=SHA, rounds=1, hospitals=1)
    assert task_event(plan, report) == gaussian(noise_multiplier=5.0)


def test_the_plan_costs_all_its_rounds_and_parts(plan):
    train = poisson_gaussian(sampling_rate=0.3, noise_multiplier=1.2, steps=15)
    assert plan_events(plan) == [train, generator_event(plan), metrics_event(plan)]
    bare = plan.model_copy(update={"generator": None, "reports": None})
    fewer = poisson_gaussian(sampling_rate=0.3, noise_multiplier=1.2, steps=10)
    assert plan_events(bare, rounds=2) == [fewer]
    for event in (generator_event, metrics_event):
        with pytest.raises(ValueError, match="the plan has no"):
            event(bare)


def test_the_rounds_together_cost_no_more_than_the_plan(plan):
    task = TRAIN.model_copy(update={"steps": plan.train.steps})
    events = [task_event(plan, task)] * plan.rounds
    events += [generator_event(plan), metrics_event(plan)]
    whole = epsilon(plan_events(plan), delta=1e-5)
    assert epsilon(events, delta=1e-5) == pytest.approx(whole, rel=1e-6)


def test_what_was_spent_before_counts(plan):
    alone = plan_cost(plan, budget=Budget(epsilon=100.0, delta=1e-5), spent=[])
    assert alone.decision.epsilon_after == pytest.approx(alone.epsilon_alone)
    exact = Budget(epsilon=alone.epsilon_alone * 1.01, delta=1e-5)
    assert plan_cost(plan, budget=exact, spent=[]).refusal == ""
    late = plan_cost(plan, budget=exact, spent=plan_events(plan))
    assert late.decision is None
    assert late.refusal


def test_every_changed_byte_is_shown(plan, bundle):
    assert "was approved here before" in difference(bundle, None)
    assert difference(bundle, bundle) == "none"
    own = plan.model_copy(update={"model": ModelPart(name="model.py", image_size=64)})
    text = "from torch import nn\n"
    shown = difference(make_bundle(own, text), bundle)
    assert "+++ submitted/model.py" in shown
    assert "+from torch import nn" in shown
    assert '-    "name": "small_cnn"' in shown
    assert "removed" in difference(bundle, make_bundle(own, text))

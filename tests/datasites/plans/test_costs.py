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
    task_mechanisms,
)
from datasites.plans.events import generator_event, metrics_event
from privacy import (
    EVALUATION_SENSITIVITY,
    AccountFold,
    Budget,
    Entry,
    EntryKind,
    Reservation,
    Scope,
    describe,
    epsilon,
    gaussian,
    poisson_gaussian,
    reserve,
    set_budget,
)

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


def account(plan, epsilon, *, spent=(), caps=()):
    """An account with a budget, perhaps a cap, and perhaps everything spent once."""
    when = {"actor": "owner", "time": "2026-11-23T12:00:00Z"}
    fold = AccountFold()
    opening = {"kind": EntryKind.LEDGER_OPENED, "action": "open", "resource": "key", "reason": ""}
    fold.add(Entry(**opening, **when))
    fold.add(set_budget(Budget(epsilon=epsilon, delta=1e-5), reason="board", **when))
    for scope, name, amount in caps:
        cap = Budget(epsilon=amount, delta=1e-5)
        fold.add(set_budget(cap, scope=scope, name=name, reason="board", **when))
    for number, event in enumerate(spent):
        wanted = Reservation(
            reservation=f"r{number}",
            event=event,
            mechanisms=describe(event, clip_norm=1.0, published_units=100.0),
            researcher=plan.researcher,
            study=plan.study,
            dataset_version="d",
            code_sha256="c",
            request="train/1",
        )
        fold.add(reserve(fold.snapshot(), wanted, **when))
    return fold.snapshot()


def cost(plan, *arguments, **options):
    return plan_cost(
        plan, account=account(plan, *arguments, **options), time="2026-11-23T12:00:00Z"
    )


def test_what_was_spent_before_counts(plan):
    alone = cost(plan, 100.0)
    assert alone.decision.epsilon_after == pytest.approx(alone.epsilon_alone)
    assert alone.epsilon_ever == alone.epsilon_alone
    assert alone.ever_if_fixed == epsilon(plan_events(plan), delta=1e-5) < alone.epsilon_ever
    assert alone.ever[3] > alone.ever[2] > 2 * alone.ever[1]
    exact = alone.epsilon_alone * 1.05
    assert cost(plan, exact).refusal == ""
    late = cost(plan, exact, spent=plan_events(plan))
    assert late.decision is None
    assert "budget of the hospital" in late.refusal
    assert late.epsilon_ever > exact


def test_a_cap_refuses_what_the_budget_would_allow(plan):
    alone = cost(plan, 100.0).epsilon_alone
    for scope, name in ((Scope.RESEARCHER, plan.researcher), (Scope.STUDY, plan.study)):
        capped = cost(plan, 100.0, caps=[(scope, name, alone * 0.5)])
        assert capped.decision is None
        assert f"budget of the {scope} {name}" in capped.refusal
        assert cost(plan, 100.0, caps=[(scope, "other", alone * 0.5)]).refusal == ""


def test_the_ledger_is_told_how_releases_are_made(plan):
    told = task_mechanisms(plan, TRAIN, published_units=200.0)
    assert [(one.expected_batch, one.clip_norm, one.noise_multiplier) for one in told] == [
        (200.0 * plan.train.sampling_rate, plan.train.clipping_norm, plan.train.noise_multiplier)
    ]
    report = ReportTask(request="p", plan_sha256=SHA, weights_sha256=SHA, rounds=1, hospitals=1)
    (counted,) = task_mechanisms(plan, report, published_units=200.0)
    assert (counted.sampler, counted.expected_batch) == ("all_units", None)
    assert counted.clip_norm == EVALUATION_SENSITIVITY  # of matrix and histograms together


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

"""What a plan costs in privacy, as event trees. The hospital computes it itself.

Every part is DP-SGD over Poisson-sampled privacy units or one Gaussian release, under add or
remove one unit. dp-accounting is imported when a cost is computed: listing plans needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasites.plans.plan import Plan
from datasites.plans.tasks import GenerateTask, PoolTask, ReportTask, Task, TrainTask

UNIT_WEIGHT = 1.0
"""What one unit adds to a vector of counts, in L2 norm."""

if TYPE_CHECKING:
    from privacy import DpEvent, Mechanism


def task_event(plan: Plan, task: Task) -> DpEvent:
    """The event that serving `task` under `plan` costs at the most."""
    match task:
        case TrainTask():
            return train_event(plan, steps=task.steps)
        case GenerateTask():
            return generator_event(plan)
        case PoolTask():
            return pool_event()
        case ReportTask():
            return metrics_event(plan)


def train_event(plan: Plan, *, steps: int) -> DpEvent:
    """`steps` noised steps of the classifier."""
    from privacy import poisson_gaussian

    return poisson_gaussian(
        sampling_rate=plan.train.sampling_rate,
        noise_multiplier=plan.train.noise_multiplier,
        steps=steps,
    )


def generator_event(plan: Plan) -> DpEvent:
    """The whole training of the generator."""
    from privacy import poisson_gaussian

    if plan.generator is None:
        raise ValueError("the plan has no generator")
    return poisson_gaussian(
        sampling_rate=plan.generator.sampling_rate,
        noise_multiplier=plan.generator.noise_multiplier,
        steps=plan.generator.steps,
    )


def pool_event() -> DpEvent:
    """No cost: images are drawn from what others released, and no shard is read."""
    from privacy import compose

    return compose([])


def metrics_event(plan: Plan) -> DpEvent:
    """The test figures, in one release: confusion matrix and score histograms together."""
    from privacy import evaluation_event

    if plan.reports is None:
        raise ValueError("the plan has no reports")
    return evaluation_event(noise_multiplier=plan.reports.metrics_noise_multiplier)


def task_mechanisms(plan: Plan, task: Task, *, published_units: float) -> tuple[Mechanism, ...]:
    """How the releases of `task` are made, for the ledger.

    Args:
        plan: the approved plan.
        task: what is asked under it.
        published_units: the hospital's published, noised number of privacy units.
    """
    from privacy import EVALUATION_SENSITIVITY, describe

    event = task_event(plan, task)
    match task:
        case TrainTask():
            clip_norm = plan.train.clipping_norm
        case GenerateTask():
            clip_norm = plan.generator.clipping_norm if plan.generator else 0.0
        case PoolTask():
            return ()
        case ReportTask():
            clip_norm = EVALUATION_SENSITIVITY
    return describe(event, clip_norm=clip_norm, published_units=published_units)


def plan_events(plan: Plan, *, rounds: int | None = None) -> list[DpEvent]:
    """Everything the plan costs if `rounds` rounds (default: all of them) run to the end."""
    events = [train_event(plan, steps=plan.train.steps * (rounds or plan.rounds))]
    if plan.generator is not None:
        events.append(generator_event(plan))
    if plan.reports is not None:
        events.append(metrics_event(plan))
    return events

"""Which sandbox is kept warm: what the plan's next task needs; none once the plan is done."""

from __future__ import annotations

import pytest

from datasites.agent.warm import next_profile
from datasites.plans import DeclaredOutput
from datasites.worker.protocol import Profile


@pytest.mark.parametrize(
    ("rounds", "generated", "expected"),
    [
        (0, False, Profile.GENERATE),
        (0, True, Profile.TRAIN),
        (1, True, Profile.TRAIN),
        (2, True, Profile.REPORT),
    ],
)
def test_the_next_task_decides(plan, generator, rounds, generated, expected):
    full = plan.model_copy(update={"generator": generator})
    assert next_profile(full, rounds_started=rounds, has_generator=generated) is expected


@pytest.mark.parametrize(
    ("rounds", "pooled", "expected"),
    [(0, False, Profile.POOL), (0, True, Profile.TRAIN), (1, False, Profile.TRAIN)],
)
def test_images_of_others_are_waited_for_until_the_first_round(
    plan, generator, rounds, pooled, expected
):
    declared = DeclaredOutput(name="generator.safetensors", kind="generator", max_bytes=9)
    full = plan.model_copy(update={"generator": generator, "outputs": (*plan.outputs, declared)})
    found = next_profile(full, rounds_started=rounds, has_generator=True, has_pool=pooled)
    assert found is expected


def test_a_plan_without_reports_ends_with_its_rounds(plan):
    bare = plan.model_copy(update={"reports": None})
    assert next_profile(bare, rounds_started=2, has_generator=False) is None

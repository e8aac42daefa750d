"""A rehearsal runs the plan's real jobs in a real sandbox, on phantoms; what breaks there is told.

Nothing of a hospital is needed: no site, no ledger, no relay.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from datasites.errors import SandboxError
from datasites.plans import ModelPart, make_bundle
from datasites.rehearsal import rehearse
from models import initial_weights, weights_to_bytes

MODEL_TEXT = """from torch import nn

def build(classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, classes))
"""


@pytest.fixture(scope="module")
def own(plan):
    return plan.model_copy(
        update={
            "classes": ("glioma", "notumor"),
            "model": ModelPart(name="model.py", image_size=32),
            "train": plan.train.model_copy(update={"steps": 2}),
            "generator": None,
        }
    )


def test_a_plans_job_is_run_on_mock_data(own):
    state = initial_weights("model.py", text=MODEL_TEXT, classes=2, image_size=32, seed=1)
    done = rehearse(make_bundle(own, MODEL_TEXT), weights_to_bytes(state))
    assert [(job.kind, job.steps_taken) for job in done] == [("train", 2)]
    assert 0 < done[0].work_s < done[0].slot_s == own.slots.first_train_s
    assert done[0].images == 48
    assert not done[0].is_near
    assert replace(done[0], work_s=0.6 * done[0].slot_s).is_near


def test_a_job_that_fails_is_told_with_what_it_printed(own):
    with pytest.raises(SandboxError, match=r"train job failed on mock data(.|\n)*Weights"):
        rehearse(make_bundle(own, MODEL_TEXT), b"no weights")

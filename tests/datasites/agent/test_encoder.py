"""An encoder of the researcher's choice at a hospital, from the plan to the trained head.

Proven, with a real agent and a real sandbox: a plan that names an encoder cannot be approved where
it is not; once it is, a head on it is trained and features are kept under its hash; a job is
refused, before anything is reserved, when the folder is gone, altered or another encoder's; a plan
that names none is served all the same.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import tomli_w
import torch

from datasites.agent.sandbox_pool import SandboxPool
from datasites.errors import PlanError, Reason, SandboxError
from datasites.owner.plan_review import review
from datasites.plans import ModelPart, make_bundle
from datasites.plans.answers import Status
from datasites.site.site import Site
from datasites.worker.protocol import Profile
from models import encoder_sha256, weights_from_bytes, weights_to_bytes
from models.encoder.card import WEIGHTS_FILE
from models.weights.card import CARD_FILE


def _hold(world, folder):
    """The owner names the folder in site.toml and starts the agent anew."""
    path = world.site.root / "site.toml"
    values = tomllib.loads(path.read_text())
    path.write_text(tomli_w.dumps({**values, "encoder": str(folder)}))
    while world.agents:
        world.agents.pop().close()
    world.site = Site.open(world.site.root)
    return world.start()


@pytest.fixture
def folder(own_encoder, tmp_path):
    return Path(shutil.copytree(own_encoder, tmp_path / "encoder"))


@pytest.fixture
def naming(world, plan, folder):
    """A world whose plan names an encoder that the site does not hold yet."""
    part = ModelPart(name="encoder_head", image_size=32, encoder_sha256=encoder_sha256(folder))
    world.submit_plan(make_bundle(plan.model_copy(update={"model": part}), None))
    world.weights = weights_to_bytes({"head.weight": torch.zeros(2, 9)})
    world.start().step()
    return world


def test_a_plan_with_an_encoder_is_approved_and_run_where_it_is_held(naming, folder, until):
    world = naming
    with pytest.raises(PlanError, match=r"set encoder in site.toml.*\[encoder\]"):
        world.approve()
    agent = _hold(world, folder)
    warnings = review(world.site, world.bundle.sha256).warnings
    assert any("nothing, they are random" in line for line in warnings)
    world.approve()
    kept = f"features-{encoder_sha256(folder)}.npy"
    for number in (1, 2):
        world.ask(world.task(f"t{number}", round=number))
        until(agent, lambda number=number: world.answer(f"t{number}"))
        assert world.answer(f"t{number}").status is Status.DONE
        state = weights_from_bytes(world.answers(f"t{number}")["weights.safetensors"])
        assert state["head.weight"].shape == (2, 9)
        assert state["head.weight"].norm() > 0
        assert [path.name for path in world.site.features.glob("*/*")] == [kept]


def test_a_job_is_refused_before_any_spend_when_the_encoder_is_not_there(naming, folder, cold):
    world = naming
    _hold(world, folder)
    world.approve()
    card, weights = (folder / CARD_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes()

    def refused(request):
        return world.refuse(world.task(request)).reason

    (folder / WEIGHTS_FILE).write_bytes(weights[:-1] + b"\1")
    assert refused("altered") is Reason.ENCODER_MISSING
    (folder / WEIGHTS_FILE).write_bytes(weights)
    told = json.loads(card)
    (folder / CARD_FILE).write_text(json.dumps({**told, "saw": ["other things"]}))
    assert refused("another") is Reason.ENCODER_MISSING
    shutil.rmtree(folder)
    assert refused("gone") is Reason.ENCODER_MISSING
    _hold(world, "")
    assert refused("unnamed") is Reason.ENCODER_MISSING


def test_who_trains_and_who_reports_sees_the_encoder_read_only_and_nobody_else(
    approved, folder, tmp_path
):
    world = approved
    _hold(world, folder)
    warm = SandboxPool(world.site)
    for profile, sees in zip(Profile, (True, False, False, True, False), strict=True):
        mounts = warm._mounts(world.bundle.sha256, profile)
        assert mounts.get("encoder") == (folder if sees else None)
    _hold(world, tmp_path / "nowhere")
    with pytest.raises(SandboxError, match="the site's encoder"):
        SandboxPool(world.site)._mounts(world.bundle.sha256, Profile.TRAIN)

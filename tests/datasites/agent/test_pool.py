"""Generators that leave for other hospitals, and images drawn from those of others.

Proven: an adapted generator leaves only by its owner's decision, standing leave or not, and is the
file that the receipt names; what comes from others is drawn in a sandbox that is shown nothing of
the site, costs no epsilon, is logged with its reason and its sources, and is mixed in by training.
"""

from __future__ import annotations

import io
import json
import tomllib

import numpy as np
import pytest
import tomli_w

from datasites.agent.sandbox_pool import SandboxPool
from datasites.desk import Desk, ItemKind, ItemState
from datasites.errors import OutputError, PlanError, Reason
from datasites.plans import (
    DeclaredOutput,
    DpPart,
    GenerateTask,
    PoolTask,
    Source,
    StableDiffusionPart,
    make_bundle,
)
from datasites.plans.answers import Status
from datasites.site.site import Site
from datasites.worker.files import JobFiles
from datasites.worker.generators import open_generator
from datasites.worker.protocol import Profile
from models import (
    checkpoint_sha256,
    pack_generators,
    weights_from_bytes,
    weights_to_bytes,
)
from models.training_scripts.tiny_stable_diffusion import write_tiny
from privacy import EntryKind, sha256_hex

GENERATOR = "generator.safetensors"
OTHER = "b@hospital.example"


@pytest.fixture
def pooling(world, plan, generator):
    """A world whose plan declares that its generator may leave."""
    declared = DeclaredOutput(name=GENERATOR, kind="generator", max_bytes=4_000_000)
    parts = {"generator": generator, "outputs": (*plan.outputs, declared)}
    world.submit_plan(make_bundle(plan.model_copy(update=parts), None))
    world.start().step()
    world.approve()
    return world


@pytest.fixture
def adapted(generator, plan):
    """A generator of the plan's make, as another hospital would release it."""
    return weights_to_bytes(open_generator(generator, classes=plan.classes).adapted())


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _pool_task(world, packed, *sources):
    return PoolTask(
        request="pool",
        plan_sha256=world.bundle.sha256,
        weights_sha256=sha256_hex(packed),
        sources=sources,
    )


def _made(hand, world, adapted):
    hand.begin(GenerateTask(request="gen", plan_sha256=world.bundle.sha256))
    hand.result(1)
    hand.write(
        synthetic_images__npy=_npy(np.zeros((2, 16, 16), np.uint8)),
        synthetic_labels__npy=_npy(np.array([0, 1])),
        generator__safetensors=adapted,
    )


@pytest.mark.parametrize("state", [ItemState.RELEASED, ItemState.WITHHELD])
def test_a_generator_waits_for_its_owner_whatever_leave_stands(pooling, by_hand_in, adapted, state):
    world, hand = pooling, by_hand_in(pooling)
    _made(hand, world, adapted)
    assert hand.job.approval.standing_release
    assert hand.finish().status is Status.HELD
    hand.agent.step()
    assert world.answer("gen") is None
    (item,) = Desk(world.site).items()
    assert (item.kind, item.state) == (ItemKind.GENERATOR, ItemState.HELD)
    Desk(world.site).decide(item.id, state=state, actor="ann", reason="internal words")
    hand.agent.step()
    files = world.answers("gen")
    assert world.answer("gen").reason is None
    assert b"internal words" not in b"".join(files.values())
    if state is ItemState.WITHHELD:
        assert set(files) == {"answer.json"}
        return
    assert files[GENERATOR] == adapted
    receipt = json.loads(world.answer("gen").receipt)["receipt"]
    assert receipt["outputs"] == {GENERATOR: sha256_hex(adapted)}
    logged = [s.entry for s in world.site.ledger.entries() if s.entry.resource == item.id]
    released = next(e for e in logged if e.kind is EntryKind.OUTPUT_RELEASED)
    assert (released.actor, released.detail["kind"]) == ("ann", "generator")
    sent = len(world.kinds())
    hand.agent.step()
    assert len(world.kinds()) == sent


def test_a_generator_that_is_no_plain_weights_file_is_refused(pooling, by_hand_in, adapted):
    hand = by_hand_in(pooling)
    _made(hand, pooling, adapted[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(OutputError, match="NaN"):
        hand.finish()
    assert not Desk(pooling.site).items()


def test_a_job_that_draws_is_shown_nothing_of_the_site(pooling):
    assert SandboxPool(pooling.site)._mounts(pooling.bundle.sha256, Profile.POOL) == {}


def test_images_of_others_cost_nothing_are_logged_and_mixed_in(
    pooling, by_hand_in, adapted, until, tmp_path
):
    """The sandbox is real: it draws from two generators and leaves their images."""
    world, hand = pooling, by_hand_in(pooling)
    packed = pack_generators([adapted, adapted])
    sources = (Source(hospital=OTHER, sha256=sha256_hex(adapted)),) * 2
    task = _pool_task(world, packed, *sources)
    world.ask(task.model_copy(update={"request": "early"}), weights=packed)
    hand.agent.step()
    assert world.answer("early").reason is Reason.GENERATOR_MISSING
    _made(hand, world, adapted)
    hand.finish()
    before = world.site.ledger.account().epsilon()
    world.ask(task, weights=packed)
    until(hand.agent, lambda: world.answer("pool"))
    answer = world.answer("pool")
    assert (answer.status, answer.reason) == (Status.DONE, None)
    receipt = json.loads(answer.receipt)["receipt"]
    assert (receipt["event"]["class_name"], receipt["outputs"]) == ("NoOpDpEvent", {})
    assert world.site.ledger.account().epsilon() == before
    entries = [sealed.entry for sealed in world.site.ledger.entries()]
    (pooled,) = [e for e in entries if e.kind is EntryKind.IMAGES_POOLED]
    assert "no epsilon" in pooled.reason
    assert [s["hospital"] for s in pooled.detail["sources"]] == [OTHER] * 2
    reserved = [e for e in entries if e.kind is EntryKind.SPEND_RESERVED][-1]
    assert reserved.reason == "a run of pool, at no cost: post-processing of what was released"
    folder = world.site.synthetic(world.bundle.sha256)
    about = json.loads((folder / "pooled.json").read_text())
    assert about["synthetic"] is True
    assert np.load(folder / "pooled_sources.npy").tolist() == [0, 0, 1, 1]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic").symlink_to(folder)
    images, labels = JobFiles(tmp_path).synthetic()
    assert images.shape == (6, 16, 16)
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    world.ask(task.model_copy(update={"request": "again"}), weights=packed)
    hand.agent.step()
    assert world.answer("again").reason is Reason.DUPLICATE_REQUEST


def test_stable_diffusion_is_adapted_in_a_sandbox_and_waits_for_its_owner(
    world, plan, generator, until, tmp_path
):
    """End to end at a hospital: a checkpoint of random components, DP-SGD, images, the desk."""
    folder = write_tiny(tmp_path / "tiny")
    part = StableDiffusionPart(
        **generator.model_dump(include=set(DpPart.model_fields)),
        checkpoint_sha256=checkpoint_sha256(folder),
        image_size=16,
        prompt="a brain with {class}",
    )
    declared = DeclaredOutput(name=GENERATOR, kind="generator", max_bytes=4_000_000)
    parts = {"generator": part, "outputs": (*plan.outputs, declared)}
    world.submit_plan(make_bundle(plan.model_copy(update=parts), None))
    world.start().step()
    with pytest.raises(PlanError, match="generator_checkpoint"):
        world.approve()
    values = tomllib.loads((world.site.root / "site.toml").read_text())
    values["generator_checkpoint"] = str(folder)
    (world.site.root / "site.toml").write_text(tomli_w.dumps(values))
    world.agents.pop().close()
    world.site = Site.open(world.site.root)
    agent = world.start()
    world.approve()
    world.ask(GenerateTask(request="gen", plan_sha256=world.bundle.sha256))
    until(agent, lambda: Desk(world.site).items())
    (item,) = Desk(world.site).items()
    state = weights_from_bytes(Desk(world.site).files(item)[GENERATOR])
    assert all("lora_" in name for name in state)
    images = np.load(world.site.synthetic(world.bundle.sha256) / "synthetic_images.npy")
    assert images.shape == (2, 16, 16)
    committed = [s.entry for s in world.site.ledger.entries()]
    (spend,) = [e for e in committed if e.kind is EntryKind.SPEND_COMMITTED][-1:]
    assert spend.detail["event"]["class_name"] == "SelfComposedDpEvent"

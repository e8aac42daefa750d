"""Synthetic images wait: no job trains on them before the owner accepted them, then or beforehand.

The generator's job is played by the test; what it leaves goes the real way.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from typer.testing import CliRunner

from datasites.cli import decisions
from datasites.errors import PlanError, Reason
from datasites.ingest import load_shard
from datasites.owner.plan_review import revoke
from datasites.owner.synthetic_images import Synthetic, accept_beforehand, decide, state_of
from datasites.plans import GenerateTask, make_bundle

IMAGES = "synthetic_images.npy"


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.fixture
def mixing(world, plan, generator):
    """A world whose plan mixes in synthetic images; nothing is approved yet."""
    train = plan.train.model_copy(update={"synthetic_weight": 0.5})
    parts = {"generator": generator, "train": train}
    world.submit_plan(make_bundle(plan.model_copy(update=parts), None))
    world.start().step()
    return world


@pytest.fixture
def generate(mixing, by_hand_in):
    """Approve on these terms, and have the generator leave noise, or copies of real images."""

    def run(*, copies: bool = False, before=lambda: None, **terms):
        mixing.approve(**terms)
        by_hand = by_hand_in(mixing)
        by_hand.begin(GenerateTask(request="gen", plan_sha256=mixing.bundle.sha256))
        images = np.random.default_rng(1).integers(0, 255, (2, 16, 16)).astype(np.uint8)
        if copies:
            real = np.array(load_shard(mixing.site.shard("train")).images[:2])
            images = real[:, ::2, ::2].copy()
        by_hand.result(1)
        by_hand.write(
            synthetic_images__npy=_npy(images), synthetic_labels__npy=_npy(np.array([0, 1]))
        )
        before()
        by_hand.finish()
        return mixing

    return run


def _said(command: str, world, *words: str) -> str:
    site = str(world.site.root)
    named = () if command == "status" else (world.bundle.sha256[:12],)
    done = CliRunner().invoke(decisions.app, [command, site, *named, *words])
    return done.output if done.exception is None else str(done.exception)


def _state(world) -> Synthetic:
    return state_of(world.site, world.bundle.sha256)


def _entry(world):
    return [one.entry for one in world.site.ledger.entries()][-1]


def _starts(world, request: str) -> bool:
    """Whether a training request gets past every check (it is not run)."""
    agent = world.agents[-1]
    before = world.kinds().count("spend_reserved")
    task = world.task(request)
    world.ask(task)
    paired = agent._link.paired()
    for inbound in agent._link.fetch():
        assert agent._inbox.take(inbound, sender_key=paired[inbound.sender]) is None
    checked = agent._admission.check(
        agent._book.get(request), sender_key=next(iter(paired.values()))
    )
    assert world.kinds().count("spend_reserved") == before
    return checked.task == task


def test_nothing_trains_on_images_that_nobody_looked_at(generate):
    world = generate()
    assert _state(world) is Synthetic.UNDECIDED
    assert world.refuse(world.task("t1")).reason is Reason.SYNTHETIC_UNDECIDED
    decide(world.site, world.bundle.sha256, accept=True, owner="ann", reason="looked at all")
    assert _state(world) is Synthetic.ACCEPTED
    entry = _entry(world)
    assert (entry.kind.value, entry.actor, entry.reason) == (
        "synthetic_accepted",
        "ann",
        "looked at all",
    )
    assert set(entry.detail) == {"images_sha256"}
    assert _starts(world, "t2")


def test_discarded_images_are_gone_and_the_researcher_learns_a_code(generate):
    world = generate()
    decide(world.site, world.bundle.sha256, accept=False, owner="ann", reason="copies of 3")
    assert _state(world) is Synthetic.DISCARDED
    assert _entry(world).kind.value == "synthetic_discarded"
    assert not list(world.site.synthetic(world.bundle.sha256).iterdir())
    answer = world.refuse(world.task("t1"))
    assert answer.reason is Reason.SYNTHETIC_DISCARDED
    assert b"copies of 3" not in world.answers("t1")["answer.json"]
    with pytest.raises(PlanError, match="discarded"):
        decide(world.site, world.bundle.sha256, accept=True, owner="ann", reason="again")


@pytest.mark.parametrize("copies", [False, True])
def test_images_accepted_beforehand_are_so_whatever_they_show(generate, copies):
    """A rule that looked would say without noise whether they resemble a patient who is here."""
    world = generate(accept_synthetic=True, copies=copies)
    assert _state(world) is Synthetic.ACCEPTED
    [entry] = [
        one.entry
        for one in world.site.ledger.entries()
        if one.entry.kind.value == "synthetic_accepted"
    ]
    assert (entry.actor, entry.reason) == ("ann", "accepted with the approval, whatever they show")
    assert _starts(world, "t1")


def test_leave_given_beforehand_ends_with_its_approval(generate, mixing):
    world = generate(
        accept_synthetic=True,
        before=lambda: revoke(mixing.site, mixing.bundle.sha256, reviewer="ann", reason="no"),
    )
    assert _state(world) is Synthetic.UNDECIDED
    assert world.refuse(world.task("t1")).reason is Reason.APPROVAL_REVOKED


@pytest.mark.parametrize("what", ["images", "decision", "a pool came"])
def test_what_was_altered_since_is_not_accepted(generate, what):
    world = generate(accept_synthetic=True)
    sha = world.bundle.sha256
    if what == "images":
        (world.site.synthetic(sha) / IMAGES).write_bytes(_npy(np.ones((2, 16, 16), np.uint8)))
    elif what == "a pool came":
        for name in ("pooled_labels.npy", "pooled_sources.npy", "pooled.json", "pooled_images.npy"):
            (world.site.synthetic(sha) / name).write_bytes(_npy(np.ones((1, 16, 16), np.uint8)))
    else:
        path = world.site.root / "approvals" / f"{sha}.synthetic.json"
        path.write_text(path.read_text().replace('"ann"', '"eve"'))
    assert _state(world) is Synthetic.UNDECIDED
    assert world.refuse(world.task("t1")).reason is Reason.SYNTHETIC_UNDECIDED


@pytest.mark.parametrize("target", ["a patient of the shard", "nobody here"])
def test_whether_a_pool_is_accepted_tells_nothing_of_who_is_here(generate, target):
    """A pool's weights come from outside: a researcher can have them draw any image they like."""
    world = generate(accept_synthetic=True)
    folder = world.site.synthetic(world.bundle.sha256)
    real = np.array(load_shard(world.site.shard("train")).images[:2])[:, ::2, ::2]
    noise = np.random.default_rng(7).integers(0, 255, (2, 16, 16)).astype(np.uint8)
    drawn = real if target == "a patient of the shard" else noise
    for name in ("pooled_labels.npy", "pooled_sources.npy", "pooled.json"):
        (folder / name).write_bytes(_npy(np.zeros(2, np.int64)))
    (folder / "pooled_images.npy").write_bytes(_npy(drawn))
    assert _state(world) is Synthetic.UNDECIDED
    accept_beforehand(world.site, world.bundle.sha256)
    assert _state(world) is Synthetic.ACCEPTED
    assert "of 2 nearer than" in _said("copies", world)  # its own two, none of the pool's


def test_a_decision_needs_a_name_a_reason_and_images(mixing, generate):
    sha = mixing.bundle.sha256
    with pytest.raises(PlanError, match="no synthetic images here"):
        decide(mixing.site, sha, accept=True, owner="ann", reason="r")
    generate()
    for owner, reason in (("", "r"), ("ann", " ")):
        with pytest.raises(PlanError, match="who decides and why"):
            decide(mixing.site, sha, accept=True, owner=owner, reason=reason)
    decide(mixing.site, sha, accept=True, owner="ann", reason="r")
    with pytest.raises(PlanError, match="accepted already"):
        decide(mixing.site, sha, accept=True, owner="bob", reason="r")


def test_the_owner_looks_and_decides_from_the_command_line(mixing, generate):
    assert "no synthetic images here yet" in _said("copies", mixing)
    world = generate(copies=True)
    assert f"dura site copies {world.site.root} {world.bundle.sha256[:12]}" in _said(
        "status", world
    )
    said = _said("copies", world)
    assert "must not leave this hospital" in said
    assert "of 2 nearer than" in said
    assert "state: undecided" in said
    assert "not both" in _said("copies", world, "--accept", "--discard")
    assert "who decides" in _said("copies", world, "--accept", "--as", "ann")
    by = ("--as", "ann", "--reason", "looked")
    assert "may train on them" in _said("copies", world, "--accept", *by)
    assert "state: accepted" in _said("copies", world)
    assert "synthetic images to decide on" not in _said("status", world)
    assert "discarded, and removed" in _said("copies", world, "--discard", *by)
    assert "no synthetic images here" in _said("copies", world)

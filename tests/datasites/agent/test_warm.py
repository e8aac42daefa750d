"""Which sandbox is kept warm: what the plan's next task needs; none once the plan is done."""

from __future__ import annotations

import pytest

from datasites.agent.sandbox_pool import SandboxPool, next_profile
from datasites.errors import SandboxError
from datasites.plans import DeclaredOutput
from datasites.sandbox import JobFolder, remove_tree
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


class Waiting:
    """Stands for a started sandbox, of which nothing is asked here but how it is."""

    alive, ready = True, True

    def __init__(self, folder):
        self.folder, self.ended = JobFolder(folder), False
        self.folder.create()
        self.folder.log.write_text("no memory")

    def discard(self):
        self.ended = True
        remove_tree(self.folder.root)


@pytest.fixture
def warm(world, monkeypatch, tmp_path):
    made, count = SandboxPool(world.site), iter(range(9))
    monkeypatch.setattr(made, "_start", lambda *_: Waiting(tmp_path / f"box{next(count)}"))
    return made


def test_a_sandbox_that_shows_the_former_shard_gets_no_job(world, warm):
    """New images came in while it waited; its mount shows the old ones, or an empty folder."""
    sha = world.bundle.sha256
    warm.keep(sha, Profile.TRAIN)
    first = warm._waiting[sha, Profile.TRAIN].sandbox
    warm.keep(sha, Profile.TRAIN)
    assert warm._waiting[sha, Profile.TRAIN].sandbox is first
    card = world.site.card()
    for number, ask in enumerate((warm.keep, warm.take)):
        waiting = warm._waiting[sha, Profile.TRAIN].sandbox
        other = card.model_copy(update={"dataset_version": str(number) * 64})
        (world.site.root / "card.json").write_text(other.model_dump_json())
        assert ask(sha, Profile.TRAIN) is None
        assert warm._waiting[sha, Profile.TRAIN].sandbox is not waiting
        assert waiting.ended
        assert not waiting.folder.root.exists()


def test_a_job_waits_until_its_sandbox_is_ready_and_it_is_not_thrown_away(world, warm):
    """Its slot is for work; and what the plan needs next is not what was asked for."""
    sha = world.bundle.sha256
    assert warm.take(sha, Profile.REPORT) is None
    box = warm._waiting[sha, Profile.REPORT].sandbox
    box.ready = False
    assert warm.take(sha, Profile.REPORT) is None
    warm.keep(sha, Profile.TRAIN)
    assert not box.ended
    box.ready = True
    assert warm.take(sha, Profile.REPORT) is box
    assert warm._awaited is None


def test_a_sandbox_that_ends_before_its_job_is_started_once_more_only_when_nobody_waited(
    world, warm
):
    sha = world.bundle.sha256
    warm.keep(sha, Profile.TRAIN)
    warm._waiting[sha, Profile.TRAIN].sandbox.alive = False
    assert warm.take(sha, Profile.TRAIN) is None
    warm._waiting[sha, Profile.TRAIN].sandbox.alive = False
    with pytest.raises(SandboxError, match="no memory"):
        warm.take(sha, Profile.TRAIN)
    assert warm.take(sha, Profile.TRAIN) is None


def test_a_plan_without_reports_ends_with_its_rounds(plan):
    bare = plan.model_copy(update={"reports": None})
    assert next_profile(bare, rounds_started=2, has_generator=False) is None

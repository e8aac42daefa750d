"""A rehearsal: a plan's jobs on mock data, in the same sandbox, before any hospital is asked.

What works here works at a hospital with the same Dura, up to its data. Nothing private is read
and no budget is touched. What a job took stands beside its slot in the plan: one that is not done
in its slot at a hospital leaves noise alone, for the price of a round.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasites.errors import SandboxError
from datasites.ingest import make_shard, save_shard
from datasites.plans import (
    MODEL_FILE,
    WEIGHTS_FILE,
    Bundle,
    GenerateTask,
    Task,
    TrainTask,
    slot_s,
    work_time_s,
)
from datasites.sandbox import (
    Ending,
    JobFolder,
    Limits,
    SandboxProcess,
    require_sandbox,
    take_output,
)
from datasites.worker import CHECKPOINT, ENCODER, JOB_FILE, RESULT_FILE, Claim, Job, Profile, Result
from models import draw_phantoms, find_checkpoint
from privacy import sha256_hex

PER_CLASS = 24
NEAR = 0.5
"""Share of the time for work in a slot from which on a hospital may well not keep to it."""


@dataclass(frozen=True)
class Rehearsal:
    """How one job went on mock data.

    Attributes:
        kind: the job's kind. steps_taken: noised steps. work_s: seconds of work in the sandbox.
        slot_s: the plan's slot for it. images: how many it saw.
    """

    kind: str
    steps_taken: int
    work_s: float
    slot_s: float
    images: int

    @property
    def is_near(self) -> bool:
        """Whether a hospital with more images, or a slower machine, may not keep to the slot."""
        return self.work_s > NEAR * work_time_s(self.slot_s)


def rehearse(
    bundle: Bundle, weights: bytes, *, checkpoint: str = "", encoder: Path | None = None
) -> list[Rehearsal]:
    """Run the plan's training jobs once each on phantoms.

    Args:
        bundle: the plan to be submitted.
        weights: initial weights of its classifier.
        checkpoint: folder or Hub id of the Stable Diffusion checkpoint that it adapts, if it does.
        encoder: folder of the encoder that it names, if it names one.

    Raises:
        SandboxError: there is no sandbox here, or a job failed; the message ends with what the
            job printed.
    """
    plan = bundle.plan
    tasks: list[Task] = []
    if plan.generator is not None:
        tasks.append(GenerateTask(request="rehearsal", plan_sha256=bundle.sha256))
    tasks.append(
        TrainTask(
            request="rehearsal",
            plan_sha256=bundle.sha256,
            round=1,
            weights_sha256=sha256_hex(weights),
            steps=plan.train.steps,
            learning_rate=plan.train.learning_rate.low,
        )
    )
    with tempfile.TemporaryDirectory(prefix="dura-rehearsal-") as folder:
        root = Path(folder)
        version = _mock_shard(bundle, root / "train")
        (root / "synthetic").mkdir()
        mounts = {name: root / name for name in ("train", "synthetic")}
        if checkpoint:
            mounts[CHECKPOINT] = find_checkpoint(checkpoint)
        if encoder is not None:
            mounts[ENCODER] = encoder
        # All warm up side by side; the jobs follow one another.
        sandboxes = [_start(task, root, mounts) for task in tasks]
        try:
            return [
                _run(task, bundle, weights, sandbox, version)
                for task, sandbox in zip(tasks, sandboxes, strict=True)
            ]
        finally:
            for sandbox in sandboxes:
                sandbox.discard()


def _mock_shard(bundle: Bundle, folder: Path) -> str:
    """Write phantoms as a shard; returns its version."""
    plan = bundle.plan
    mock = draw_phantoms(
        counts=dict.fromkeys(plan.classes, PER_CLASS), size=plan.model.image_size, seed=1
    )
    shard = make_shard(
        images=mock.images,
        labels=mock.labels,
        units=np.arange(len(mock.labels)),
        classes=plan.classes,
        rules="mock",
    )
    save_shard(shard, folder)
    return shard.version


def _start(task: Task, root: Path, mounts: dict[str, Path]) -> SandboxProcess:
    return SandboxProcess(
        Profile(task.kind),
        folder=JobFolder(root / f"job-{task.kind}"),
        data=mounts,
        installation=require_sandbox(),
        limits=Limits(),
    )


def _run(
    task: Task, bundle: Bundle, weights: bytes, sandbox: SandboxProcess, dataset_version: str
) -> Rehearsal:
    job = Job(
        plan=bundle.plan,
        task=task,
        dataset_version=dataset_version,
        shard_sha256=dataset_version,
        published_units=float(PER_CLASS * len(bundle.plan.classes)),
        hospital="rehearsal",
        pseudonym_key="00",
        claim=Claim(epsilon=0.0, delta=1e-5, unit="mock image"),
    )
    inputs = {JOB_FILE: job.model_dump_json().encode(), WEIGHTS_FILE: weights}
    if MODEL_FILE in bundle.files:
        inputs[MODEL_FILE] = bundle.files[MODEL_FILE]
    sandbox.dispatch(inputs)
    ending = sandbox.wait()
    if ending is not Ending.DONE:
        tail = sandbox.folder.log.read_bytes()[-1500:].decode(errors="replace")
        raise SandboxError(f"the {task.kind} job {ending} on mock data; it printed:\n{tail}")
    data = take_output(sandbox.folder.outputs, RESULT_FILE, max_bytes=65_536)
    result = Result.model_validate_json(data)
    return Rehearsal(
        task.kind,
        result.steps_taken,
        result.work_s,
        slot_s(task, plan=bundle.plan, rounds_started=()),
        PER_CLASS * len(bundle.plan.classes),
    )

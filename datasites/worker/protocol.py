"""What a job is told and what it tells, as files in its folder.

`/job/in/job.json` is a `Job`; beside it lie the bundle's files and, where the task says so,
`weights.safetensors`. The job leaves `result.json` (a `Result`) and its declared files in
`/job/out`: first those of the same job without any data, under names that begin with `NOISE_ONLY`,
which no declared output's can; then its own. A result is believed in the plan tier because only
Dura's own code runs there; the agent still checks that no more steps are claimed than were
reserved.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from datasites.plans import Plan, ReportDtype, Task

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
LOOKED_AT = "plan.json"
"""The plan whose model is looked at."""
FACTS_FILE = "facts.json"
"""What looking at it found, `datasites.plans.ModelFacts`."""
NOISE_ONLY = "_noise-only."
"""How the names of the noise-only outputs begin."""
REPORTS_FILE = "reports.json"
FEATURES = "features.npy"
MOST_FEATURES = 256 * 1024 * 1024
"""Bytes of features that are kept; of larger shards they are computed in each step."""
SYNTHETIC_IMAGES = "synthetic_images.npy"
SYNTHETIC_LABELS = "synthetic_labels.npy"
CHECKPOINT = "checkpoint"
ENCODER = "encoder"
GENERATOR_FILE = "generator.safetensors"
POOLED_IMAGES = "pooled_images.npy"
POOLED_LABELS = "pooled_labels.npy"
POOLED_SOURCES = "pooled_sources.npy"
POOLED_ABOUT = "pooled.json"


def kept_features(encoder_sha256: str | None) -> str:
    """The name under which features by an encoder are kept; None is the shipped one."""
    return FEATURES if encoder_sha256 is None else f"features-{encoder_sha256}.npy"


class Profile(StrEnum):
    """What a sandbox is warmed for, and so what it may see of the site's data."""

    TRAIN = "train"
    GENERATE = "generate"
    POOL = "pool"
    REPORT = "report"
    LOOK = "look"


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Claim(_Message):
    """The privacy claim a report states.

    Attributes:
        epsilon: of everything this hospital has spent, this task included.
        delta: the hospital's.
        unit: the unit of privacy.
    """

    epsilon: float
    delta: float
    unit: str


class Job(_Message):
    """One job.

    Attributes:
        plan: the approved plan.
        task: what was asked under it.
        dataset_version: of the training shard that was approved and is paid for, as published.
        shard_sha256: the private hash of that shard; a job that sees another one does nothing. It
            stays in the hospital: an output that held it would tell of every image.
        published_units: the hospital's published, noised number of privacy units. Gradients are
            divided by sampling rate times this, never by an exact or realised count.
        hospital: the hospital's display name.
        pseudonym_key: hex; makes case pseudonyms that only this hospital can resolve.
        claim: what reports may state.
        report_dtype: number type of the report model's weights.
        report_device: where the report model runs, as the sandbox calls it.
    """

    plan: Plan
    task: Annotated[Task, Field(discriminator="kind")]
    dataset_version: str
    shard_sha256: str
    published_units: Annotated[float, Field(gt=0)]
    hospital: str
    pseudonym_key: str
    claim: Claim
    report_dtype: ReportDtype = "auto"
    report_device: Literal["cpu", "cuda:0"] = "cpu"


class Result(_Message):
    """How a job went.

    Attributes:
        steps_taken: noised steps taken (0 for a job that takes none).
        work_s: seconds from the job's start to this result, without start-up; for a rehearsal and
            the owner, never for a researcher.
    """

    steps_taken: int
    work_s: float


class DraftReport(_Message):
    """One report as the job drafted it; it is held until the owner decides.

    Attributes:
        name: unique in the job, `case-SLOT`, `hospital` or `global`.
        kind: `case`, `hospital` or `global`.
        text: the verified text.
        facts: the facts document, JSON.
        source: `llama`, or `template` when no draft of the model's passed verification.
        attempts: drafts the model made.
    """

    name: str
    kind: str
    text: str
    facts: str
    source: str
    attempts: int


class DraftReports(_Message):
    """All drafts of one job; of the plan's slots for cases those that hold one."""

    reports: tuple[DraftReport, ...]

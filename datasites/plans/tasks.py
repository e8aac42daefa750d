"""Tasks: what a researcher asks for under an approved plan, one message each.

A task names the plan by its hash and carries only what may vary within the approved ranges.
Its request id makes it unique: a hospital serves each id at most once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from datasites.plans.generators import Sha256
from datasites.plans.parse import parse_as
from datasites.plans.plan import Email, Name, NotNegative

TASK_FILE = "task.json"
WEIGHTS_FILE = "weights.safetensors"
CORRECTION_FILE = "correction.safetensors"

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Task(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    request: Name
    plan_sha256: Sha256


class GenerateTask(_Task):
    """Train the plan's generator and keep its synthetic images at the hospital."""

    kind: Literal["generate"] = "generate"


class Source(BaseModel):
    """A released generator of another hospital.

    Attributes:
        hospital: whose it is, as the researcher says.
        sha256: of the file it released, which its receipt names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    hospital: Email
    sha256: Sha256


class PoolTask(_Task):
    """Draw images from other hospitals' released generators, to mix in with one's own.

    Attributes:
        weights_sha256: of the file that comes along, in which all of them are packed.
        sources: whose they are, in order.
    """

    kind: Literal["pool"] = "pool"
    weights_sha256: Sha256
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=64, strict=False)]


class TrainTask(_Task):
    """Train one round from the global weights that come with the task.

    Attributes:
        correction_sha256: of a correction that comes along and is added to the gradient of every
            step (SCAFFOLD); None for none.
    """

    kind: Literal["train"] = "train"
    round: Annotated[int, Field(ge=1, le=1_000)]
    weights_sha256: Sha256
    steps: Annotated[int, Field(ge=1, le=10_000)]
    learning_rate: NotNegative
    proximal_mu: NotNegative = 0.0
    correction_sha256: Sha256 | None = None


class GlobalScores(BaseModel):
    """The researcher's own evaluation of the global model, for the global report."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    n_cases: Annotated[int, Field(ge=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    macro_f1: Annotated[float, Field(ge=0, le=1)]
    confusion: Annotated[tuple[tuple[int, ...], ...], Field(strict=False)]


class RoundAccuracy(BaseModel):
    """The global model's accuracy on the researcher's own test cases after one round."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    round: Annotated[int, Field(ge=1, le=1_000)]
    accuracy: Fraction


class ReportTask(_Task):
    """Write reports on the hospital's own test cases with the weights that come along.

    What it tells a hospital of the study is the researcher's own, and of other hospitals no more
    than the plan tells: their number; their shares one by one only where the plan names them.

    Attributes:
        rounds: of training. hospitals: how many approved.
        scores: for the report on the global model; None for no such report.
        trend: over the rounds, on the researcher's own test cases.
        share: this hospital's mean weight in the aggregates; None where hospitals are not weighed.
        shares: every hospital's, in the order of the plan's names; empty where it names none.
    """

    kind: Literal["report"] = "report"
    weights_sha256: Sha256
    rounds: Annotated[int, Field(ge=1, le=1_000)]
    hospitals: Annotated[int, Field(ge=1, le=1_000)]
    scores: GlobalScores | None = None
    trend: Annotated[tuple[RoundAccuracy, ...], Field(max_length=1_000, strict=False)] = ()
    share: Fraction | None = None
    shares: Annotated[tuple[Fraction, ...], Field(max_length=1_000, strict=False)] = ()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> ReportTask:
        numbers = [point.round for point in self.trend]
        if numbers != sorted(set(numbers)) or (numbers and numbers[-1] > self.rounds):
            raise ValueError(f"trend gives the rounds {numbers} of {self.rounds}; each once")
        if self.shares and abs(sum(self.shares) - 1.0) > 1e-6:
            raise ValueError(f"shares sum to {sum(self.shares):g}, not to 1")
        return self


Task = GenerateTask | PoolTask | TrainTask | ReportTask
_ADAPTER: pydantic.TypeAdapter[Task] = pydantic.TypeAdapter(
    Annotated[Task, Field(discriminator="kind")]
)


def parse_task(data: bytes) -> Task:
    """The task in `data` (JSON).

    Raises:
        PlanError: names the field that is wrong and why.
    """
    return parse_as(_ADAPTER, data, what="task")


def files_of(task: Task) -> dict[str, str]:
    """The files that come with a task, by name: the SHA-256 that it names for each."""
    named = {
        WEIGHTS_FILE: getattr(task, "weights_sha256", None),
        CORRECTION_FILE: getattr(task, "correction_sha256", None),
    }
    return {name: sha256 for name, sha256 in named.items() if sha256 is not None}


def task_bytes(task: Task) -> bytes:
    """The task as JSON."""
    return task.model_dump_json().encode()

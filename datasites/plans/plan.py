"""The plan: what a researcher asks a hospital to run, as data.

A plan names everything that will be executed (a registered classifier or a `model.py` that is
interpreted, never executed), every parameter as a value or a range, the noise, and each output
that may leave. It is what people review, what the approval pins and what the sandbox is given.
Unknown fields, NaN, infinities and numbers out of bounds are refused by name.

The privacy unit, the delta of the hospital and its budget are not in a plan: they are the
hospital's own.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasites.errors import PlanError
from datasites.plans.generators import (
    AnyGenerator,
    ClippingNorm,
    NoiseMultiplier,
    Rate,
    Sha256,
)
from datasites.plans.parse import parse_model
from models import ENCODER_HEAD

MODEL_FILE = "model.py"
PLAN_FILE = "plan.json"

NotNegative = Annotated[float, Field(ge=0, le=1e6)]
"""Learning rates and weights of terms: far beyond any of use, and no product of theirs with the
largest noise leaves the range of a float32."""
ClassName = Annotated[str, Field(min_length=1, max_length=100)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$"
Name = Annotated[str, Field(pattern=NAME)]
Email = Annotated[str, Field(pattern=r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,128}$")]
ReportDtype = Literal["auto", "float32", "bfloat16", "float16"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Range(_Part):
    """An approved range; a round's value must lie in it, ends included."""

    low: NotNegative
    high: NotNegative

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the range (False for NaN)."""
        return self.low <= value <= self.high


class ModelPart(_Part):
    """The classifier: a registered name, or `model.py` for the bundle's own file.

    Attributes:
        name: of the classifier.
        image_size: pixels a side.
        encoder_sha256: of the encoder that `encoder_head` stands on, see `models.encoder.card`;
            each hospital has it in a folder of its own (`encoder` in `site.toml`). None for the
            shipped one.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,40}$")]
    image_size: Annotated[int, Field(ge=16, le=256)]
    encoder_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelPart:
        if self.encoder_sha256 is not None and self.name != ENCODER_HEAD:
            raise ValueError(
                f"encoder_sha256 names an encoder, but only {ENCODER_HEAD} stands on one of the "
                f"researcher's choice, not {self.name!r}"
            )
        return self


class AugmentPart(_Part):
    """Classical augmentation of real images; an independent draw per image.

    Attributes:
        horizontal_flip, shift, rotate_deg, scale, brightness: see `models.AugmentSettings`.
        views: augmentation multiplicity K (De et al. 2022, arXiv 2204.13650, section 3.2): a step
            sees K independent augmentations of each image. A unit's gradient is the mean over its
            images' views, and that mean is clipped: a unit moves a step by the clipping norm
            at most, whatever K, so the event and epsilon stay the same. Time grows by K. Of a
            unit with many images a step takes 64 views, drawn at random among all of them.
    """

    horizontal_flip: bool = True
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    rotate_deg: Annotated[float, Field(ge=0, le=45)] = 5.0
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    brightness: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    views: Annotated[int, Field(ge=1, le=32)] = 1

    def variation(self) -> dict[str, Any]:
        """How far an image is varied: the fields of `models.AugmentSettings`."""
        return self.model_dump(exclude={"views"})


class TrainPart(_Part):
    """DP-SGD of the classifier, one task a round.

    Attributes:
        steps: noised steps a round (at most; a task may ask for fewer).
        sampling_rate: probability with which each privacy unit enters a step.
        noise_multiplier: standard deviation of the noise over the clipping norm.
        clipping_norm: L2 bound of one unit's gradient.
        learning_rate: range a task's value must lie in.
        momentum: of the local SGD.
        proximal_mu: range of FedProx' term (0 for none).
        correction: whether a task may bring a correction that is added to the gradient of every
            step after clipping and noise (SCAFFOLD, Karimireddy et al. 2020, arXiv 1910.06378).
            Whatever it says, it was made from what had left already: post-processing, no epsilon.
        synthetic_weight: weight of the loss on the hospital's own DP-synthetic images.
        augment: classical augmentation, None for none.
    """

    steps: Annotated[int, Field(ge=1, le=10_000)]
    sampling_rate: Rate
    noise_multiplier: NoiseMultiplier
    clipping_norm: ClippingNorm
    learning_rate: Range
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    proximal_mu: Range = Range(low=0.0, high=0.0)
    correction: bool = False
    synthetic_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    augment: AugmentPart | None = None


class ReportPart(_Part):
    """Evaluation and reports at the hospital on its own test cases.

    The noised counts leave as DP weights do; every report is held for a release decision.

    Attributes:
        cases: slots for case reports, of which chance decides how many are filled.
        metrics_noise_multiplier: noise on confusion matrix and score histograms, over their
            joint L2 sensitivity for one unit.
        score_bins: steps of the score histograms.
        write_global: whether this plan asks for a report on the global evaluation as well.
        hospitals: names of the hospitals, which this plan tells all of them; only then may the
            global report, which one of them writes, give each one's share. Empty for not told.
    """

    cases: Annotated[int, Field(ge=0, le=1_000)]
    metrics_noise_multiplier: NoiseMultiplier
    score_bins: Annotated[int, Field(ge=2, le=100)] = 8
    write_global: bool = True
    hospitals: Annotated[tuple[Name, ...], Field(max_length=1_000, strict=False)] = ()


Seconds = Annotated[float, Field(ge=0.1, le=604_800, allow_inf_nan=False)]


class SlotPart(_Part):
    """How long each kind of job takes, in seconds from its dispatch into the sandbox.

    An answer leaves when its job's slot is over, however long the job worked: what a job takes
    depends on the images. A job that does not end in its slot is ended, and what leaves is noise
    alone, at the same cost.

    Attributes:
        first_train_s: the first training run under the plan, which computes frozen features.
        train_s: every later one.
        generate_s, pool_s, report_s: the other kinds.
    """

    first_train_s: Seconds = 300.0
    train_s: Seconds = 60.0
    generate_s: Seconds = 300.0
    pool_s: Seconds = 300.0
    report_s: Seconds = 300.0

    @property
    def longest_s(self) -> float:
        """The longest of them."""
        return max(self.model_dump().values())


def work_time_s(slot_s: float) -> float:
    """Seconds of a slot in which the job may work; in the rest its outputs are checked."""
    return slot_s - min(1.0, slot_s / 10)


class DeclaredOutput(_Part):
    """One file that may leave, with what it may contain."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]
    kind: Literal["weights", "report", "evaluation", "generator"]
    max_bytes: Annotated[int, Field(ge=1, le=512 * 1024 * 1024)]


class Plan(_Part):
    """A whole study as one hospital sees it."""

    version: Literal[1] = 1
    study: Name
    researcher: Email
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=64, strict=False)]
    rounds: Annotated[int, Field(ge=1, le=1_000)]
    model: ModelPart
    train: TrainPart
    generator: AnyGenerator | None = None
    reports: ReportPart | None = None
    slots: SlotPart = SlotPart()
    outputs: Annotated[tuple[DeclaredOutput, ...], Field(min_length=1, max_length=8, strict=False)]

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if self.train.synthetic_weight > 0 and self.generator is None:
            raise ValueError("train.synthetic_weight is above 0 but the plan has no generator")
        if self.pools and self.generator is None:
            raise ValueError("a generator is declared as an output, but the plan has none")
        names = [output.name for output in self.outputs]
        if len(set(names)) != len(names):
            raise ValueError(f"outputs are declared twice: {names}")
        return self

    @property
    def pools(self) -> bool:
        """Whether adapted generators may leave, and images of the others' be mixed in."""
        return any(output.kind == "generator" for output in self.outputs)

    @property
    def weights_output(self) -> DeclaredOutput:
        """The declared weights file.

        Raises:
            PlanError: the plan declares none.
        """
        for output in self.outputs:
            if output.kind == "weights":
                return output
        raise PlanError("the plan declares no output of kind 'weights'; add one to its outputs")


def parse_plan(data: bytes) -> Plan:
    """The plan in `data` (JSON).

    Raises:
        PlanError: names the field that is wrong and why.
    """
    return parse_model(Plan, data, what="plan")


def plan_bytes(plan: Plan) -> bytes:
    """The plan as indented JSON with sorted keys: the same plan gives the same bytes."""
    return (json.dumps(plan.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()

"""`study.toml`: what a researcher writes, checked, and the plan that follows from it.

The researcher asks for an epsilon; the noise multipliers that give it are calibrated here and
written into the plan. Each hospital computes the epsilon again from the plan, and believes
only its own figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from datasites import (
    EVALUATION_FILE,
    GENERATOR_FILE,
    REPORTS_FILE,
    AugmentPart,
    DeclaredOutput,
    Email,
    GeneratorPart,
    Name,
    Plan,
    PlanError,
    Range,
    ReportPart,
    SlotPart,
    StableDiffusionPart,
    TrainPart,
    checked_relay_url,
    explain,
    plan_events,
    read_toml,
)
from models import ModelsError, checkpoint_sha256, find_checkpoint, read_generator_card
from orchestrator.errors import StudyError
from orchestrator.study.model_spec import ModelSpec
from orchestrator.study.strategies import SCAFFOLD, StrategySettings
from privacy import calibrate_noise, compose, gaussian, poisson_gaussian

STUDY_FILE = "study.toml"
WEIGHTS_OUTPUT = "weights.safetensors"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class TrainSpec(_Part):
    """Training of a round; `learning_rate` is used, within the range asked to be approved.

    Attributes:
        views: augmentations of each image that a step averages before it clips; costs time and
            no epsilon (`datasites.plans.AugmentPart`); more than 1 needs `augment`.
    """

    steps: Annotated[int, Field(ge=1, le=10_000)] = 12
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    clipping_norm: Positive = 1.0
    learning_rate: Positive = 0.5
    learning_rate_range: Range = Range(low=0.0, high=4.0)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    augment: bool = True
    views: Annotated[int, Field(ge=1, le=32)] = 1
    synthetic_weight: Annotated[float, Field(ge=0, le=1)] = 0.0


class PrivacySpec(_Part):
    """What the study asks of each hospital's budget, per privacy unit.

    Attributes:
        epsilon: of the whole study, at
        delta.
        generator_share: part of epsilon that the generator alone may cost.
        metrics_share: part of epsilon that the noised test figures alone may cost.
    """

    epsilon: Positive = 7.8
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    generator_share: Share = 0.3
    metrics_share: Share = 0.2


class _DpSpec(_Part):
    """What every generator has; see `datasites.plans`.

    Attributes:
        pooled: whether hospitals mix in images of each other's generators, once released.
    """

    steps: Annotated[int, Field(ge=1, le=100_000)] = 10
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    clipping_norm: Positive = 1.0
    learning_rate: Positive = 2e-3
    draws: Annotated[int, Field(ge=1, le=64)] = 2
    images_per_class: Annotated[int, Field(ge=1, le=2_000)] = 16
    sampling_steps: Annotated[int, Field(ge=1, le=1_000)] = 10
    rank: Annotated[int, Field(ge=1, le=64)] = 4
    pooled: bool = False


class GeneratorSpec(_DpSpec):
    """DP adaptation of the small diffusion UNet at each hospital."""

    kind: Literal["small"] = "small"
    start: Literal["scratch", "phantoms"] = "phantoms"
    trains: Literal["all", "norms", "lora"] = "lora"
    image_size: Annotated[int, Field(ge=16, le=128)] = 32


class StableDiffusionSpec(_DpSpec):
    """DP adaptation of a Stable Diffusion checkpoint at each hospital.

    Attributes:
        checkpoint: the researcher's own copy, a folder or a Hub id; the plan names its hash only.
    """

    kind: Literal["stable_diffusion"]
    checkpoint: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=16, le=1024)] = 256
    prompt: str = "a brain MRI, {class}"
    guidance: Annotated[float, Field(ge=1, le=20)] = 1.0


def _kind(values: object) -> str:
    told = values.get("kind", "small") if isinstance(values, dict) else getattr(values, "kind", "")
    return str(told)


AnyGeneratorSpec = Annotated[
    Annotated[GeneratorSpec, pydantic.Tag("small")]
    | Annotated[StableDiffusionSpec, pydantic.Tag("stable_diffusion")],
    pydantic.Discriminator(_kind),
]


class ReportSpec(_Part):
    """Evaluation on each hospital's own test cases, in noised counts, and reports about it.

    Attributes:
        cases: case reports each hospital drafts. score_bins: steps of the score histograms.
        hospitals: a name for each hospital, in the study's order, that the plan tells all of them;
            then the report on the global model names them with their shares. Empty for not told.
    """

    cases: Annotated[int, Field(ge=0, le=1_000)] = 2
    score_bins: Annotated[int, Field(ge=2, le=100)] = 8
    hospitals: Annotated[tuple[Name, ...], Field(max_length=1_000, strict=False)] = ()


class StrategySpec(_Part):
    """How updates become a model; names are Flower's. A setting the strategy lacks is refused.

    Attributes:
        max_update_norm: L2 bound on what one hospital may change in a round.
        average_last: rounds whose global weights are averaged into the final model (parameter
            averaging, De et al. 2022, arXiv 2204.13650): it takes noise off, and costs no epsilon.
    """

    name: str = "fedavg"
    proximal_mu: Annotated[float, Field(gt=0, le=100)] | None = None
    server_learning_rate: Positive | None = None
    trimmed_fraction: Share | None = None
    byzantine: Annotated[int, Field(ge=1, le=100)] | None = None
    max_update_norm: Positive | None = None
    average_last: Annotated[int, Field(ge=1, le=1_000)] = 1

    def settings(self) -> StrategySettings:
        """The checked settings of the strategy.

        Raises:
            StrategyError: the name is unknown, or a setting does not belong to it.
        """
        given = self.model_dump(exclude={"max_update_norm", "average_last"}, exclude_none=True)
        return StrategySettings(**given)


class Study(_Part):
    """A whole study."""

    version: Literal[1] = 1
    name: Name
    researcher: Email
    relay: Annotated[str, Field(min_length=1)]
    hospitals: Annotated[tuple[Email, ...], Field(min_length=1, max_length=1000, strict=False)]
    quorum: Annotated[int, Field(ge=1)]
    round_timeout_s: Annotated[float, Field(ge=0.1, le=31_536_000)] = 3600.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=64, strict=False)]
    rounds: Annotated[int, Field(ge=1, le=1_000)] = 4
    model: ModelSpec
    train: TrainSpec = TrainSpec()
    privacy: PrivacySpec = PrivacySpec()
    generator: AnyGeneratorSpec | None = None
    reports: ReportSpec | None = None
    slots: SlotPart = SlotPart()
    strategy: StrategySpec = StrategySpec()

    @property
    def checkpoint(self) -> str:
        """The researcher's copy of the checkpoint that is adapted; empty where none is."""
        spec = self.generator
        return spec.checkpoint if isinstance(spec, StableDiffusionSpec) else ""

    @pydantic.field_validator("relay")
    @classmethod
    def _relay_has_no_secret(cls, url: str) -> str:
        return checked_relay_url(url)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Study:
        if len(set(self.hospitals)) != len(self.hospitals):
            raise ValueError("a hospital is named twice")
        names = self.reports.hospitals if self.reports is not None else ()
        if names and (len(set(names)) != len(names) or len(names) != len(self.hospitals)):
            raise ValueError(
                f"reports.hospitals gives {len(set(names))} different names for "
                f"{len(self.hospitals)} hospitals; give one for each, or none"
            )
        if self.quorum > len(self.hospitals):
            raise ValueError(f"quorum {self.quorum} of {len(self.hospitals)} hospitals")
        if not self.train.learning_rate_range.holds(self.train.learning_rate):
            raise ValueError("train.learning_rate lies outside train.learning_rate_range")
        if self.train.views > 1 and not self.train.augment:
            raise ValueError(
                f"train.views is {self.train.views}, but train.augment is off: all views of an "
                "image would be the same; set augment = true, or views = 1"
            )
        if self.strategy.name == SCAFFOLD and self.train.momentum > 0:
            raise ValueError(
                f"train.momentum is {self.train.momentum:g}, but scaffold reads a hospital's steps "
                "off its weights; set momentum = 0, or choose fedavg"
            )
        if self.strategy.average_last > self.rounds:
            raise ValueError(f"strategy.average_last is more than the {self.rounds} rounds")
        least = self.strategy.settings().minimum_updates
        if self.quorum < least:
            raise ValueError(f"{self.strategy.name} needs a quorum of at least {least}")
        return self


def read_study(folder: Path) -> Study:
    """The study in `folder`.

    Raises:
        StudyError: it is missing, half-written or wrong: which line or field, and why.
    """
    path = folder / STUDY_FILE
    try:
        values = read_toml(path)
    except FileNotFoundError as error:
        raise StudyError(
            f"there is no {path}; create a study with `dura study init {folder}`"
        ) from error
    except PlanError as error:
        raise StudyError(str(error)) from error
    try:
        return Study.model_validate(values)
    except pydantic.ValidationError as error:
        raise StudyError(f"{path}: {explain(error)}") from error


def study_plan(study: Study) -> Plan:
    """The plan of a study, its noise calibrated so that the whole costs at most its epsilon.

    Raises:
        StudyError: its parts do not fit together.
        privacy.CalibrationError: no noise reaches the epsilon asked for.
    """
    target, delta = study.privacy.epsilon, study.privacy.delta
    model = study.model.part()
    generator = _generator(study)
    reports = _reports(study)
    train = study.train

    def plan(noise: float) -> Plan:
        return Plan(
            study=study.name,
            researcher=study.researcher,
            classes=study.classes,
            rounds=study.rounds,
            model=model,
            train=TrainPart(
                steps=train.steps,
                sampling_rate=train.sampling_rate,
                noise_multiplier=noise,
                clipping_norm=train.clipping_norm,
                learning_rate=train.learning_rate_range,
                momentum=train.momentum,
                proximal_mu=Range(low=0.0, high=study.strategy.proximal_mu or 0.0),
                correction=study.strategy.name == SCAFFOLD,
                synthetic_weight=train.synthetic_weight,
                augment=AugmentPart(views=train.views) if train.augment else None,
            ),
            generator=generator,
            reports=reports,
            slots=study.slots,
            outputs=_outputs(study, reports),
        )

    try:
        plan(1.0)
        noise = calibrate_noise(
            target_epsilon=target,
            delta=delta,
            event_for=lambda value: compose(plan_events(plan(value))),
        )
        return plan(noise)
    except pydantic.ValidationError as error:
        raise StudyError(f"{STUDY_FILE} makes no valid plan: {explain(error)}") from error


def _generator(study: Study) -> GeneratorPart | StableDiffusionPart | None:
    spec = study.generator
    if spec is None:
        return None
    noise = calibrate_noise(
        target_epsilon=study.privacy.epsilon * study.privacy.generator_share,
        delta=study.privacy.delta,
        event_for=lambda value: poisson_gaussian(
            sampling_rate=spec.sampling_rate, noise_multiplier=value, steps=spec.steps
        ),
    )
    try:
        if isinstance(spec, StableDiffusionSpec):
            return _stable(spec, noise)
        return _small(spec, noise)
    except pydantic.ValidationError as error:
        raise StudyError(f"{STUDY_FILE}, generator: {explain(error)}") from error
    except ModelsError as error:
        raise StudyError(f"{STUDY_FILE}, generator: {error}") from error


def _small(spec: GeneratorSpec, noise: float) -> GeneratorPart:
    sha256 = None
    if spec.start == "phantoms":
        card = read_generator_card()
        sha256 = card.sha256
        if card.image_size != spec.image_size:
            raise StudyError(
                f"generator.image_size is {spec.image_size}, but the generator that starts from "
                f"phantoms makes images of {card.image_size} px; set it to that, or start from "
                "'scratch' and train 'all'"
            )
    return GeneratorPart(
        noise_multiplier=noise, start_sha256=sha256, **spec.model_dump(exclude={"pooled"})
    )


def _stable(spec: StableDiffusionSpec, noise: float) -> StableDiffusionPart:
    return StableDiffusionPart(
        noise_multiplier=noise,
        checkpoint_sha256=checkpoint_sha256(find_checkpoint(spec.checkpoint)),
        **spec.model_dump(exclude={"pooled", "checkpoint"}),
    )


def _reports(study: Study) -> ReportPart | None:
    if study.reports is None:
        return None
    noise = calibrate_noise(
        target_epsilon=study.privacy.epsilon * study.privacy.metrics_share,
        delta=study.privacy.delta,
        event_for=lambda value: gaussian(noise_multiplier=value),
    )
    try:
        return ReportPart(metrics_noise_multiplier=noise, **study.reports.model_dump())
    except pydantic.ValidationError as error:
        raise StudyError(f"{STUDY_FILE}, reports: {explain(error)}") from error


def _outputs(study: Study, reports: ReportPart | None) -> tuple[DeclaredOutput, ...]:
    outputs = [DeclaredOutput(name=WEIGHTS_OUTPUT, kind="weights", max_bytes=64 * 1024 * 1024)]
    if study.generator is not None and study.generator.pooled:
        outputs.append(
            DeclaredOutput(name=GENERATOR_FILE, kind="generator", max_bytes=64 * 1024 * 1024)
        )
    if reports is not None:
        outputs += [
            DeclaredOutput(name=REPORTS_FILE, kind="report", max_bytes=8 * 1024 * 1024),
            DeclaredOutput(name=EVALUATION_FILE, kind="evaluation", max_bytes=1024 * 1024),
        ]
    return tuple(outputs)

"""The classifier that a study names, and the researcher's own copy of the encoder it stands on.

A plan holds the encoder's hash, never its place. So the folder that `study.toml` or a command names
is compared, byte for byte, each time something is built on it: with the hash in the plan that was
submitted, or with the one in a model file. What was built on another encoder is never scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasites import EncoderFacts, ModelPart, Plan, encoder_facts
from models import ENCODER_HEAD, WeightsError, check_encoder, encoder_sha256
from orchestrator.errors import EvaluationError, StudyError


class ModelSpec(BaseModel):
    """`[model]` of a study.

    Attributes:
        name: a registered classifier, or `model.py`.
        image_size: pixels a side.
        encoder: folder of the encoder that `encoder_head` stands on, see `docs/encoders.md`; empty
            for the shipped one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,40}$")]
    image_size: Annotated[int, Field(ge=16, le=256)]
    encoder: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if self.encoder and self.name != ENCODER_HEAD:
            raise ValueError(
                f"encoder is {self.encoder!r}, but only {ENCODER_HEAD} stands on an encoder of "
                f"one's own, not {self.name!r}"
            )
        return self

    def part(self) -> ModelPart:
        """What of it stands in a plan.

        Raises:
            StudyError: the encoder is missing, altered or none.
        """
        if not self.encoder:
            return ModelPart(name=self.name, image_size=self.image_size)
        folder = Path(self.encoder)
        try:
            check_encoder(folder)
            sha256 = encoder_sha256(folder)
        except WeightsError as error:
            raise StudyError(f"model.encoder in study.toml: {error}") from error
        return ModelPart(name=self.name, image_size=self.image_size, encoder_sha256=sha256)


def given_encoder(folder: Path, *, model: str) -> str:
    """The absolute path of a folder that was given for a classifier's encoder.

    Raises:
        StudyError: it holds no whole encoder, or the classifier stands on none of one's own.
    """
    if model != ENCODER_HEAD:
        raise StudyError(f"--encoder goes with --model {ENCODER_HEAD} only, not with {model}")
    path = str(folder.absolute())
    if not path.isprintable():
        raise StudyError(f"--encoder {path!r} cannot be written into study.toml; rename it")
    try:
        check_encoder(folder)
    except WeightsError as error:
        raise StudyError(f"--encoder: {error}; `dura study encoder` makes such a folder") from error
    return path


def plan_encoder(plan: Plan, spec: ModelSpec) -> Path | None:
    """The folder of the encoder that a plan names; None for the shipped one.

    Raises:
        StudyError: the study's file names no folder, or its folder is not that encoder.
    """
    wanted = plan.model.encoder_sha256
    if wanted is None:
        return None
    if not spec.encoder:
        raise StudyError(
            f"the submitted plan stands on the encoder {wanted[:12]}; name its folder as encoder "
            "under [model] in study.toml"
        )
    try:
        check_encoder(Path(spec.encoder), sha256=wanted)
    except WeightsError as error:
        raise StudyError(
            f"the submitted plan's encoder, model.encoder in study.toml: {error}; put the folder "
            "back that was submitted, or submit anew"
        ) from error
    return Path(spec.encoder)


def look_at_encoder(plan: Plan, spec: ModelSpec) -> EncoderFacts | None:
    """What building a plan's encoder found; None for the shipped one.

    Raises:
        StudyError: as `plan_encoder`, or its weights are not those of what its card names.
    """
    folder = plan_encoder(plan, spec)
    if folder is None:
        return None
    facts = encoder_facts(plan, folder=str(folder))
    if facts is not None and facts.problem:
        raise StudyError(f"model.encoder in study.toml: {facts.problem}; make it anew")
    return facts


def stands_on(part: ModelPart) -> str:
    """The hash of the encoder that a plan's classifier stands on; empty for none."""
    if part.encoder_sha256 is not None:
        return part.encoder_sha256
    return encoder_sha256() if part.name == ENCODER_HEAD else ""


def file_encoder(model_file: Path, *, wanted: str, folder: Path | None) -> Path | None:
    """The folder of the encoder that a model file stands on; None for the shipped one or none.

    Args:
        model_file: for messages.
        wanted: the hash in it; empty for none.
        folder: what was given for it.

    Raises:
        EvaluationError: a folder is needed and missing, not needed, or of another encoder.
    """
    if wanted in ("", encoder_sha256()):
        if folder is not None:
            raise EvaluationError(
                f"{model_file} stands on no encoder but the one that ships with Dura, if on any; "
                f"leave --encoder {folder} out"
            )
        return None
    if folder is None:
        raise EvaluationError(
            f"{model_file} stands on the encoder {wanted[:12]}, which does not ship with this "
            "Dura; give its folder as --encoder FOLDER, or take the Dura that trained it"
        )
    try:
        check_encoder(folder, sha256=wanted)
    except WeightsError as error:
        raise EvaluationError(f"{model_file} cannot be scored: {error}") from error
    return folder

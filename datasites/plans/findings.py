"""What a check of a plan's assumptions can find, and what it is told by those who looked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for epsilon."""

    VOID = "void"
    WARNING = "warning"
    HOLDS = "holds"


class Assumption(StrEnum):
    """What is checked."""

    BATCH_STATISTICS = "batch_statistics"
    PER_SAMPLE_GRADIENT = "per_sample_gradient"
    GRADIENT_CHECKPOINTING = "gradient_checkpointing"
    SAMPLER = "sampler"
    WEIGHTED_SAMPLING = "weighted_sampling"
    TINY_BATCH = "tiny_batch"
    SHARED_SEED = "shared_seed"
    LITTLE_NOISE = "little_noise"
    GENERATOR_WITHOUT_DP = "generator_without_dp"
    PUBLIC_DATA = "public_data"
    GENERATOR_START = "generator_start"
    ENCODER = "encoder"
    UNNOISED_OUTPUT = "unnoised_output"
    MODEL_FILE = "model_file"
    UNIT_OF_PRIVACY = "unit_of_privacy"


@dataclass(frozen=True)
class Finding:
    """How one assumption stands.

    Attributes:
        code: the assumption. severity: what it means.
        what: what was found. do: what a reviewer can do about it; empty if nothing is to be done.
    """

    code: Assumption
    severity: Severity
    what: str
    do: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What looking at a `model.py` found (`datasites.owner.model_check`).

    Attributes:
        batch_statistics: layers that normalise over, or remember, several images.
        checkpointing: layers with gradient checkpointing.
        gradient_problem: why a per-sample gradient is wrong; empty if all are right.
        not_built: why it was read alone, not built and tried; empty if it was.
    """

    batch_statistics: tuple[str, ...] = ()
    checkpointing: tuple[str, ...] = ()
    gradient_problem: str = ""
    not_built: str = ""


@dataclass(frozen=True)
class EncoderFacts:
    """What looking at the encoder that a plan names found (`datasites.owner.model_check`).

    Attributes:
        problem: why it cannot be used here; empty if it can.
        saw: what it was made from, as its card says.
    """

    problem: str = ""
    saw: tuple[str, ...] = ()

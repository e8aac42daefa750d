"""The generator of a plan: trained with DP-SGD on a shard, its images stay at the hospital.

Whatever the network, what it costs is the same few numbers (`DpPart`): steps, rate, noise, clip.
How many timesteps each image is looked at in a step (`draws`) costs nothing, because they are
averaged before one clip bounds their unit (Dockhorn et al. 2022, arXiv 2210.09929).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from privacy import LEAST_NOISE, LEAST_SENSITIVITY, MOST_NOISE, MOST_SENSITIVITY

LearningRate = Annotated[float, Field(ge=1e-9, le=1e3)]
NoiseMultiplier = Annotated[float, Field(ge=LEAST_NOISE, le=MOST_NOISE)]
ClippingNorm = Annotated[float, Field(ge=LEAST_SENSITIVITY, le=MOST_SENSITIVITY)]
"""Beyond them integer arithmetic is not safe, and no plan needs it: `privacy.mechanism`."""
Rate = Annotated[float, Field(ge=1e-9, le=1)]
"""At less than the floor no step would see a unit of the largest data set there is."""
_PROMPT = r"^[A-Za-z0-9 ,.-]*\{class\}[A-Za-z0-9 ,.-]*$"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DpPart(BaseModel):
    """What every generator has.

    Attributes:
        steps: noised steps.
        sampling_rate: probability with which each privacy unit enters a step.
        noise_multiplier: standard deviation of the noise over the clipping norm.
        clipping_norm: L2 bound of one unit's gradient.
        learning_rate: of Adam.
        draws: timesteps of each image that one step averages.
        images_per_class: images drawn of each class.
        sampling_steps: DDIM steps of an image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    steps: Annotated[int, Field(ge=1, le=100_000)]
    sampling_rate: Rate
    noise_multiplier: NoiseMultiplier
    clipping_norm: ClippingNorm
    learning_rate: LearningRate
    draws: Annotated[int, Field(ge=1, le=64)] = 1
    images_per_class: Annotated[int, Field(ge=1, le=2_000)] = 32
    sampling_steps: Annotated[int, Field(ge=1, le=1_000)] = 20


class GeneratorPart(DpPart):
    """The small class-conditional UNet.

    Attributes:
        image_size: pixels of its images.
        start: `scratch`, or `phantoms`: the weights that ship with Dura and saw drawings only.
        start_sha256: of those weights; a hospital that has others refuses.
        trains: `all` parameters, its `norms` (with biases and classes), or `lora`: low-rank
            additions (and classes).
        rank: of the additions.
    """

    kind: Literal["small"] = "small"
    image_size: Annotated[int, Field(ge=16, le=128)] = 32
    start: Literal["scratch", "phantoms"] = "scratch"
    start_sha256: Sha256 | None = None
    trains: Literal["all", "norms", "lora"] = "all"
    rank: Annotated[int, Field(ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _consistent(self) -> GeneratorPart:
        if (self.start == "phantoms") != (self.start_sha256 is not None):
            raise ValueError("start_sha256 names the weights of start 'phantoms', and no others")
        if self.start == "scratch" and self.trains != "all":
            raise ValueError(
                f"trains is {self.trains!r}, but random weights that are never trained draw noise; "
                "start from 'phantoms', or train 'all'"
            )
        return self


class StableDiffusionPart(DpPart):
    """Low-rank additions to the attention of a Stable Diffusion checkpoint.

    The checkpoint is named by its hash alone: each hospital has it in a folder of its own, or
    fetches it from the Hub (`generator_checkpoint` in `site.toml`).

    Attributes:
        checkpoint_sha256: over its files, see `models.generators.checkpoint`.
        image_size: pixels of its images.
        prompt: what an image is called, `{class}` standing for the class.
        rank: of the additions.
        guidance: scale of classifier-free guidance when images are drawn; 1 for none.
    """

    kind: Literal["stable_diffusion"] = "stable_diffusion"
    checkpoint_sha256: Sha256
    image_size: Annotated[int, Field(ge=16, le=1024, multiple_of=8)]
    prompt: Annotated[str, Field(pattern=_PROMPT, max_length=200)]
    rank: Annotated[int, Field(ge=1, le=64)] = 4
    guidance: Annotated[float, Field(ge=1, le=20, allow_inf_nan=False)] = 1.0


AnyGenerator = Annotated[GeneratorPart | StableDiffusionPart, Field(discriminator="kind")]
"""Every type of generator that a plan may have."""

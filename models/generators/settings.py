"""Settings of the diffusion generator, as values that refuse nonsense; they import no torch."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import GeneratorError

MAX_GENERATOR_SIZE = 128


MAX_GENERATOR_CHANNELS = 256


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """Size of the class-conditional diffusion model.

    Attributes:
        image_size: S, pixels of the images it makes.
        channels: width of each resolution level, finest first; S halves between levels.
        groups: groups of every GroupNorm; divides each width.
        timesteps: T, diffusion steps of training.
    """

    image_size: int = 32
    channels: tuple[int, ...] = (16, 32, 32)
    groups: int = 8
    timesteps: int = 1000

    def __post_init__(self) -> None:
        """Refuse sizes that no generator can have.

        Raises:
            GeneratorError: a size is out of range or does not divide as it must.
        """
        levels = len(self.channels)
        if not 1 <= levels <= 5:
            raise GeneratorError(f"{levels} resolution levels; give 1 to 5 channel widths")
        if not 8 <= self.image_size <= MAX_GENERATOR_SIZE or self.image_size % 2 ** (levels - 1):
            raise GeneratorError(
                f"image size {self.image_size} px; choose 8 to {MAX_GENERATOR_SIZE} px, "
                f"divisible by {2 ** (levels - 1)} for {levels} levels"
            )
        if self.groups < 1:
            raise GeneratorError(f"{self.groups} groups; have at least 1")
        for width in self.channels:
            if not 4 <= width <= MAX_GENERATOR_CHANNELS or width % self.groups or width % 2:
                raise GeneratorError(
                    f"channel width {width}; choose an even 4 to {MAX_GENERATOR_CHANNELS} "
                    f"that {self.groups} groups divide"
                )
        if not 10 <= self.timesteps <= 4000:
            raise GeneratorError(f"{self.timesteps} timesteps; choose 10 to 4000")

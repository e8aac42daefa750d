"""Which images a DP-SGD step looks at: Poisson sampling of units, not of images.

Each unit joins a step independently with probability q; then all of its images do, up to a cap
(a random subset of its own images, drawn independently of every other unit). Images are packed into
chunks that fit into memory; a unit is never split between chunks, so its gradient can be averaged.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from privacy.errors import SettingsError


@dataclass(frozen=True)
class Chunk:
    """Images of some whole units.

    Attributes:
        images: image indices, int64, shape [n_images].
        unit: which of this chunk's units each belongs to, int64 in [0, n_units), shape [n_images].
        n_units: number of units in this chunk.
    """

    images: Tensor
    unit: Tensor
    n_units: int


class UnitIndex:
    """The images of each unit."""

    def __init__(self, units: Tensor) -> None:
        if units.ndim != 1 or units.dtype != torch.int64 or (units.numel() and units.min() < 0):
            raise SettingsError(
                f"units must be int64 indices >= 0, shape [n_images]; got {units.dtype}, "
                f"shape {tuple(units.shape)}"
            )
        units = units.cpu()
        order = torch.argsort(units, stable=True)
        _, counts = torch.unique_consecutive(units[order], return_counts=True)
        self._images = torch.split(order, counts.tolist())

    @property
    def n_units(self) -> int:
        """Number of units that have an image."""
        return len(self._images)

    def draw(
        self, *, sampling_rate: float, max_images: int, generator: torch.Generator
    ) -> list[Tensor]:
        """Poisson-sample units.

        Args:
            sampling_rate: probability of each unit, in (0, 1].
            max_images: largest number of images of one unit to use.
            generator: source of the choice; CPU.

        Returns:
            Image indices of each sampled unit, int64; possibly none at all.
        """
        # float64: a float32 uniform would round the rate to a multiple of 2**-24.
        uniform = torch.rand(self.n_units, generator=generator, dtype=torch.float64)
        chosen = torch.nonzero(uniform < sampling_rate).flatten().tolist()
        return [_capped(self._images[unit], max_images, generator) for unit in chosen]


def pack(sampled: list[Tensor], *, chunk_images: int) -> Iterator[Chunk]:
    """Pack whole units into chunks.

    Args:
        sampled: image indices of each sampled unit.
        chunk_images: largest number of images in a chunk; at least that of the largest unit.

    Yields:
        Chunks, each with at least one unit.
    """
    held: list[Tensor] = []
    size = 0
    for images in sampled:
        if held and size + len(images) > chunk_images:
            yield _chunk(held)
            held, size = [], 0
        held.append(images)
        size += len(images)
    if held:
        yield _chunk(held)


def _capped(images: Tensor, max_images: int, generator: torch.Generator) -> Tensor:
    if len(images) <= max_images:
        return images
    return images[torch.randperm(len(images), generator=generator)[:max_images]]


def _chunk(held: list[Tensor]) -> Chunk:
    sizes = torch.tensor([len(images) for images in held])
    unit = torch.repeat_interleave(torch.arange(len(held)), sizes)
    return Chunk(images=torch.cat(held), unit=unit, n_units=len(held))

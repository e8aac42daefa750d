"""Which images a DP-SGD step looks at: Poisson sampling of units, not of images.

Each unit joins a step independently with probability q; then all of its images do, up to a cap
(a random subset of its own images, drawn independently of every other unit). Images are packed into
chunks that fit into memory; a unit is never split between chunks, so its gradient can be averaged.
Every chunk has the same number of rows, so that the kernels which work on it are always the same:
what is missing is filled with rows that belong to no unit.

The choice is drawn from a key stream of the operating system's: amplification by sampling is only
as good as the secret of who was sampled. The rate is rounded down to a multiple of 2**-64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privacy.errors import SettingsError
from privacy.mechanism import KeyStream


@dataclass(frozen=True)
class Chunk:
    """Images of some whole units, filled up to a fixed number of rows.

    Attributes:
        images: image indices, int64, shape [rows].
        unit: which of this chunk's units each belongs to, int64 in [0, n_units]; n_units itself is
            nobody's, a row that only fills the chunk. Shape [rows].
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

    def draw(self, *, sampling_rate: float, max_images: int, stream: KeyStream) -> list[Tensor]:
        """Poisson-sample units.

        Args:
            sampling_rate: probability of each unit, in (0, 1].
            max_images: largest number of images of one unit to use.
            stream: source of the choice.

        Returns:
            Image indices of each sampled unit, int64; possibly none at all.
        """
        words = stream.words(self.n_units)
        below = int(sampling_rate * 2**64)
        joins = np.ones(len(words), bool) if below >= 2**64 else words < np.uint64(below)
        chosen = np.flatnonzero(joins).tolist()
        return [_capped(self._images[unit], max_images, stream) for unit in chosen]


def pack(sampled: list[Tensor], *, rows: int) -> Iterator[Chunk]:
    """Pack whole units into chunks.

    Args:
        sampled: image indices of each sampled unit.
        rows: number of rows of every chunk; at least the images of the largest unit.

    Yields:
        Chunks, each with at least one unit.
    """
    held: list[Tensor] = []
    size = 0
    for images in sampled:
        if held and size + len(images) > rows:
            yield _chunk(held, rows)
            held, size = [], 0
        held.append(images)
        size += len(images)
    if held:
        yield _chunk(held, rows)


def _capped(images: Tensor, max_images: int, stream: KeyStream) -> Tensor:
    if len(images) <= max_images:
        return images
    order = np.argsort(stream.words(len(images)), kind="stable")
    return images[torch.from_numpy(order[:max_images])]


def _chunk(held: list[Tensor], rows: int) -> Chunk:
    sizes = torch.tensor([len(images) for images in held])
    filling = rows - int(sizes.sum())
    unit = torch.repeat_interleave(torch.arange(len(held)), sizes)
    return Chunk(
        images=torch.cat([*held, held[0][:1].expand(filling)]),
        unit=torch.cat([unit, torch.full((filling,), len(held))]),
        n_units=len(held),
    )

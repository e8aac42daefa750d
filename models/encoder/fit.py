"""Fitting an encoder's mean and projection, and looking at its features: on phantoms alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from models.encoder.encoder import SIDE, FrozenEncoder
from models.images import normalise
from models.phantoms import CLASSES, Varied, draw_varied

BATCH = 64
_FLAT = 0.05
"""Features that vary less than this share of the average are not blown up."""


def draw_batches(*, count: int, seed: int) -> Iterator[tuple[list[Varied], Tensor]]:
    """Varied phantoms, `BATCH` at a time, with their labels int64 [B].

    Args:
        count: of them all.
        seed: phantom i follows from (seed, i).
    """
    for start in range(0, count, BATCH):
        drawn, labels = [], []
        for index in range(start, min(start + BATCH, count)):
            rng = np.random.default_rng((seed, index))
            labels.append(int(rng.integers(len(CLASSES))))
            drawn.append(draw_varied(rng, label=CLASSES[labels[-1]], size=SIDE))
        yield drawn, torch.tensor(labels)


@torch.no_grad()
def draw_pooled(encoder: FrozenEncoder, *, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """What the encoder's projection is fitted to, [count, length], of phantoms; their labels."""
    parts = [
        (encoder.pooled(normalise(torch.from_numpy(np.stack([d.image for d in drawn])))), labels)
        for drawn, labels in draw_batches(count=count, seed=seed)
    ]
    return torch.cat([pooled for pooled, _ in parts]), torch.cat([labels for _, labels in parts])


def fit_projection(pooled_maps: Tensor, *, dimension: int) -> tuple[Tensor, Tensor]:
    """Mean [D] and principal directions [D, dimension] of standardised features.

    Args:
        pooled_maps: [N, D], of phantoms.
        dimension: directions kept, those of largest variance.
    """
    mean, spread = pooled_maps.mean(0), pooled_maps.std(0)
    spread = spread.clamp(min=_FLAT * float(spread.mean()))
    standard = (pooled_maps - mean) / spread
    _, directions = torch.linalg.eigh(standard.T @ standard / len(standard))
    kept = directions[:, -dimension:].flip(1)
    signs = kept.sum(0).sign()
    return mean, kept * torch.where(signs == 0, 1.0, signs) / spread[:, None]


def fit_levels(
    pooled: Tensor, *, lengths: Sequence[int], dimensions: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Mean [D] and projection [D, sum(dimensions)] of features that stand side by side.

    Each level is projected by itself and weighs the same: one projection of all would keep the
    directions of the level that varies most.

    Args:
        pooled: [N, D], of phantoms, level after level.
        lengths: of the levels; their sum is D.
        dimensions: directions kept of each.
    """
    means, blocks = [], []
    for level, dimension in zip(pooled.split(list(lengths), dim=1), dimensions, strict=True):
        mean, block = fit_projection(level, dimension=dimension)
        means.append(mean)
        blocks.append(block / ((level - mean) @ block).norm(dim=1).mean())
    return torch.cat(means), torch.block_diag(*blocks)

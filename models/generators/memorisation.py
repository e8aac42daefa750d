"""Does a generator copy? Distances of synthetic to real images, against real to real. Pure.

Each synthetic image's distance to its nearest real image is held against how near real images of
*different* units come to each other. A synthetic image that is nearer to a real one than 99 % of
real images are to anybody else's is a suspect (Dar et al. 2024, arXiv 2402.01054, found 69 % of the
samples of a diffusion model trained without DP to be copies).

Distance is 1 minus the correlation of pixels at the synthetic images' size. The result is computed
from private data without noise: it is for the data owner's eyes and must not leave a hospital, and
nothing that leaves may depend on it except a person's coded refusal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.errors import GeneratorError

SUSPECT_SHARE = 0.01


@dataclass(frozen=True)
class CopyCheck:
    """What the check found.

    Attributes:
        nearest: distance of each synthetic image to its nearest real one, [M].
        neighbour: index of that real image, [M].
        reference: distance of each real image to the nearest of another unit, [N].
        threshold: below which a synthetic image is suspect.
    """

    nearest: NDArray[np.float64]
    neighbour: NDArray[np.int64]
    reference: NDArray[np.float64]
    threshold: float

    @property
    def suspects(self) -> NDArray[np.int64]:
        """Indices of synthetic images that are suspiciously near, the nearest first."""
        order = np.argsort(self.nearest, kind="stable")
        return order[self.nearest[order] < self.threshold]


def copy_check(
    synthetic: NDArray[np.uint8], real: NDArray[np.uint8], units: NDArray[np.int64]
) -> CopyCheck:
    """Compare synthetic images with the real ones a generator was trained on.

    Args:
        synthetic: uint8 [M, S, S].
        real: uint8 [N, R, R].
        units: unit of privacy of each real image, [N].

    Raises:
        GeneratorError: no synthetic image, or real images of fewer than two units.
    """
    if not len(synthetic) or len(np.unique(units)) < 2 or len(units) != len(real):
        raise GeneratorError("a copy check needs synthetic images, and real ones of two units")
    size = synthetic.shape[1]
    made, seen = _directions(synthetic, size), _directions(real, size)
    apart = 1.0 - made @ seen.T
    among = 1.0 - seen @ seen.T
    among[units[:, None] == units[None, :]] = np.inf
    reference = among.min(axis=1)
    return CopyCheck(
        nearest=apart.min(axis=1),
        neighbour=apart.argmin(axis=1),
        reference=reference,
        threshold=float(np.quantile(reference, SUSPECT_SHARE)),
    )


def _directions(images: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Images at `size`, as vectors of mean zero and length one; a flat image is all zeros."""
    whole = torch.from_numpy(np.array(images)).double()[:, None]
    small = functional.interpolate(whole, size=(size, size), mode="area").flatten(1).numpy()
    small = small - small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    return np.asarray(small / np.where(length > 0, length, 1.0))

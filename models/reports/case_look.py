"""What a classifier says of one image beside its prediction: how familiar, and where it looked.

Familiarity is the energy score, log-sum-exp of the logits (Liu et al. 2020, arXiv 2010.03759),
against a threshold: its first percentile over public phantoms of the study's classes. No image of a
hospital sets the threshold, so it tells nothing about one; the price is that it is coarse
(docs/reports.md has how little it finds), and that an image can be familiar and still be wrong.
Facts and reports name the basis.

Where it looked is the gradient of the predicted logit by the image, times the grey value (so that
the empty background does not count), summed over a grid of three by three. The cell that holds most
is named if it holds at least twice what an even spread would give it; else no one place mattered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.classifiers import predict_logits
from models.images import normalise
from models.phantoms import MAX_SIZE, MIN_SIZE, draw_phantoms
from models.reports.facts import REGIONS, OutlierCheck, QualityFlag, Region
from models.reports.image_quality import quality_flags

PHANTOMS_PER_CLASS: Final = 24
PERCENTILE: Final = 1.0
GRID: Final = 3
LEAST_SHARE: Final = 2.0 / GRID**2


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What was seen on one image: checks that were not done, or found nothing, are None."""

    outlier: OutlierCheck | None
    quality: tuple[QualityFlag, ...]
    region: Region | None


@dataclass(frozen=True, slots=True)
class CaseLook:
    """How single images are looked at for their reports.

    Attributes:
        model: the classifier. threshold: energy below which an image is unusual; None for no check.
    """

    model: nn.Module
    threshold: float | None

    @classmethod
    def prepare(cls, model: nn.Module, *, classes: Sequence[str], size: int) -> CaseLook:
        """Fix the threshold on phantoms of S = `size` pixels; too small ones cannot be drawn."""
        drawable = MIN_SIZE <= size <= MAX_SIZE
        threshold = energy_threshold(model, classes=classes, size=size) if drawable else None
        return cls(model, threshold)

    def at(self, image: NDArray[np.uint8]) -> Neighbourhood:
        """Look at an image uint8 [S, S]."""
        outlier = None
        if self.threshold is not None:
            outlier = outlier_check(self.model, image, threshold=self.threshold)
        return Neighbourhood(outlier, quality_flags(image), sensitive_region(self.model, image))


def energy_scores(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Energy scores float64 [N] of images uint8 [N, S, S]; higher is more familiar."""
    return torch.logsumexp(predict_logits(model, images), dim=1).numpy()


def energy_threshold(model: nn.Module, *, classes: Sequence[str], size: int) -> float:
    """The score below which an image is unusual, from phantoms of S = `size` pixels."""
    drawn = draw_phantoms(counts=dict.fromkeys(classes, PHANTOMS_PER_CLASS), size=size, seed=0)
    return float(np.percentile(energy_scores(model, drawn.images), PERCENTILE))


def outlier_check(
    model: nn.Module, image: NDArray[np.uint8], *, threshold: float
) -> OutlierCheck | None:
    """How familiar an image uint8 [S, S] is; None where the score is not finite."""
    score = float(energy_scores(model, image[None])[0])
    if not (np.isfinite(score) and np.isfinite(threshold)):
        return None
    return OutlierCheck(score=score, threshold=threshold, basis="synthetic data")


def sensitive_region(model: nn.Module, image: NDArray[np.uint8]) -> Region | None:
    """Where the prediction for an image uint8 [S, S] was most sensitive; None for no one place."""
    model.eval()
    with torch.enable_grad():
        pixels = normalise(torch.from_numpy(np.array(image[None]))).requires_grad_()
        logits = model(pixels)
        logits[0, int(logits.argmax())].backward()
    gradient = pixels.grad
    model.zero_grad(set_to_none=True)
    if gradient is None:
        return None
    slope = gradient.abs().sum(dim=1)[0].double().numpy()
    weight = np.asarray(slope * image, dtype=np.float64)
    total = float(weight.sum())
    if not np.isfinite(total) or total <= 0.0:
        return None
    cells = [part.sum() for row in np.array_split(weight, GRID) for part in _columns(row)]
    best = int(np.argmax(cells))
    if cells[best] < LEAST_SHARE * total:
        return None
    found: Region = REGIONS[best]  # type: ignore[assignment]
    return found


def _columns(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return np.array_split(rows, GRID, axis=1)

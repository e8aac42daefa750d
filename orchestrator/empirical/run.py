"""What an empirical audit and its reference models train, on what, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models import build_model, draw_phantoms, normalise
from privacy import DpEvent, DpSgdSettings, calibrate_noise, poisson_gaussian

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
CLIP = 1.0
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Records:
    """Images among which canaries are hidden.

    Attributes:
        images: uint8 [N, S, S]. labels: int64 [N]. units: int64 [N].
        classes: class names. where: whose they are, in words.
        unit: what a unit is.
        mock: whether no patient is among them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    classes: tuple[str, ...]
    where: str
    unit: str
    mock: bool


@dataclass(frozen=True, kw_only=True)
class EmpiricalSettings:
    """How to audit.

    Attributes:
        target: what is trained. model: registered classifier, or `model.py`.
        model_text: its `model.py`, where it is none of the registry.
        encoder: folder of the encoder that it stands on; None for the shipped one or none.
        epsilon: the claim that the noise is calibrated for, at
        delta.
        steps, sampling_rate, learning_rate: of the run.
        image_canaries, gradient_canaries: how many canaries of each kind.
        shadows: reference models of the membership attack; 0 for none.
        others: non-members attacked; 0.1 % false positives need a thousand.
    """

    target: Literal["classifier", "generator"]
    model: str
    epsilon: float
    delta: float
    steps: int
    sampling_rate: float
    learning_rate: float
    image_canaries: int
    gradient_canaries: int
    shadows: int
    others: int
    model_text: str | None = None
    encoder: Path | None = None

    def event(self, noise_multiplier: float) -> DpEvent:
        """What the run costs at this noise."""
        return poisson_gaussian(
            sampling_rate=self.sampling_rate, noise_multiplier=noise_multiplier, steps=self.steps
        )

    def noise(self) -> float:
        """The noise multiplier that the claim needs."""
        return calibrate_noise(target_epsilon=self.epsilon, delta=self.delta, event_for=self.event)


def mock_records(count: int, *, image_size: int, seed: int) -> Records:
    """Phantoms, each a unit of its own."""
    per_class = max(1, count // len(CLASSES))
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=image_size, seed=seed)
    return Records(
        images=drawn.images,
        labels=drawn.labels,
        units=np.arange(len(drawn.labels)),
        classes=CLASSES,
        where="mock phantoms",
        unit="phantom",
        mock=True,
    )


def dp_settings(settings: EmpiricalSettings, noise: float, *, units: float) -> DpSgdSettings:
    """The run, for this many units."""
    return DpSgdSettings(
        sampling_rate=settings.sampling_rate,
        noise_multiplier=noise,
        clipping_norm=CLIP,
        expected_units=settings.sampling_rate * units,
        steps=settings.steps,
        chunk_images=_CHUNK,
    )


def sgd(settings: EmpiricalSettings) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """What makes the optimizer of a run."""
    return lambda parameters: torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=0.9)


def build(settings: EmpiricalSettings, records: Records) -> nn.Module:
    """A fresh classifier for these records."""
    return build_model(
        settings.model,
        text=settings.model_text,
        classes=len(records.classes),
        image_size=records.images.shape[1],
        encoder=settings.encoder,
    )


def cross_entropy(
    images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> Callable[[nn.Module, Tensor], Tensor]:
    """The loss of each image, as a hospital's training job takes it."""
    inputs, targets = normalise(torch.from_numpy(np.array(images))), torch.from_numpy(labels.copy())
    return lambda model, index: functional.cross_entropy(
        model(inputs[index]), targets[index], reduction="none"
    )


PUBLIC_ROWS = 64
"""How many rows are drawn for a rehearsal; an index beyond begins anew."""


def public_rows(records: Records) -> Callable[[nn.Module, Tensor], Tensor]:
    """Losses of drawn images, the same at every call, shaped like the records'."""
    size = records.images.shape[1]
    images = torch.randn((PUBLIC_ROWS, 1, size, size), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(PUBLIC_ROWS) % len(records.classes)

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        some = index % PUBLIC_ROWS
        return functional.cross_entropy(model(images[some]), labels[some], reduction="none")

    return losses

"""What is seen on one image: familiar or not, and where the prediction was sensitive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.classifiers.registry import build_classifier
from models.phantoms.draw import draw_phantoms
from models.reports.case_look import CaseLook, energy_threshold, outlier_check, sensitive_region
from models.reports.facts.parts import REGIONS

CLASSES = ("glioma", "notumor")
SIZE = 48


class Corner(nn.Module):
    """A classifier that looks at one cell of a three by three grid."""

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        row, column = divmod(self.cell, 3)
        side = SIZE // 3
        part = images[:, 0, row * side : (row + 1) * side, column * side : (column + 1) * side]
        return torch.stack([part.sum(dim=(1, 2)), -part.sum(dim=(1, 2))], dim=1)


@pytest.mark.parametrize("cell", range(9))
def test_the_region_is_where_the_model_looked(cell: int) -> None:
    image = np.full((SIZE, SIZE), 90, np.uint8)
    assert sensitive_region(Corner(cell), image) == REGIONS[cell]
    with torch.no_grad():
        assert sensitive_region(Corner(cell), image) == REGIONS[cell]


def test_no_one_place_is_no_region() -> None:
    class Everywhere(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            total = images.sum(dim=(1, 2, 3))
            return torch.stack([total, -total], dim=1)

    image = np.full((SIZE, SIZE), 90, np.uint8)
    assert sensitive_region(Everywhere(), image) is None
    assert sensitive_region(Corner(0), np.zeros((SIZE, SIZE), np.uint8)) is None


def test_an_image_unlike_the_phantoms_is_unusual() -> None:
    class Brightness(nn.Module):
        """Confident on what is about as bright as a phantom."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            far = (images.mean(dim=(1, 2, 3)) + 0.2).abs()
            return torch.stack([5 - 20 * far, -5 - 20 * far], dim=1)

    threshold = energy_threshold(Brightness(), classes=CLASSES, size=SIZE)
    white = outlier_check(Brightness(), np.full((SIZE, SIZE), 255, np.uint8), threshold=threshold)
    assert white is not None
    assert white.unusual
    assert white.basis == "synthetic data"
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 12), size=SIZE, seed=4).images
    checks = [outlier_check(Brightness(), image, threshold=threshold) for image in drawn]
    assert sum(check is not None and check.unusual for check in checks) <= 3


def test_a_score_that_is_not_finite_is_no_check() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 2), torch.nan)

    image = np.full((SIZE, SIZE), 90, np.uint8)
    assert outlier_check(Broken(), image, threshold=0.0) is None


def test_a_look_with_a_real_classifier_leaves_no_gradient() -> None:
    model = build_classifier("small_cnn", classes=2, image_size=SIZE)
    look = CaseLook.prepare(model, classes=CLASSES, size=SIZE)
    image = draw_phantoms(counts={"glioma": 1}, size=SIZE, seed=2).images[0]
    one, same = look.at(image), look.at(image)
    assert one == same
    assert one.quality == ()
    assert one.outlier is not None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_too_small_for_phantoms_is_not_checked() -> None:
    model = build_classifier("small_cnn", classes=2, image_size=16)
    look = CaseLook.prepare(model, classes=CLASSES, size=16)
    assert look.threshold is None
    assert look.at(np.full((16, 16), 90, np.uint8)).outlier is None

"""Quality flags: rare on good images, raised on spoiled ones."""

from __future__ import annotations

import numpy as np
import pytest

from models.image_checks import quality_flags
from models.phantoms import draw_phantoms

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module", params=[64, 128])
def phantoms(request: pytest.FixtureRequest) -> np.ndarray:
    return draw_phantoms(counts=dict.fromkeys(CLASSES, 30), size=request.param, seed=9).images


def test_flags_are_rare_on_phantoms(phantoms: np.ndarray) -> None:
    flagged = sum(bool(quality_flags(image)) for image in phantoms)
    assert flagged <= 0.01 * len(phantoms)


def test_spoiled_phantoms_are_flagged(phantoms: np.ndarray) -> None:
    size = phantoms.shape[1]
    for image in phantoms[::10]:
        grey = image.astype(float)
        flat = np.where(grey > 24, 100 + grey / 20, grey).astype(np.uint8)
        assert "low contrast" in quality_flags(flat)
        white = np.clip(grey * 4, 0, 255).astype(np.uint8)
        assert "saturation" in quality_flags(white)
        cropped = image[size // 4 : -size // 4, size // 4 : -size // 4]
        assert "tissue at the border" in quality_flags(cropped)
        assert quality_flags((grey / 16).astype(np.uint8)) == ("nearly blank image",)


def test_a_black_image_is_blank_and_nothing_else() -> None:
    assert quality_flags(np.zeros((64, 64), np.uint8)) == ("nearly blank image",)

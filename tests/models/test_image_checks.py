"""Quality flags: rare on good images, raised on spoiled ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from models.phantoms.draw import draw_phantoms
from models.reports.image_quality import noise_level, quality_flags

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


def test_noisy_and_blurred_phantoms_are_flagged(phantoms: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    scale = phantoms.shape[1] // 64
    for image in phantoms[::10]:
        noise = rng.normal(0.0, 40.0 * scale, image.shape)
        noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
        assert "image noise" in quality_flags(noisy)
        blurred = gaussian_filter(image.astype(float), 2.5 * scale).astype(np.uint8)
        assert "blurred image" in quality_flags(blurred)
        assert "image noise" not in quality_flags(blurred)


@given(sd=st.floats(0.0, 60.0), seed=st.integers(0, 99))
def test_the_level_of_white_noise_is_found_whatever_plane_lies_below(sd: float, seed: int) -> None:
    slope = np.add.outer(np.arange(64.0), 2.0 * np.arange(64.0))
    noisy = slope + np.random.default_rng(seed).normal(0.0, sd, (64, 64))
    # The median of a folded normal is 0.845 of its mean, for which the factor holds.
    assert noise_level(noisy) == pytest.approx(0.845 * sd, rel=0.1, abs=1e-9)


def test_a_black_image_is_blank_and_nothing_else() -> None:
    assert quality_flags(np.zeros((64, 64), np.uint8)) == ("nearly blank image",)

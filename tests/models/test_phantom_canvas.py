from __future__ import annotations

import numpy as np
import pytest

from models.phantoms.canvas import Frame, inside, paint, pixel_grid, smooth_noise


def _frame(size: int = 64) -> Frame:
    x, y = pixel_grid(size)
    return Frame(x=x, y=y, pixel=2.0 / size)


def test_the_grid_has_pixel_centres_and_cannot_be_written() -> None:
    x, y = pixel_grid(4)
    np.testing.assert_allclose(x[0], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_array_equal(y, x.T)
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1


def test_a_disc_has_the_area_of_its_ellipse_at_any_tilt() -> None:
    frame = _frame()
    for tilt in (0.0, 0.5, 2.0):
        mask = frame.disc(cx=0.1, cy=-0.1, a=0.6, b=0.3, tilt=tilt)
        area = mask.sum() * frame.pixel**2
        assert area == pytest.approx(np.pi * 0.6 * 0.3, rel=0.02)


def test_a_tilt_turns_clockwise_on_the_image() -> None:
    mask = _frame().disc(cx=0.0, cy=0.0, a=0.9, b=0.1, tilt=np.pi / 4)
    assert mask[50, 50] > 0.5  # right and down
    assert mask[50, 13] == 0


def test_smooth_noise_is_standard_and_smooth() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, 32, 6) for _ in range(400)])
    assert fields.dtype == np.float32
    assert abs(fields.mean()) < 0.05
    np.testing.assert_allclose(fields.std(axis=0), 1, atol=0.2)
    assert np.abs(np.diff(fields, axis=1)).mean() < 0.5


def test_pushing_moves_tissue_away_and_fades_with_distance() -> None:
    frame = _frame()
    still = frame.pushed(cx=0.0, cy=0.0, radius=0.3, strength=0.0)
    np.testing.assert_array_equal(still.x, frame.x)
    pushed = frame.pushed(cx=0.0, cy=0.0, radius=0.3, strength=0.5)
    small = frame.disc(cx=0.0, cy=0.0, a=0.2, b=0.2)
    grown = pushed.disc(cx=0.0, cy=0.0, a=0.2, b=0.2)
    assert grown.sum() > 1.3 * small.sum()
    np.testing.assert_allclose(pushed.x[:, -1], frame.x[:, -1], atol=1e-3)


def test_paint_mixes_by_the_mask() -> None:
    image = np.zeros((1, 3), np.float32)
    mask = np.array([[0, 0.5, 1]], np.float32)
    np.testing.assert_allclose(paint(image, mask, 0.8), [[0, 0.4, 0.8]])
    edge = inside(np.array([[0.8, 1.0, 1.2]], np.float32), edge=1.0, width=0.1)
    np.testing.assert_allclose(edge, [[1, 0.5, 0]])

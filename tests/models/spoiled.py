"""Ways in which what reaches a classifier can be no good head image; uint8 [S, S] each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate, zoom
from sklearn.datasets import load_sample_images

Image = NDArray[np.uint8]
Spoil = Callable[[Image, np.random.Generator], Image]


def _clipped(values: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _noise(sd: float) -> Spoil:
    return lambda image, rng: _clipped(image + rng.normal(0.0, sd, image.shape))


def _salt(image: Image, rng: np.random.Generator) -> Image:
    drawn = rng.random(image.shape)
    return np.where(drawn < 0.1, 0, np.where(drawn > 0.9, 255, image)).astype(np.uint8)


def _zoomed(image: Image, _rng: np.random.Generator) -> Image:
    size = image.shape[0]
    cut = size // 4
    inner = image[cut : size - cut, cut : size - cut].astype(float)
    return _clipped(zoom(inner, size / inner.shape[0], order=1)[:size, :size])


def _photograph(image: Image, rng: np.random.Generator) -> Image:
    """A piece of one of the two photographs that scikit-learn ships: a temple, a flower."""
    photo = rng.choice(load_sample_images().images).mean(axis=2)
    side = int(rng.integers(150, min(photo.shape)))
    top, left = (int(rng.integers(0, edge - side + 1)) for edge in photo.shape)
    piece = photo[top : top + side, left : left + side]
    return _clipped(zoom(piece, image.shape[0] / side, order=1)[: image.shape[0], : image.shape[1]])


def _page(image: Image, rng: np.random.Generator) -> Image:
    """A scanned page: dark dashes in lines on white."""
    page = np.full(image.shape, 245, np.uint8)
    for row in range(4, image.shape[0] - 4, 5):
        page[row : row + 2, 4:-4] = np.where(rng.random(image.shape[1] - 8) < 0.6, 30, 245)
    return page


def _shuffled(image: Image, rng: np.random.Generator) -> Image:
    return rng.permutation(image.ravel()).reshape(image.shape)


SPOILED: Final[Mapping[str, Spoil]] = {
    "noise, sd 20": _noise(20.0),
    "noise, sd 60": _noise(60.0),
    "salt and pepper": _salt,
    "blur, 1.5 pixels": lambda image, _: _clipped(gaussian_filter(image.astype(float), 1.5)),
    "blur, 4 pixels": lambda image, _: _clipped(gaussian_filter(image.astype(float), 4.0)),
    "inverted": lambda image, _: (255 - image).astype(np.uint8),
    "rotated 45 degrees": lambda image, _: _clipped(
        rotate(image.astype(float), 45.0, reshape=False, order=1)
    ),
    "upside down": lambda image, _: image[::-1].copy(),
    "cut to the centre": _zoomed,
    "overexposed": lambda image, _: _clipped(image * 4.0),
    "underexposed": lambda image, _: _clipped(image * 0.08),
    "grey veil": lambda image, _: _clipped(image * 0.12 + 100.0),
    "black": lambda image, _: np.zeros_like(image),
    "pixels shuffled": _shuffled,
    "photograph": _photograph,
    "page of text": _page,
    "uniform noise": lambda image, rng: rng.integers(0, 256, image.shape).astype(np.uint8),
}
"""By name."""

"""Images of a random process: dead leaves over smooth noise. They show nothing and nobody.

What a network learns from them is edges, occlusion and texture at every scale, as of natural
images, and no anatomy at all (Baradad et al. 2021, arXiv 2106.05963; as a start for private
training: Tang et al. 2023, arXiv 2306.06076). Leaves fall one over the other; their radii follow a
power law, so that no scale is preferred; each has a brightness, a slope of it and a texture.

Image i of a set depends on (seed, i) and nothing else. No patient data is involved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import PhantomError
from models.phantoms.canvas import Image, pixel_grid, smooth_noise

MIN_SIZE, MAX_SIZE = 32, 256
_LEAVES = (12, 60)
_RADII = (0.04, 0.7)
_COARSE = (2, 4, 8, 16)


def draw_random_images(*, count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Draw images of the process.

    Args:
        count: N.
        size: S, pixels.
        seed: image i follows from (seed, i).

    Returns:
        uint8 [N, S, S].

    Raises:
        PhantomError: a number is out of range.
    """
    if count < 1 or not MIN_SIZE <= size <= MAX_SIZE:
        raise PhantomError(
            f"{count} random images of {size} px: draw at least one, of {MIN_SIZE} to {MAX_SIZE} px"
        )
    return np.stack(
        [draw_random_image(np.random.default_rng((seed, row)), size=size) for row in range(count)]
    )


def draw_random_image(rng: np.random.Generator, *, size: int) -> NDArray[np.uint8]:
    """One image, uint8 [S, S]."""
    canvas = 0.5 + 0.2 * _texture(rng, size)
    for _ in range(int(rng.integers(*_LEAVES))):
        mask = _leaf(rng, size)
        shade = rng.uniform(0, 1) + rng.uniform(0, 0.15) * _texture(rng, size)
        canvas = canvas * (1 - mask) + shade * mask
    stretched = (canvas - canvas.min()) / max(float(np.ptp(canvas)), 1e-6)
    return np.round(stretched ** rng.uniform(0.6, 1.6) * 255).astype(np.uint8)


def _texture(rng: np.random.Generator, size: int) -> Image:
    """Noise whose strength falls with its frequency, about from -2 to 2: [S, S]."""
    fall = rng.uniform(0.5, 2.0)
    octaves = [smooth_noise(rng, size, cells) / cells**fall for cells in _COARSE]
    total: Image = np.sum(octaves, axis=0, dtype=np.float32)
    return (total / max(float(total.std()), 1e-6)).astype(np.float32)


def _leaf(rng: np.random.Generator, size: int) -> Image:
    """An ellipse with an edge of one pixel, and of no preferred size: [S, S], 0 to 1."""
    x, y = pixel_grid(size)
    low, high = (radius**-2 for radius in _RADII)
    radius = rng.uniform(high, low) ** -0.5
    cx, cy, tilt = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, np.pi)
    cos, sin = np.cos(tilt), np.sin(tilt)
    u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
    distance = np.hypot(u, v / rng.uniform(0.3, 1.0))
    edge = (radius - distance) * size / 2 + 0.5
    return np.clip(edge, 0, 1).astype(np.float32)

"""Primitives that phantoms are drawn with: coordinates, soft edges, smooth noise, painting.

Everything is a float32 array of shape [S, S]. Distances are in canonical units, in which the
brain is the unit circle of its plane, so that one drawing serves every size. Edges are one pixel
soft, which is what partial volume looks like. All randomness comes from the generator passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """Where each pixel lies in canonical coordinates.

    Attributes:
        x: [S, S] to the right.
        y: [S, S] downwards.
        pixel: width of one pixel, canonical units.
    """

    x: Image
    y: Image
    pixel: float

    def pushed(self, *, cx: float, cy: float, radius: float, strength: float) -> Frame:
        """The frame with tissue pushed away from a point, as a growing mass does.

        Args:
            cx: centre of the mass, x.
            cy: centre of the mass, y.
            radius: reach of the push, canonical units.
            strength: 0 leaves the frame as it is; below 1 the map stays one to one.

        Returns:
            A frame whose coordinates are drawn towards the centre near it.
        """
        dx, dy = self.x - np.float32(cx), self.y - np.float32(cy)
        near = np.exp(-(dx * dx + dy * dy) / np.float32(radius * radius))
        pull = np.float32(strength) * near
        return replace(self, x=self.x - pull * dx, y=self.y - pull * dy)

    def ellipse(
        self, *, cx: float, cy: float, a: float, b: float, tilt: float = 0.0
    ) -> tuple[Image, float]:
        """Distance from an ellipse's centre, 1 on its edge, and the width of a soft edge there.

        Args:
            cx: centre, x.
            cy: centre, y.
            a: half axis along x before the tilt.
            b: half axis along y before the tilt.
            tilt: radians, clockwise on the image.

        Returns:
            (distance [S, S], edge width in units of that distance).
        """
        dx, dy = self.x - np.float32(cx), self.y - np.float32(cy)
        cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        u, v = (dx * cos + dy * sin) / np.float32(a), (dy * cos - dx * sin) / np.float32(b)
        return np.sqrt(u * u + v * v), self.pixel / min(a, b)

    def disc(self, *, cx: float, cy: float, a: float, b: float, tilt: float = 0.0) -> Image:
        """A filled ellipse as a soft mask in [0, 1]; arguments as for `ellipse`."""
        distance, width = self.ellipse(cx=cx, cy=cy, a=a, b=b, tilt=tilt)
        return inside(distance, edge=1.0, width=width)


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> tuple[Image, Image]:
    """Pixel centres x, y of a square image, [S, S] each, from -1 to 1; read-only."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    x = np.ascontiguousarray(np.broadcast_to(line, (size, size)))
    y = np.ascontiguousarray(x.T)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def inside(distance: Image, *, edge: float | Image, width: float) -> Image:
    """Soft mask of `distance < edge`, falling from 1 to 0 over `width`."""
    mask = (edge - distance) * np.float32(1.0 / width) + np.float32(0.5)
    return np.clip(mask, 0.0, 1.0, out=mask)


def paint(image: Image, mask: Image, value: float | Image) -> Image:
    """`image` with `value` laid over it where `mask` is 1, mixed where it is between."""
    return image + mask * (value - image)


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> Image:
    """Cubic B-spline basis [size, cells + 3], each row of unit length."""
    at = (np.arange(size) + 0.5) * cells / size
    gap: NDArray[np.float64] = np.abs(at[:, None] - (np.arange(cells + 3) - 1.0)[None, :])
    near, far = 2 / 3 - gap**2 + gap**3 / 2, (2 - gap) ** 3 / 6
    basis = np.where(gap < 1, near, np.where(gap < 2, far, 0.0))
    basis = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    narrow: Image = basis.astype(np.float32)
    return narrow


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Image:
    """A smooth Gaussian random field: mean 0, variance 1 at each pixel.

    Args:
        rng: source of randomness.
        size: S.
        cells: about how many bumps fit across the image.

    Returns:
        Array [S, S].
    """
    basis = _spline(size, cells)
    knots: Image = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    field: Image = (basis @ knots @ basis.T).astype(np.float32, copy=False)
    return field

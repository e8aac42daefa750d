"""Procedural brain phantoms: drawn from formulas and random numbers, no patient data at all.

They serve as the mock data set that the world sees, as the demo's patients, and as public
pretraining data. A phantom is a grey image of a head in one of five views (axial through the
ventricles and through the skull base, sagittal on and off the midline, coronal) and four contrasts,
with a lesion typical of its class (`models.phantoms.lesions`), then bias field, blur, motion ghost
and Rician noise. Contrasts do not depend on the class. Views do so as in the clinic: a pituitary
tumour is only seen in slices that show the sella, and healthy brains are mostly shown axially.

Image i of a class depends on (seed, class name, i) and nothing else: asking for more images, or for
other classes beside, leaves it as it is. The same seed gives the same bytes with the same numpy.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.classes import HEALTHY_NAMES
from models.errors import PhantomError
from models.phantoms.canvas import Image, smooth_noise
from models.phantoms.head import View, draw_head, pose_head
from models.phantoms.lesions import draw_lesion, plan_lesion
from models.phantoms.planes import draw_deep

MIN_SIZE, MAX_SIZE = 32, 256
MAX_BYTES = 2**31
"""Largest phantom set that is drawn into memory at once, bytes."""

# Which slices are read for a finding: the sella on the midline, a healthy brain mostly axially.
_VIEWS = (View.AXIAL, View.AXIAL_BASE, View.SAGITTAL, View.SAGITTAL_SIDE, View.CORONAL)
_VIEW_ODDS: dict[str, tuple[float, ...]] = {
    "glioma": (0.55, 0.04, 0.10, 0.10, 0.21),
    "meningioma": (0.45, 0.06, 0.12, 0.12, 0.25),
    "notumor": (0.64, 0.08, 0.10, 0.06, 0.12),
    "pituitary": (0.0, 0.20, 0.45, 0.0, 0.35),
}
_ANY_VIEW = (0.40, 0.12, 0.16, 0.10, 0.22)


@dataclass(frozen=True)
class PhantomSet:
    """Drawn phantoms, class after class in the order of `classes`.

    Attributes:
        images: uint8 [N, S, S], 0 black.
        labels: int64 [N], indices into `classes`.
        classes: class names.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def draw_phantoms(*, counts: Mapping[str, int], size: int, seed: int) -> PhantomSet:
    """Draw a labelled set of phantoms.

    Args:
        counts: images per class name; their order is the order of the classes. Zero is allowed.
        size: S, pixels, 32 to 256.
        seed: any non-negative integer.

    Returns:
        The images and labels.

    Raises:
        PhantomError: no image is asked for, a count or the seed is negative, a name is empty, the
            size is out of range, or the set would take more than 2 GiB.
    """
    _check_size(size)
    if seed < 0:
        raise PhantomError(f"the seed is {seed}; give a non-negative integer")
    for name, count in counts.items():
        if not name or count < 0:
            raise PhantomError(
                f"class {name!r} asks for {count} phantoms; give a name and 0 or more"
            )
    total = sum(counts.values())
    if total == 0:
        raise PhantomError("no phantom is asked for; give at least one class a positive count")
    if total * size * size > MAX_BYTES:
        raise PhantomError(f"{total} phantoms of {size} px take over 2 GiB; draw them in parts")
    images = np.empty((total, size, size), np.uint8)
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), list(counts.values()))
    at = 0
    for name, count in counts.items():
        for index in range(count):
            rng = np.random.default_rng((seed, zlib.crc32(name.encode("utf-8")), index))
            images[at] = draw_phantom(rng, label=name, size=size)
            at += 1
    return PhantomSet(images, labels, tuple(counts))


def draw_phantom(rng: np.random.Generator, *, label: str, size: int) -> NDArray[np.uint8]:
    """Draw one phantom.

    Args:
        rng: source of randomness; advanced.
        label: class name; see `models.phantoms.lesions` for what each name means.
        size: S, pixels, 32 to 256.

    Returns:
        Image uint8 [S, S].

    Raises:
        PhantomError: the size is out of range.
    """
    _check_size(size)
    pose = pose_head(rng, size=size, view=_choose_view(rng, label))
    lesion = plan_lesion(rng, pose, label)
    frame = pose.frame
    if lesion is not None:
        reach = 1.6 * lesion.radius
        frame = frame.pushed(cx=lesion.x, cy=lesion.y, radius=reach, strength=lesion.push)
    image = draw_deep(rng, pose, frame, draw_head(rng, pose, frame))
    if lesion is not None:
        image = draw_lesion(rng, pose, image, lesion)
    return _scan(rng, image)


def _check_size(size: int) -> None:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise PhantomError(f"size {size} px is out of range; choose {MIN_SIZE} to {MAX_SIZE}")


def _choose_view(rng: np.random.Generator, label: str) -> View:
    odds = _VIEW_ODDS.get("notumor" if label in HEALTHY_NAMES else label, _ANY_VIEW)
    return _VIEWS[int(rng.choice(len(_VIEWS), p=odds))]


def _scan(rng: np.random.Generator, image: Image) -> NDArray[np.uint8]:
    """What the scanner adds: left or right, bias field, blur, ghost, noise, window."""
    size = len(image)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    image = gaussian_filter(image, rng.uniform(0.003, 0.008) * size)
    image = image * np.exp(np.float32(rng.uniform(0.02, 0.1)) * smooth_noise(rng, size, 2))
    if rng.random() < 0.25:
        shift = int(rng.integers(size // 8, size // 2))
        image = image + np.float32(rng.uniform(0.02, 0.07)) * np.roll(image, shift, axis=0)
    sigma = np.float32(rng.uniform(0.005, 0.025))
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.hypot(real, sigma * rng.standard_normal(image.shape, dtype=np.float32))
    image = image * np.float32(rng.uniform(0.9, 1.15))
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)

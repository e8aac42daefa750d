"""Phantoms for pretraining: the same heads and lesions, varied far beyond what a scanner does.

An encoder that is to work on real images must not learn how phantoms happen to look (domain
randomisation, Tobin et al. 2017, arXiv 1703.06907). So, on top of `models.phantoms.draw`:

- views hardly tell the class, and contrasts not at all; tissue brightness varies widely;
- brains have fractal texture, and spots and vessels that mean nothing, in all classes alike;
- lesions are smaller and often faint: mixed into the tissue under them by a random share;
- k-space is cut (ringing), images are sharpened, blurred, compressed, and their grey values bent.

Each comes with what a network may learn from it: the class, the view, the contrast and where the
lesion lies. Phantom i of a set depends on (seed, i) and nothing else. No patient data is involved.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter

from models.errors import PhantomError
from models.phantoms.canvas import Image, paint, smooth_noise
from models.phantoms.head import CONTRASTS, Pose, Tissue, View, draw_head, pose_head
from models.phantoms.lesions import Lesion, draw_lesion, plan_lesion
from models.phantoms.planes import draw_deep

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
VIEWS = tuple(View)
CONTRAST_NAMES = tuple(CONTRASTS)
MIN_SIZE, MAX_SIZE = 32, 256

_CONTRAST_ODDS = (0.2, 0.5, 0.12, 0.18)
_VIEW_ODDS = (0.42, 0.1, 0.2, 0.08, 0.2)
_SELLA_ODDS = (0.0, 0.3, 0.37, 0.0, 0.33)


@dataclass(frozen=True)
class Varied:
    """One phantom and what is known of it.

    Attributes:
        image: uint8 [S, S], 0 black.
        lesion: float32 [S, S], about where the lesion lies, 0 to 1.
        view: index into `VIEWS`.
        contrast: index into `CONTRAST_NAMES`.
    """

    image: NDArray[np.uint8]
    lesion: Image
    view: int
    contrast: int


def draw_varied(rng: np.random.Generator, *, label: str, size: int) -> Varied:
    """Draw one phantom for pretraining.

    Args:
        rng: source of randomness; advanced.
        label: one of `CLASSES`.
        size: S, pixels, 32 to 256.

    Raises:
        PhantomError: the class is unknown or the size out of range.
    """
    if label not in CLASSES:
        raise PhantomError(f"no varied phantom of class {label!r}; choose one of {CLASSES}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise PhantomError(f"size {size} px is out of range; choose {MIN_SIZE} to {MAX_SIZE}")
    view = int(rng.choice(len(VIEWS), p=_SELLA_ODDS if label == "pituitary" else _VIEW_ODDS))
    contrast = int(rng.choice(len(CONTRAST_NAMES), p=_CONTRAST_ODDS))
    tissue = _tissue(rng, CONTRASTS[CONTRAST_NAMES[contrast]])
    pose = replace(pose_head(rng, size=size, view=VIEWS[view]), tissue=tissue)
    lesion, frame = _lesion(rng, pose, label), pose.frame
    if lesion is not None:
        frame = frame.pushed(
            cx=lesion.x, cy=lesion.y, radius=1.6 * lesion.radius, strength=lesion.push
        )
    image = draw_deep(rng, pose, frame, draw_head(rng, pose, frame))
    image = _meaningless(rng, pose, image)
    mask = np.zeros_like(image)
    if lesion is not None:
        share = np.float32(rng.uniform(0.25, 1.0))
        image = image + share * (draw_lesion(rng, pose, image, lesion) - image)
        mask = pose.frame.disc(cx=lesion.x, cy=lesion.y, a=lesion.radius, b=lesion.radius)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return Varied(_picture(rng, _scanned(rng, image)), np.ascontiguousarray(mask), view, contrast)


def _tissue(rng: np.random.Generator, base: Tissue) -> Tissue:
    jitter = np.exp(rng.normal(0.0, 0.16, len(fields(Tissue))))
    values = (getattr(base, f.name) * j for f, j in zip(fields(Tissue), jitter, strict=True))
    return Tissue(*(float(value) for value in values))


def _lesion(rng: np.random.Generator, pose: Pose, label: str) -> Lesion | None:
    """The planned lesion, mostly smaller; one on the dura shrinks towards the dura."""
    lesion = plan_lesion(rng, pose, label)
    if lesion is None:
        return None
    shrink = float(rng.uniform(0.6, 1.25) if label == "pituitary" else rng.uniform(0.45, 1.1))
    reach = float(np.hypot(lesion.x, lesion.y))
    outward = 1.0
    if label == "meningioma" and reach > 0.5:
        outward = (1 - (1 - reach) * shrink) / reach
    return replace(
        lesion,
        x=lesion.x * outward,
        y=lesion.y * outward,
        radius=lesion.radius * shrink,
        push=min(lesion.push * float(rng.uniform(0.3, 1.2)), 0.9),
    )


def _meaningless(rng: np.random.Generator, pose: Pose, image: Image) -> Image:
    """Texture, patches and vessels of the brain that say nothing about the class."""
    size = len(image)
    grain = _fractal(rng, size, slope=rng.uniform(1.0, 2.5)) * np.float32(rng.uniform(0, 0.12))
    image = image * (1 + pose.brain * grain)
    if rng.random() < 0.35:
        bumps = smooth_noise(rng, size, int(rng.integers(6, 16))) - np.float32(
            rng.uniform(0.8, 1.6)
        )
        image = image + np.clip(bumps, 0, 1) * pose.brain * np.float32(rng.uniform(-0.15, 0.25))
    for _ in range(int(rng.integers(0, 4))):
        turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.0)
        vessel = pose.frame.disc(
            cx=reach * np.cos(turn),
            cy=reach * np.sin(turn),
            a=rng.uniform(0.015, 0.04),
            b=rng.uniform(0.02, 0.12),
            tilt=rng.uniform(0, np.pi),
        )
        image = paint(image, vessel * pose.brain * np.float32(rng.uniform(0.3, 0.9)), 0.7)
    return image


def _fractal(rng: np.random.Generator, size: int, *, slope: float) -> Image:
    """Noise whose power falls with frequency to the power of -2 `slope`; variance 1."""
    power = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
    power[0, 0] = np.inf  # no mean
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * power ** (-slope / 2)
    field = np.fft.irfft2(spectrum, s=(size, size))
    scaled: Image = (field / field.std()).astype(np.float32)
    return scaled


def _scanned(rng: np.random.Generator, image: Image) -> Image:
    """Blur, bias field, ghost, Rician noise, and a cut in k-space."""
    size = len(image)
    image = gaussian_filter(image, rng.uniform(0.2, 0.9) * size / 128)
    image = image * np.exp(np.float32(rng.uniform(0.02, 0.18)) * smooth_noise(rng, size, 2))
    if rng.random() < 0.25:
        shift, axis = int(rng.integers(size // 8, size // 2)), int(rng.integers(2))
        image = image + np.float32(rng.uniform(0.02, 0.08)) * np.roll(image, shift, axis=axis)
    if rng.random() < 0.8:
        sigma = np.float32(rng.uniform(0.003, 0.035))
        real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
        image = np.hypot(real, sigma * rng.standard_normal(image.shape, dtype=np.float32))
    if rng.random() < 0.3:
        kept = (np.abs(np.fft.fftfreq(size)) <= rng.uniform(0.25, 0.45)).astype(np.float32)
        both = kept[:, None] * (kept if rng.random() < 0.5 else np.ones_like(kept))
        image = np.abs(np.fft.ifft2(np.fft.fft2(image) * both)).astype(np.float32)
    return image


def _picture(rng: np.random.Generator, image: Image) -> NDArray[np.uint8]:
    """Window, bend of the grey values, sharpening, and now and then JPEG."""
    image = np.clip(image, 0, None)
    image = image / max(float(np.percentile(image, 99.3)), 0.05)
    image = image ** np.float32(np.exp(rng.normal(0, 0.25)))
    image = np.clip(image * np.float32(rng.uniform(0.9, 1.2)), 0, 1)
    if rng.random() < 0.5:
        edges = image - gaussian_filter(image, 1.0)
        image = np.clip(image + np.float32(rng.uniform(0.2, 1.0)) * edges, 0, 1)
    grey: NDArray[np.uint8] = np.ascontiguousarray(image * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        PillowImage.fromarray(grey).save(file, "JPEG", quality=int(rng.integers(30, 90)))
        grey = np.array(PillowImage.open(file), np.uint8)
    return grey

"""The head a phantom is drawn in: view, pose, contrast, and everything but the deep structures.

Order of drawing: `pose_head` decides the view and where the skull lies, the caller may push the
frame aside for a mass, `draw_head` paints neck and face, scalp, bone, CSF and the folded cortex.
Contrasts are rough copies of T1, T1 with contrast agent, T2 and FLAIR. The view and the contrast
never depend on the class, except that the caller may ask for a view that shows the sella.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np

from models.phantoms.canvas import Frame, Image, inside, paint, pixel_grid, smooth_noise


class View(StrEnum):
    """Which slice through the head is drawn."""

    AXIAL = "axial"
    AXIAL_BASE = "axial_base"
    SAGITTAL = "sagittal"
    SAGITTAL_SIDE = "sagittal_side"
    CORONAL = "coronal"


@dataclass(frozen=True)
class Tissue:
    """Brightness of each tissue in one contrast, 0 black to 1 white."""

    fat: float
    muscle: float
    bone: float
    csf: float
    grey: float
    white: float
    vessel: float
    enhancing: float
    swollen: float
    necrosis: float


CONTRASTS: dict[str, Tissue] = {
    "t1": Tissue(0.60, 0.32, 0.07, 0.13, 0.36, 0.45, 0.30, 0.68, 0.27, 0.14),
    "t1c": Tissue(0.60, 0.34, 0.07, 0.12, 0.36, 0.43, 0.70, 0.90, 0.25, 0.12),
    "t2": Tissue(0.50, 0.26, 0.06, 0.66, 0.48, 0.38, 0.14, 0.85, 0.70, 0.20),
    "flair": Tissue(0.45, 0.30, 0.06, 0.10, 0.45, 0.38, 0.20, 0.85, 0.68, 0.20),
}
"""Rough tissue brightness by contrast (arbitrary units); each head varies round these."""

_CONTRAST_ODDS = {"t1": 0.15, "t1c": 0.72, "t2": 0.05, "flair": 0.08}

_SELLA: dict[View, tuple[float, float]] = {
    View.AXIAL_BASE: (0.0, -0.14),
    View.SAGITTAL: (-0.2, 0.40),
    View.CORONAL: (0.0, 0.42),
}

# The floor of the brain, y over x: where the skull base cuts the circle off.
_FLOOR: dict[View, tuple[tuple[float, ...], tuple[float, ...]]] = {
    View.SAGITTAL: (
        (-1.0, -0.6, -0.32, -0.2, -0.08, 0.08, 0.3, 0.8, 1.0),
        (0.20, 0.26, 0.34, 0.46, 0.50, 0.80, 0.95, 0.75, 0.5),
    ),
    View.SAGITTAL_SIDE: ((-1.0, -0.5, -0.2, 0.2, 0.8, 1.0), (0.2, 0.3, 0.62, 0.66, 0.7, 0.5)),
    View.CORONAL: (
        (-1.0, -0.7, -0.4, -0.2, 0.0, 0.2, 0.4, 0.7, 1.0),
        (0.40, 0.62, 0.66, 0.48, 0.44, 0.48, 0.66, 0.62, 0.40),
    ),
}


@dataclass(frozen=True)
class Pose:
    """A head before anything is painted.

    Attributes:
        view: the slice.
        frame: canonical coordinates of every pixel.
        radius: [S, S] distance from the centre, 1 on the brain's outline, as this skull has it.
        brain: [S, S] soft mask of the inside of the skull.
        tissue: brightness of each tissue.
        bone: inner and outer edge of the skull, units of `radius`.
        scalp: outer edge of the scalp, units of `radius`.
        sella: where the pituitary gland lies, or None where this view does not show it.
    """

    view: View
    frame: Frame
    radius: Image
    brain: Image
    tissue: Tissue
    bone: tuple[float, float]
    scalp: float
    sella: tuple[float, float] | None


def pose_head(rng: np.random.Generator, *, size: int, view: View) -> Pose:
    """Decide size, place, tilt, outline and contrast of a head.

    Args:
        rng: source of randomness.
        size: S, pixels.
        view: the slice.

    Returns:
        The pose.
    """
    frame = _frame(rng, size, view)
    wobble = smooth_noise(rng, size, 3) * np.float32(rng.uniform(0.005, 0.02))
    radius = np.sqrt(frame.x**2 + frame.y**2) * (1 + wobble)
    brain = inside(radius, edge=1.0, width=frame.pixel)
    if view in _FLOOR:
        at, floor = _FLOOR[view]
        depth = np.interp(frame.x, at, floor).astype(np.float32) * np.float32(rng.uniform(0.9, 1.1))
        brain = brain * inside(frame.y, edge=depth, width=2 * frame.pixel)
    inner = 1 + rng.uniform(0.02, 0.07)
    outer = inner + rng.uniform(0.05, 0.11)
    return Pose(
        view=view,
        frame=frame,
        radius=radius,
        brain=brain,
        tissue=_contrast(rng),
        bone=(inner, outer),
        scalp=outer + rng.uniform(0.04, 0.13),
        sella=_SELLA.get(view),
    )


def _frame(rng: np.random.Generator, size: int, view: View) -> Frame:
    x, y = pixel_grid(size)
    zoom = rng.uniform(0.64, 0.73)
    high = 0.0
    if view in (View.AXIAL, View.AXIAL_BASE):
        a, b = zoom * rng.uniform(0.82, 0.92), zoom * rng.uniform(1.02, 1.12)
    elif view is View.CORONAL:
        a, b, high = zoom * rng.uniform(0.9, 1.02), zoom * rng.uniform(0.92, 1.02), -0.14
    else:
        a, b, high = zoom * rng.uniform(1.02, 1.12), zoom * rng.uniform(0.9, 1.0), -0.16
    tilt = rng.normal(0, 0.06)
    dx = x - np.float32(rng.normal(0, 0.025))
    dy = y - np.float32(high + rng.normal(0, 0.025))
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    u = (dx * cos + dy * sin) / np.float32(a)
    v = (dy * cos - dx * sin) / np.float32(b)
    bend = np.float32(rng.uniform(0.01, 0.025))
    return Frame(
        x=u + bend * smooth_noise(rng, size, 4),
        y=v + bend * smooth_noise(rng, size, 4),
        pixel=float(2.0 / size / zoom),
    )


def _contrast(rng: np.random.Generator) -> Tissue:
    name = rng.choice(list(_CONTRAST_ODDS), p=list(_CONTRAST_ODDS.values()))
    base = CONTRASTS[str(name)]
    jitter = rng.normal(1.0, 0.05, len(fields(Tissue)))
    values = [getattr(base, f.name) * j for f, j in zip(fields(Tissue), jitter, strict=True)]
    return Tissue(*(float(v) for v in values))


def draw_head(rng: np.random.Generator, pose: Pose, frame: Frame) -> Image:
    """Paint the head without its deep structures.

    Args:
        rng: source of randomness.
        pose: the pose.
        frame: the pose's frame, or that frame pushed aside by a mass; only the brain follows it.

    Returns:
        Image [S, S], background 0.
    """
    size, width, tissue = len(pose.radius), pose.frame.pixel, pose.tissue
    image = np.zeros_like(pose.radius)
    if pose.view in _FLOOR:
        image = _draw_face_and_neck(rng, pose, image)
    fat = tissue.fat * (1 + np.float32(0.15) * smooth_noise(rng, size, 14))
    image = paint(image, inside(pose.radius, edge=pose.scalp, width=width) * _vault(pose), fat)
    bone = inside(pose.radius, edge=pose.bone[1], width=width)
    marrow = tissue.bone * (1 + np.float32(0.5) * smooth_noise(rng, size, 10))
    image = paint(image, bone * np.maximum(_vault(pose), pose.brain), marrow)
    csf = inside(pose.radius, edge=pose.bone[0], width=width) * _vault(pose)
    image = paint(image, csf, tissue.csf)
    return paint(image, pose.brain, _cortex(rng, pose, frame))


def _vault(pose: Pose) -> Image:
    """Soft mask of the part of the image where the head is a closed skull."""
    if pose.view not in _FLOOR:
        return np.ones_like(pose.radius)
    at, floor = _FLOOR[pose.view]
    depth = np.interp(pose.frame.x, at, floor).astype(np.float32) + np.float32(0.08)
    return inside(pose.frame.y, edge=depth, width=0.1)


def _draw_face_and_neck(rng: np.random.Generator, pose: Pose, image: Image) -> Image:
    """Soft tissue below the skull base, with dark air spaces, in views that show it."""
    size, frame, tissue = len(image), pose.frame, pose.tissue
    marbling = smooth_noise(rng, size, 9) + smooth_noise(rng, size, 20)
    gap = np.float32(0.5 * (tissue.fat - tissue.muscle))
    flesh = np.maximum(tissue.muscle + gap * np.clip(marbling, -1.2, 1.2), tissue.bone)
    centre, half = (0.0, rng.uniform(0.62, 0.8)), rng.uniform(0.6, 0.85)
    if pose.view is not View.CORONAL:
        centre = (rng.uniform(0.1, 0.25), rng.uniform(0.5, 0.65))
        face = frame.disc(cx=-0.55, cy=rng.uniform(0.6, 0.75), a=0.5, b=rng.uniform(0.5, 0.75))
        image = paint(image, face, flesh)
    column = inside(np.abs(frame.x - np.float32(centre[0])), edge=half, width=frame.pixel)
    image = paint(image, column * inside(-frame.y, edge=-0.45, width=0.05), flesh)
    bite = pose.view is View.CORONAL
    for side in (-1, 1) if bite else (1,):
        at = side * rng.uniform(0.1, 0.4) if bite else rng.uniform(-0.6, -0.3)
        air = frame.disc(cx=at, cy=rng.uniform(0.75, 1.0), a=rng.uniform(0.08, 0.2), b=0.14)
        image = paint(image, air, tissue.bone)
    return image


def _cortex(rng: np.random.Generator, pose: Pose, frame: Frame) -> Image:
    """White matter under a folded grey ribbon, with CSF in the sulci."""
    size, tissue = len(pose.radius), pose.tissue
    depth = 1 - np.sqrt(frame.x**2 + frame.y**2)
    folds = smooth_noise(rng, size, int(rng.integers(13, 19)))
    shallow = np.clip((rng.uniform(0.3, 0.5) - depth) * 3.0, 0, 1)
    grey = np.clip((0.75 - np.abs(folds)) * 2.2, 0, 1) * shallow
    grey = np.maximum(grey, inside(depth, edge=rng.uniform(0.04, 0.1), width=0.06))
    image = tissue.white + grey * np.float32(tissue.grey - tissue.white)
    image = image * (1 + np.float32(rng.uniform(0.01, 0.04)) * smooth_noise(rng, size, 24))
    sulci = np.clip(1.1 - np.abs(folds) / np.float32(rng.uniform(0.15, 0.35)), 0, 1) * shallow
    return paint(image, sulci * np.float32(rng.uniform(0.4, 0.85)), tissue.csf)

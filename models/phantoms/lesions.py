"""Lesions of the phantoms, by class name.

    glioma        in the white matter: irregular, soft edge, often a bright ring round dead tissue,
                  with swelling round it
    meningioma    on the dura or the falx: smooth, even, bright, a dark cleft round it and a tail
    pituitary     in the sella, on the midline: small, even, may grow upwards
    healthy names (`models.classes.HEALTHY_NAMES`): none
    any other     a focal lesion whose usual place, size, shape and brightness follow from a hash of
                  the name, so that a class list for another brain disease works without code

`plan_lesion` decides where the mass lies before the head is drawn, so that tissue can be pushed
aside; `draw_lesion` paints it afterwards.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from models.classes import HEALTHY_NAMES
from models.phantoms.canvas import Image, inside, paint, smooth_noise
from models.phantoms.head import Pose, View


@dataclass(frozen=True)
class Lesion:
    """Where a mass lies and what kind it is.

    Attributes:
        kind: class name.
        x: centre, canonical units.
        y: centre, canonical units.
        radius: mean radius, canonical units.
        push: how far tissue gives way, 0 to below 1.
    """

    kind: str
    x: float
    y: float
    radius: float
    push: float


def plan_lesion(rng: np.random.Generator, pose: Pose, label: str) -> Lesion | None:
    """Choose place and size of the lesion of a class.

    Args:
        rng: source of randomness.
        pose: the head; for `pituitary` its view must show the sella.
        label: class name.

    Returns:
        The lesion, or None for a class without one.
    """
    if label in HEALTHY_NAMES:
        return None
    if label == "glioma":
        x, y = _within_brain(rng, pose, reach=(0.2, 0.62))
        return Lesion(label, x, y, rng.uniform(0.28, 0.46), push=rng.uniform(0.1, 0.4))
    if label == "meningioma":
        return _on_dura(rng, pose)
    if label == "pituitary" and pose.sella is not None:
        x, y = pose.sella
        radius = rng.uniform(0.14, 0.26)
        rise = 0.35 * radius if pose.view is not View.AXIAL_BASE else 0.0
        return Lesion(label, x + rng.normal(0, 0.02), y - rise + rng.normal(0, 0.015), radius, 0.1)
    return _by_name(rng, pose, label)


def draw_lesion(rng: np.random.Generator, pose: Pose, image: Image, lesion: Lesion) -> Image:
    """Paint a planned lesion.

    Args:
        rng: source of randomness.
        pose: the head.
        image: the head so far, [S, S].
        lesion: what `plan_lesion` gave.

    Returns:
        The image with the lesion.
    """
    if lesion.kind == "glioma":
        return _glioma(rng, pose, image, lesion)
    if lesion.kind == "meningioma":
        return _meningioma(rng, pose, image, lesion)
    if lesion.kind == "pituitary":
        return _adenoma(rng, pose, image, lesion)
    return _generic(rng, pose, image, lesion)


def _within_brain(
    rng: np.random.Generator, pose: Pose, *, reach: tuple[float, float]
) -> tuple[float, float]:
    """A point inside the brain of this view, `reach` from its centre."""
    x = y = 0.0
    for _ in range(16):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(*reach)
        x, y = length * np.cos(angle), length * np.sin(angle)
        nearest = np.argmin((pose.frame.x - x) ** 2 + (pose.frame.y - y) ** 2)
        if pose.brain.flat[nearest] > 0.9:
            break
    return float(x), float(y)


def _on_dura(rng: np.random.Generator, pose: Pose) -> Lesion:
    radius = rng.uniform(0.23, 0.4)
    axial = pose.view in (View.AXIAL, View.AXIAL_BASE)
    if rng.random() < 0.2 and pose.view in (View.AXIAL, View.CORONAL):
        side = rng.choice((-1, 1))
        y = rng.uniform(-0.75, 0.6 if axial else -0.3)
        return Lesion("meningioma", float(side * radius * 0.75), y, radius, push=0.3)
    turn = rng.uniform(0, 2 * np.pi) if axial else rng.uniform(np.pi * 0.95, np.pi * 2.05)
    centre = 1.0 - radius * rng.uniform(0.55, 0.8)
    x, y = centre * np.cos(turn), centre * np.sin(turn)
    return Lesion("meningioma", float(x), float(y), radius, push=rng.uniform(0.2, 0.5))


def _outline(
    rng: np.random.Generator, pose: Pose, lesion: Lesion, *, rough: float, squash: float = 0.25
) -> tuple[Image, float]:
    """Distance from the lesion's centre, 1 on its outline, and the width of a soft edge."""
    stretch = rng.uniform(1 - squash, 1 + squash)
    distance, width = pose.frame.ellipse(
        cx=lesion.x,
        cy=lesion.y,
        a=lesion.radius * stretch,
        b=lesion.radius / stretch,
        tilt=rng.uniform(0, np.pi),
    )
    bumps = smooth_noise(rng, len(distance), 14) + 0.5 * smooth_noise(rng, len(distance), 26)
    # Clipped, so that no island of the lesion appears far away.
    return distance * (1 + np.float32(rough) * np.clip(bumps, -1.8, 1.8)), width


def _glioma(rng: np.random.Generator, pose: Pose, image: Image, lesion: Lesion) -> Image:
    tissue, size = pose.tissue, len(image)
    distance, width = _outline(rng, pose, lesion, rough=rng.uniform(0.1, 0.2))
    fingers = rng.uniform(1.3, 1.8) + 0.3 * np.clip(smooth_noise(rng, size, 12), -2, 2)
    swelling = inside(distance, edge=fingers, width=0.35) * pose.brain
    image = paint(image, swelling * np.float32(rng.uniform(0.5, 1.0)), tissue.swollen)
    texture = np.float32(0.08) * smooth_noise(rng, size, 24)
    mask = inside(distance, edge=1.0, width=max(width, rng.uniform(0.15, 0.4))) * pose.brain
    mode = rng.random()
    if mode < 0.75:
        rim = tissue.grey + rng.uniform(0.65, 1.0) * (tissue.enhancing - tissue.grey)
        image = paint(image, mask, rim + texture)
        core = inside(distance, edge=rng.uniform(0.5, 0.72), width=0.25)
        return paint(image, core * pose.brain, tissue.necrosis + np.float32(0.5) * texture)
    tone = tissue.enhancing if mode < 0.9 else tissue.swollen
    tone = tissue.grey + rng.uniform(0.4, 0.9) * (tone - tissue.grey)
    return paint(image, mask * np.float32(0.9), tone + np.float32(1.3) * texture)


def _meningioma(rng: np.random.Generator, pose: Pose, image: Image, lesion: Lesion) -> Image:
    tissue, frame = pose.tissue, pose.frame
    skull = inside(pose.radius, edge=pose.bone[0], width=frame.pixel)
    bright = tissue.grey + rng.uniform(0.75, 1.0) * (tissue.enhancing - tissue.grey)
    distance, width = _outline(rng, pose, lesion, rough=rng.uniform(0.0, 0.04), squash=0.15)
    cleft = inside(distance, edge=1.0 + rng.uniform(0.08, 0.2), width=width) * skull
    image = paint(image, cleft * np.float32(rng.uniform(0.3, 0.9)), tissue.csf)
    if rng.random() < 0.7:
        along = inside(distance, edge=rng.uniform(1.4, 2.0), width=0.3)
        sheet = inside(np.abs(pose.radius - 1.0), edge=rng.uniform(0.03, 0.06), width=frame.pixel)
        image = paint(image, along * sheet, bright)
    grain = 1 + np.float32(0.03) * smooth_noise(rng, len(image), 14)
    return paint(image, inside(distance, edge=1.0, width=width) * skull, bright * grain)


def _adenoma(rng: np.random.Generator, pose: Pose, image: Image, lesion: Lesion) -> Image:
    tissue = pose.tissue
    tone = tissue.grey + rng.uniform(0.6, 1.0) * (tissue.enhancing - tissue.grey)
    distance, width = _outline(rng, pose, lesion, rough=rng.uniform(0.02, 0.08), squash=0.12)
    grain = 1 + np.float32(0.05) * smooth_noise(rng, len(image), 14)
    mask = inside(distance, edge=1.0, width=max(width, 0.12))
    if pose.view is not View.AXIAL_BASE and rng.random() < 0.5:
        above = lesion.y - lesion.radius * rng.uniform(0.9, 1.2)
        head = pose.frame.disc(cx=lesion.x, cy=above, a=0.7 * lesion.radius, b=0.6 * lesion.radius)
        mask = np.maximum(mask, head)
    image = paint(image, mask, tone * grain)
    if rng.random() < 0.25:
        cyst = pose.frame.disc(
            cx=lesion.x, cy=lesion.y, a=0.4 * lesion.radius, b=0.35 * lesion.radius
        )
        image = paint(image, cyst, tissue.necrosis)
    return image


def _habit(label: str) -> tuple[float, ...]:
    """Eight numbers in [0, 1) that follow from a class name alone."""
    digest = hashlib.sha256(label.encode("utf-8")).digest()
    return tuple(byte / 256 for byte in digest[:8])


def _by_name(rng: np.random.Generator, pose: Pose, label: str) -> Lesion:
    turn, reach, size, *_ = _habit(label)
    angle = 2 * np.pi * turn + rng.normal(0, 0.35)
    length = np.clip(0.15 + 0.6 * reach + rng.normal(0, 0.06), 0.0, 0.85)
    x, y = float(length * np.cos(angle)), float(length * np.sin(angle))
    radius = (0.1 + 0.18 * size) * rng.uniform(0.8, 1.25)
    return Lesion(label, x, y, radius, push=0.15)


def _generic(rng: np.random.Generator, pose: Pose, image: Image, lesion: Lesion) -> Image:
    _, _, _, bright, ring, rough, soft, _ = _habit(lesion.kind)
    tissue = pose.tissue
    distance, width = _outline(rng, pose, lesion, rough=0.02 + 0.2 * rough)
    mask = inside(distance, edge=1.0, width=max(width, 0.05 + 0.35 * soft)) * pose.brain
    tone = tissue.enhancing if bright < 0.5 else tissue.necrosis
    image = paint(image, mask * np.float32(rng.uniform(0.7, 1.0)), tone)
    if ring > 0.5:
        other = tissue.necrosis if bright < 0.5 else tissue.enhancing
        core = inside(distance, edge=0.35 + 0.4 * ring, width=0.2) * pose.brain
        image = paint(image, core, other)
    return image

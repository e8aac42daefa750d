"""Deep structures of each view: ventricles, midline, brain stem, cerebellum, orbits, sella.

`draw_deep` paints them into a head made by `phantom_head`. Each view's painter varies the size and
contrast of every structure, draws a normal pituitary gland where the view shows the sella, and
knows nothing of the class.
"""

from __future__ import annotations

import numpy as np

from models.phantoms.canvas import Frame, Image, inside, paint, smooth_noise
from models.phantoms.head import Pose, View


def draw_deep(rng: np.random.Generator, pose: Pose, frame: Frame, image: Image) -> Image:
    """Paint what lies deep in the head for this view.

    Args:
        rng: source of randomness.
        pose: the pose.
        frame: the pose's frame, pushed aside by a mass where there is one.
        image: the head so far, [S, S].

    Returns:
        The image with deep structures, vessels, and now and then spots of no meaning.
    """
    if pose.view is View.AXIAL:
        image = _axial(rng, pose, frame, image)
    elif pose.view is View.AXIAL_BASE:
        image = _axial_base(rng, pose, frame, image)
    elif pose.view is View.CORONAL:
        image = _coronal(rng, pose, frame, image)
    else:
        image = _sagittal(rng, pose, frame, image)
    if pose.sella is not None:
        image = _gland(rng, pose, image, at=pose.sella)
    return _incidental(rng, pose, image)


def _midline(rng: np.random.Generator, pose: Pose, frame: Frame, image: Image, to: float) -> Image:
    """The falx and the cleft round it, from the top down to y = `to`."""
    wave = np.float32(rng.uniform(0, 0.02)) * np.sin(frame.y * np.float32(rng.uniform(3, 8)))
    line = inside(np.abs(frame.x - wave), edge=rng.uniform(0.015, 0.035), width=frame.pixel)
    line = line * inside(frame.y, edge=to, width=0.05) * pose.brain
    image = paint(image, line * np.float32(rng.uniform(0.4, 0.9)), pose.tissue.csf)
    sinus = pose.frame.disc(cx=0.0, cy=-0.99, a=0.06, b=0.05)
    return paint(image, sinus * np.float32(0.8), pose.tissue.vessel)


def _pair(
    rng: np.random.Generator,
    frame: Frame,
    *,
    at: tuple[float, float],
    a: float,
    b: float,
    tilt: float,
) -> Image:
    """Mask of a structure and its mirror image, not quite alike."""
    mask = np.zeros_like(frame.x)
    for side in (-1, 1):
        grow = rng.normal(1.0, 0.08)
        one = frame.disc(cx=side * at[0], cy=at[1], a=a * grow, b=b * grow, tilt=side * tilt)
        mask = np.maximum(mask, one)
    return mask


def _axial(rng: np.random.Generator, pose: Pose, frame: Frame, image: Image) -> Image:
    tissue, wide = pose.tissue, rng.uniform(0.6, 1.5)
    image = _midline(rng, pose, frame, image, to=1.1)
    nuclei = _pair(rng, frame, at=(0.34, -0.02), a=0.13, b=0.26, tilt=-0.35)
    image = paint(image, nuclei * np.float32(rng.uniform(0.3, 0.9)), tissue.grey)
    front = _pair(rng, frame, at=(0.13, -0.25), a=0.065 * wide, b=0.2, tilt=-0.3)
    back = _pair(rng, frame, at=(0.25, 0.32), a=0.07 * wide, b=0.2, tilt=0.45)
    body = _pair(rng, frame, at=(0.12, 0.03), a=0.05 * wide, b=0.25, tilt=0.15)
    shown = back if rng.random() < 0.8 else body
    ventricles = np.maximum(np.maximum(front, shown), body * np.float32(rng.random() < 0.5))
    third = frame.disc(cx=0.0, cy=0.1, a=0.025 * wide, b=0.13)
    return paint(image, np.maximum(ventricles, third), tissue.csf)


def _axial_base(rng: np.random.Generator, pose: Pose, frame: Frame, image: Image) -> Image:
    tissue, size = pose.tissue, len(image)
    bone = _pair(rng, frame, at=(0.5, 0.2), a=0.36, b=0.07, tilt=-0.45)
    wings = _pair(rng, frame, at=(0.45, -0.45), a=0.36, b=0.05, tilt=0.25)
    clivus = frame.disc(cx=0.0, cy=-0.3, a=0.16, b=0.14)
    image = paint(image, np.maximum(np.maximum(bone, wings), clivus), tissue.bone)
    if rng.random() < 0.75:
        socket = _pair(rng, pose.frame, at=(0.4, -0.85), a=0.27, b=0.3, tilt=0.2)
        image = paint(image, socket, tissue.fat)
        globe = _pair(rng, pose.frame, at=(0.42, -0.95), a=0.16, b=0.17, tilt=0.0)
        image = paint(image, globe, 0.5 * (tissue.csf + tissue.muscle))
    cistern = frame.disc(cx=0.0, cy=0.0, a=0.3, b=0.26)
    image = paint(image, cistern, tissue.csf)
    stem = frame.disc(cx=0.0, cy=0.18, a=rng.uniform(0.18, 0.24), b=rng.uniform(0.15, 0.2))
    image = paint(image, stem, tissue.white)
    image = _cerebellum(rng, pose, frame, image, at=(0.0, 0.62), a=0.55, b=0.3)
    fourth = frame.disc(cx=0.0, cy=0.4, a=0.07, b=0.05)
    vessels = _pair(rng, frame, at=(0.13, -0.12), a=0.04, b=0.05, tilt=0.0)
    image = paint(image, vessels * np.float32(0.8), tissue.vessel)
    grain = 1 + np.float32(0.03) * smooth_noise(rng, size, 20)
    return paint(image, fourth, tissue.csf) * grain


def _coronal(rng: np.random.Generator, pose: Pose, frame: Frame, image: Image) -> Image:
    tissue, wide = pose.tissue, rng.uniform(0.6, 1.5)
    image = _midline(rng, pose, frame, image, to=-0.22)
    fissure = _pair(rng, frame, at=(0.68, 0.12), a=0.22, b=0.025, tilt=-0.25)
    image = paint(image, fissure * np.float32(0.8), tissue.csf)
    nuclei = _pair(rng, frame, at=(0.26, 0.1), a=0.12, b=0.16, tilt=0.2)
    image = paint(image, nuclei * np.float32(rng.uniform(0.3, 0.9)), tissue.grey)
    lateral = _pair(rng, frame, at=(0.14, -0.12), a=0.13, b=0.055 * wide, tilt=-0.5)
    third = frame.disc(cx=0.0, cy=0.1, a=0.025 * wide, b=0.12)
    image = paint(image, np.maximum(lateral, third) * pose.brain, tissue.csf)
    image = _skull_base(rng, pose, image, at=(0.0, 0.42), a=0.3)
    cistern = frame.disc(cx=0.0, cy=0.36, a=0.24, b=0.07)
    image = paint(image, cistern, tissue.csf)
    carotids = _pair(rng, frame, at=(0.16, 0.46), a=0.04, b=0.05, tilt=0.0)
    return paint(image, carotids * np.float32(0.8), tissue.vessel)


def _sagittal(rng: np.random.Generator, pose: Pose, frame: Frame, image: Image) -> Image:
    tissue, mid = pose.tissue, pose.view is View.SAGITTAL
    image = _cerebellum(rng, pose, frame, image, at=(0.5, 0.52), a=0.3, b=0.26)
    if not mid:
        body = frame.disc(cx=rng.uniform(-0.1, 0.2), cy=-0.05, a=0.3, b=0.07, tilt=0.15)
        image = paint(image, body * np.float32(rng.uniform(0.3, 1.0)), tissue.csf)
        fissure = frame.disc(cx=-0.15, cy=0.25, a=0.32, b=0.03, tilt=-0.25)
        return paint(image, fissure, tissue.csf)
    below, width = frame.ellipse(cx=0.02, cy=0.02, a=0.42, b=0.29)
    upper = inside(frame.y, edge=0.02, width=0.08)
    image = paint(image, inside(below, edge=1.0, width=width) * upper, tissue.csf)
    arc = inside(np.abs(below - 1), edge=rng.uniform(0.12, 0.2), width=width) * upper
    image = paint(image, arc, 1.12 * tissue.white)
    thalamus = frame.disc(cx=0.08, cy=0.06, a=0.2, b=rng.uniform(0.11, 0.15))
    image = paint(image, thalamus, tissue.grey)
    image = paint(image, frame.disc(cx=0.0, cy=0.36, a=0.2, b=0.1), tissue.csf)
    lean = rng.normal(0.12, 0.05)
    for cy, a, b in ((0.28, 0.11, 0.14), (0.5, 0.13, 0.16), (0.78, 0.09, 0.2), (1.1, 0.06, 0.35)):
        stem = frame.disc(cx=0.12 + lean * cy, cy=cy, a=a, b=b)
        image = paint(image, stem, tissue.white)
    return _skull_base(rng, pose, image, at=(-0.2, 0.4), a=0.2)


def _cerebellum(
    rng: np.random.Generator,
    pose: Pose,
    frame: Frame,
    image: Image,
    *,
    at: tuple[float, float],
    a: float,
    b: float,
) -> Image:
    """A leafy oval: folia as fine stripes that bend round its front edge."""
    distance, width = frame.ellipse(cx=at[0], cy=at[1], a=a, b=b)
    front, _ = frame.ellipse(cx=0.5 * at[0], cy=at[1] - 1.1 * b, a=a, b=b)
    warp = 1.5 * smooth_noise(rng, len(image), 14)
    leaves = np.sin(front * np.float32(rng.uniform(14, 24)) + warp + rng.uniform(0, 6))
    depth = np.float32(rng.uniform(0.2, 0.6) * (pose.tissue.white - pose.tissue.grey))
    tone = pose.tissue.grey + depth * leaves
    rim = inside(distance, edge=1.12, width=width) * pose.brain
    image = paint(image, rim, pose.tissue.csf)
    return paint(image, inside(distance, edge=1.0, width=width), tone)


def _skull_base(
    rng: np.random.Generator, pose: Pose, image: Image, *, at: tuple[float, float], a: float
) -> Image:
    """Bone and sphenoid sinus under the sella."""
    x, y = at
    bone = pose.frame.disc(cx=x, cy=y + 0.2, a=a, b=0.15)
    image = paint(image, bone, pose.tissue.bone * rng.uniform(1.0, 4.0))
    sinus = pose.frame.disc(cx=x, cy=y + 0.24, a=a * rng.uniform(0.4, 0.8), b=0.09)
    return paint(image, sinus, pose.tissue.bone)


def _gland(rng: np.random.Generator, pose: Pose, image: Image, *, at: tuple[float, float]) -> Image:
    """A normal pituitary gland: small, flat, a little brighter than brain."""
    x, y = at
    gland = pose.frame.disc(cx=x, cy=y, a=rng.uniform(0.05, 0.085), b=rng.uniform(0.02, 0.04))
    return paint(image, gland, 0.5 * (pose.tissue.grey + pose.tissue.enhancing))


def _incidental(rng: np.random.Generator, pose: Pose, image: Image) -> Image:
    """Vessels and small spots that mean nothing, in a part of all heads of any class."""
    for _ in range(int(rng.integers(0, 2))):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.95)
        spot = pose.frame.disc(
            cx=reach * np.cos(angle),
            cy=reach * np.sin(angle),
            a=rng.uniform(0.02, 0.05),
            b=rng.uniform(0.02, 0.04),
            tilt=angle,
        )
        tone = pose.tissue.vessel if rng.random() < 0.6 else pose.tissue.swollen
        image = paint(image, spot * pose.brain * np.float32(rng.uniform(0.3, 0.9)), tone)
    return image

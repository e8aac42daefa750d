"""The unit of privacy of each image, and what stands on both sides of a train/test split. Pure.

- **patient**: images of one person by their numbers, and nothing else. Nothing is joined by looks:
  were two patients joined because their images resemble each other, the arrival of one person would
  change which units there are, and cost more than one unit (docs/units.md).
- **near-duplicate group**: images that resemble each other at up to 40 bits, directly or through
  others (`datasites.ingest.groups`); numbers that happen to be known join as well, and so do images
  that are equal at the size they are stored in. Nobody knows who is behind a group: one person may
  be in several, change some, and bridge others.
- **image**: one picture, that is all files with the same pixels.

What holds of every kind, and what the privacy proof rests on: images of one unit taken away, all
others keep their unit, whatever was taken away. So nothing that is decided about an image after
this (copies, contradicting labels, the split) looks beyond its unit.

Where there is a test folder, units are those of both folders together, and a test image whose unit
has an image in training is left out. How many units have images on both sides is counted for the
data card: each unit adds at most 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.groups import MAX_BITS, in_order, join, join_alike, perceptual_hashes
from datasites.ingest.patients import Pseudonyms
from datasites.ingest.shard import IMAGE, PATIENT, UNIT_KIND

UNIT_RULES = {PATIENT: "patients/2", UNIT_KIND: "groups+numbers+equal/1", IMAGE: "pictures/1"}
"""Changes whenever the same images and numbers would be grouped otherwise. By the kind alone: a
rule that is named only where some image needs it would tell of that image."""


@dataclass(frozen=True, eq=False)
class Straddling:
    """Which test images cannot be used.

    Attributes:
        images: bool [M], of M test images those whose unit has an image in training.
        units: units with images on both sides.
    """

    images: NDArray[np.bool_]
    units: int


def units_of(
    images: NDArray[np.uint8],
    thumbs: NDArray[np.uint8],
    digests: Sequence[str],
    patients: Sequence[Pseudonyms],
    *,
    kind: str,
) -> NDArray[np.int64]:
    """The unit of each image.

    Args:
        images: uint8 [N, S, S], as stored.
        thumbs: uint8 [N, 64, 64].
        digests: of the pixels, one per image.
        patients: pseudonyms of each image's patient; for the unit patient exactly one each.
        kind: one of `shard.UNIT_KINDS`.

    Returns:
        int64 [N], 0..U-1 in order of first appearance.

    Raises:
        ValueError: an image of the unit patient has no number, or several.
    """
    if kind == IMAGE:
        return _by_name(digests)
    if kind == PATIENT:
        if any(len(numbers) != 1 for numbers in patients):
            raise ValueError("an image in a patient's unit has exactly one patient's number")
        return _by_name([numbers[0] for numbers in patients])
    # Equal as stored, they could not be told apart when versions are compared.
    stored = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    names = [(*numbers, own) for numbers, own in zip(patients, stored, strict=True)]
    by_number = _shared(np.arange(len(thumbs)), names)
    return in_order(join_alike(perceptual_hashes(thumbs), by_number, max_bits=MAX_BITS))


def straddling(train: NDArray[np.int64], test: NDArray[np.int64]) -> Straddling:
    """Which test images belong to a unit that has images in training.

    Args:
        train: int64 [N], units of the training images.
        test: int64 [M], of the test images, numbered together with those.
    """
    shared = np.intersect1d(train, test)
    return Straddling(np.isin(test, shared), len(shared))


def _by_name(names: Sequence[str]) -> NDArray[np.int64]:
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, len(first)) for name in names], np.int64)


def _shared(group: NDArray[np.int64], patients: Sequence[Pseudonyms]) -> NDArray[np.int64]:
    """The groups after joining images that share a number."""
    first: dict[str, int] = {}
    here, there = [], []
    for index, numbers in enumerate(patients):
        for number in numbers:
            here.append(index)
            there.append(first.setdefault(number, index))
    return join(group, np.array(here, np.int64), np.array(there, np.int64))

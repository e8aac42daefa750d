"""The unit of privacy of each image, and what stands on both sides of a train/test split. Pure.

- **patient**: images that share a number are one unit. Two numbers whose images are nearly
  identical (at most 24 of the 256 bits of their hashes apart, `datasites.ingest.groups`) are taken
  for one person with two numbers and joined, which errs toward privacy. Look-alikes at 25 to 40
  bits are left to the numbers, and counted: smooth slices of different people come that close, and
  joining those would chain a whole hospital into one unit.
- **near-duplicate group**: images that resemble each other at up to 40 bits; numbers that happen to
  be known join as well.
- **image**: each by itself.

Where there is a test folder, units are those of both folders together: an image of one may say that
two images of the other are one person's. A test image whose unit has an image in training is left
out (where units are single images: whose near-duplicate group has one).

What is counted for the data card is counted over units, and each unit adds at most 1: units that
hold several numbers, and units that have images on both sides. For single images neither is
counted, since one image could change the count by many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.groups import MAX_BITS, in_order, join, join_alike, links, perceptual_hashes
from datasites.ingest.patients import Pseudonyms
from datasites.ingest.shard import IMAGE, PATIENT

SAME_BITS = 24
PATIENT_RULES = "patients+same24/1"
"""Changes whenever the same images and numbers would be grouped otherwise."""


@dataclass(frozen=True, eq=False)
class Units:
    """Units of N images.

    Attributes:
        kind: what a unit is.
        units: int64 [N], 0..U-1 in order of first appearance.
        hashes: of the images, see `perceptual_hashes`.
        patients: pseudonyms of each image's patient.
        joined: units that hold several patients' numbers, because images are nearly identical.
        alike: pairs of units left apart although an image of one resembles one of the other.
    """

    kind: str
    units: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    patients: tuple[Pseudonyms, ...]
    joined: int
    alike: int

    @property
    def rules(self) -> str:
        """How they were made, beyond the rule of near-duplicate groups."""
        if self.kind == IMAGE:
            return "single images"
        return PATIENT_RULES if any(self.patients) else ""

    def of(self, images: NDArray[np.int64]) -> Units:
        """The units of some of the images, ascending indices; what was counted stays."""
        return replace(
            self,
            units=in_order(self.units[images]),
            hashes=self.hashes[:, images],
            patients=tuple(self.patients[index] for index in images.tolist()),
        )


@dataclass(frozen=True, eq=False)
class Straddling:
    """Which test images cannot be used.

    Attributes:
        images: bool [M], of M test images those whose unit has an image in training.
        units: units with images on both sides; None where units are single images.
    """

    images: NDArray[np.bool_]
    units: int | None


def units_of(thumbs: NDArray[np.uint8], patients: Sequence[Pseudonyms], *, kind: str) -> Units:
    """The unit of each image.

    Args:
        thumbs: uint8 [N, 64, 64].
        patients: pseudonyms of each image's patient; for the unit patient at least one each.
        kind: one of `shard.UNIT_KINDS`.

    Raises:
        ValueError: an image of the unit patient has no number.
    """
    hashes = perceptual_hashes(thumbs)
    alone = np.arange(len(thumbs))
    if kind == IMAGE:
        return Units(kind, alone, hashes, tuple(patients), joined=0, alike=0)
    if kind == PATIENT and not all(patients):
        raise ValueError("an image without a patient's number cannot be in a patient's unit")
    by_number = _shared(alone, patients)
    group = join_alike(hashes, by_number, max_bits=_bits(kind))
    units = in_order(group)
    if kind != PATIENT:
        return Units(kind, units, hashes, tuple(patients), joined=0, alike=0)
    parts = np.unique(np.stack([units, in_order(by_number)]), axis=1)
    joined = int((np.bincount(parts[0]) > 1).sum())
    return Units(kind, units, hashes, tuple(patients), joined=joined, alike=_alike(hashes, units))


def straddling(units: Units, *, train: int) -> Straddling:
    """Which test images belong to a unit that has images in training.

    Args:
        units: of both folders' images together.
        train: how many of them, the first, are training images.
    """
    single = units.kind == IMAGE
    whose = units.units
    if single:
        whose = join_alike(units.hashes, np.arange(len(whose)), max_bits=MAX_BITS)
    shared = np.intersect1d(whose[:train], whose[train:])
    return Straddling(np.isin(whose[train:], shared), None if single else len(shared))


def _bits(kind: str) -> int:
    return SAME_BITS if kind == PATIENT else MAX_BITS


def _shared(group: NDArray[np.int64], patients: Sequence[Pseudonyms]) -> NDArray[np.int64]:
    """The groups after joining images that share a number."""
    first: dict[str, int] = {}
    here, there = [], []
    for index, numbers in enumerate(patients):
        for number in numbers:
            here.append(index)
            there.append(first.setdefault(number, index))
    return join(group, np.array(here, np.int64), np.array(there, np.int64))


def _alike(hashes: NDArray[np.uint64], units: NDArray[np.int64]) -> int:
    found: set[tuple[int, int]] = set()
    for rows, columns in links(hashes, hashes, max_bits=MAX_BITS):
        found |= {(a, b) for a, b in _pairs(units[rows], units[columns]) if a < b}
    return len(found)


def _pairs(first: NDArray[np.int64], second: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    both: Iterable[list[int]] = np.unique(np.stack([first, second]), axis=1).T.tolist()
    return ((a, b) for a, b in both)

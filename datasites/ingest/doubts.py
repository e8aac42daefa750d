"""Images that look like somebody else's: named to the data owner, who decides. Pure.

Two patients' images that are nearly identical (at most 24 of the 256 bits of their hashes apart)
may be one person under two numbers, a file in the wrong place, or two people who look alike in one
slice. No rule can know, and no rule decides: whatever it did to the one image would depend on the
other person's being here. So both images stay as they are, in the units of their numbers, and the
pair is named on the owner's screen until the owner decides (`datasites.ingest.persons`). Pairs at
25 to 40 bits are smooth slices of different people as often as not; they are only counted.

The public training set shows why 24: there, 3 of 11,310 such pairs lie in two classes, the rest is
the same or the neighbouring slice (the table is in `datasites.ingest.groups`).

Where units are single images the same is said of test images that look like training images. Where
units are near-duplicate groups nothing is in doubt: looks are the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.groups import MAX_BITS, links, perceptual_hashes

SAME_BITS = 24


@dataclass(frozen=True)
class Doubt:
    """Two units with nearly identical images, by the first such images.

    Attributes:
        image: index of the one.
        other: index of the other, larger.
        same_pixels: whether they are equal.
    """

    image: int
    other: int
    same_pixels: bool


@dataclass(frozen=True)
class Doubts:
    """What is in doubt.

    Attributes:
        pairs: pairs of units that the owner has not decided on, each once, in order.
        alike: further pairs of units whose images look alike, if less; not named.
    """

    pairs: tuple[Doubt, ...] = ()
    alike: int = 0


def doubts(
    thumbs: NDArray[np.uint8],
    digests: Sequence[str],
    units: NDArray[np.int64],
    *,
    settled: frozenset[tuple[int, int]] = frozenset(),
) -> Doubts:
    """Pairs of units with nearly identical images.

    Args:
        thumbs: uint8 [N, 64, 64].
        digests: of the pixels, one per image.
        units: int64 [N], the unit of each image.
        settled: pairs of units that the owner calls two people, the smaller first.
    """
    hashes = perceptual_hashes(thumbs)
    named: dict[tuple[int, int], Doubt] = {}
    for image, other in _apart(hashes, units, SAME_BITS):
        pair = _pair(units, image, other)
        if pair not in settled and pair not in named:
            named[pair] = Doubt(image, other, digests[image] == digests[other])
    alike = {_pair(units, image, other) for image, other in _apart(hashes, units, MAX_BITS)}
    return Doubts(tuple(named.values()), len(alike - named.keys() - settled))


def across(
    thumbs: NDArray[np.uint8], digests: Sequence[str], units: NDArray[np.int64], *, train: int
) -> Doubts:
    """Test images, each once, that look like a training image of another unit.

    Args:
        thumbs: uint8 [N, 64, 64], of the training folder, then of the test folder.
        digests: of the pixels, one per image.
        units: int64 [N], the unit of each image.
        train: how many of them, the first, are training images.
    """
    found: dict[int, Doubt] = {}
    for image, other in _apart(perceptual_hashes(thumbs), units, MAX_BITS):
        if image < train <= other:
            found.setdefault(other, Doubt(image, other, digests[image] == digests[other]))
    return Doubts(tuple(found[other] for other in sorted(found)))


def _apart(
    hashes: NDArray[np.uint64], units: NDArray[np.int64], max_bits: int
) -> Iterator[tuple[int, int]]:
    """Linked images of different units, each pair once, the first image first."""
    for rows, columns in links(hashes, hashes, max_bits=max_bits):
        keep = (rows < columns) & (units[rows] != units[columns])
        yield from zip(rows[keep].tolist(), columns[keep].tolist(), strict=True)


def _pair(units: NDArray[np.int64], image: int, other: int) -> tuple[int, int]:
    low, high = sorted((int(units[image]), int(units[other])))
    return low, high

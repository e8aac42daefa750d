"""Which images are the same picture: exact duplicates, and near-duplicates as the privacy unit.

Collections without patient numbers hold the same slice many times: byte for byte, re-windowed,
mirrored, turned upside down, next to its neighbour in the scan. Every copy multiplies one patient's
weight in the loss, so a guarantee per image would be worth little. The unit of privacy is therefore
the group of images that are linked, directly or through others, by this rule:

    two images are linked if, under one of the eight symmetries of the square, at most 40 of the 256
    bits of their DCT hashes differ.

The hash is the perceptual hash that the imagehash library calls `phash` with `hash_size=16`: the
16 x 16 lowest frequencies of the 64 x 64 thumbnail, each compared with their median. It ignores
brightness, contrast and noise. A mirrored or turned image has the same coefficients but for signs
and transposition, so one transform gives all eight.

The threshold comes from looking at pairs of the public brain-tumour MRI training set (5,708 files
with 5,501 different images, which are what is counted here):

    bits    linked pairs   between classes   groups   largest   images in groups of 2 and more
     24         11,310            3           3,108        52        3,608
     32         14,102            5           2,731        52        3,877
     36         15,354            9           2,505        52        4,043
     40         16,385           37           2,270        52        4,214
     44         17,535           83           2,008       132        4,407
     48         18,751          177           1,718       276        4,612

Up to 40 nearly every linked pair is one slice, or neighbouring slices of one patient, and the large
groups are one slice in many guises. The symmetries matter: without them 40 bits link only 4,619
pairs into 3,390 groups, since most copies in that set are mirrored or overturned. Above 40 the
links between classes double with every step and groups begin to chain. At 40 two groups (of 41 and
33 images, smooth slices near the top of the head) already chain several people. A person who is a
part of a group changes it, which is a replacement and not an arrival, and one whose images bridge
groups makes one of them: both cost more than one unit. And slices of one person that look different
are different units. Patient numbers, where they exist, are better (docs/units.md).

Everything here is a pure function of its arguments. Time is quadratic in the number of images
(about 2 s for 5,500 on one core), memory linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 16
MAX_BITS = 40
GROUP_RULES = "dct16+symmetries8+hamming40/1"
"""Changes whenever the same images would be grouped otherwise."""

_BLOCK = 64
"""Rows compared at a time: 64 x N distances fit the processor's cache for N of some thousands."""


@dataclass(frozen=True)
class ExactDuplicates:
    """What equal pixels imply, as indices into the list asked about.

    Attributes:
        kept: the first of each set of equal images, and all that have no equal; ascending.
        dropped: (duplicate, the one kept instead); ascending.
        conflicting: every image whose equal lies in another class; ascending.
    """

    kept: tuple[int, ...]
    dropped: tuple[tuple[int, int], ...]
    conflicting: tuple[int, ...]


def exact_duplicates(digests: Sequence[str], labels: Sequence[int]) -> ExactDuplicates:
    """Sort images with equal pixels into one to keep and others to drop.

    Equal pixels under two classes say that a label is wrong, and not which: none of them is kept.

    Args:
        digests: of the pixels, one per image.
        labels: one per image.

    Raises:
        ValueError: the lengths differ.
    """
    classes: dict[str, set[int]] = {}
    for digest, label in zip(digests, labels, strict=True):
        classes.setdefault(digest, set()).add(label)
    first: dict[str, int] = {}
    dropped: list[tuple[int, int]] = []
    conflicting: list[int] = []
    for index, digest in enumerate(digests):
        if len(classes[digest]) > 1:
            conflicting.append(index)
        elif digest in first:
            dropped.append((index, first[digest]))
        else:
            first[digest] = index
    return ExactDuplicates(tuple(first.values()), tuple(dropped), tuple(conflicting))


def join_alike(
    hashes: NDArray[np.uint64], group: NDArray[np.int64], *, max_bits: int
) -> NDArray[np.int64]:
    """Join the groups of images that resemble each other.

    Args:
        hashes: of N images, see `perceptual_hashes`.
        group: int64 [N], group of each image, 0..N-1.
        max_bits: Hamming distance up to which two images are linked.

    Returns:
        int64 [N], the groups after joining.
    """
    for rows, columns in links(hashes, hashes, max_bits=max_bits):
        # Merging block by block keeps memory flat even if every image is linked to every other.
        group = join(group, rows, columns)
    return group


def links(
    first: NDArray[np.uint64], second: NDArray[np.uint64], *, max_bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Which images of one set resemble which of another, block by block.

    Args:
        first: hashes of N images.
        second: hashes of M images.
        max_bits: Hamming distance up to which two images are linked.

    Yields:
        Indices into the first and into the second set, equally many.
    """
    for start in range(0, first.shape[1], _BLOCK):
        rows, columns = np.nonzero(_linked(first[0, start : start + _BLOCK], second, max_bits))
        yield rows + start, columns


def perceptual_hashes(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash each thumbnail under the eight symmetries of the square.

    Args:
        thumbs: uint8 [N, T, T], T at least 16.

    Returns:
        uint64 [8, N, 4], 256 bits each; the first of the eight is the image as it is.
    """
    coefficients = _coefficients(thumbs)
    odd = (-1.0) ** np.arange(HASH_SIDE)
    flips = [coefficients * rows * columns for rows in (1, odd[:, None]) for columns in (1, odd)]
    return np.stack([_bits(each) for flip in flips for each in (flip, flip.swapaxes(1, 2))])


def _coefficients(thumbs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The lowest 16 x 16 DCT-II coefficients of each thumbnail, [N, 16, 16]."""
    basis = _dct_basis(thumbs.shape[1])
    found = np.empty((len(thumbs), HASH_SIDE, HASH_SIDE))
    for start in range(0, len(thumbs), _BLOCK):
        block = thumbs[start : start + _BLOCK].astype(np.float64)
        # Whole thousandths: rounding noise of the processor must not decide between equals.
        found[start : start + _BLOCK] = np.round(basis @ block @ basis.T, 3)
    return found


def _dct_basis(side: int) -> NDArray[np.float64]:
    """The lowest 16 rows of the unnormalised DCT-II matrix, [16, side]."""
    frequency, position = np.arange(HASH_SIDE)[:, None], np.arange(side)[None, :]
    return 2.0 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * side))


def _bits(coefficients: NDArray[np.float64]) -> NDArray[np.uint64]:
    flat = coefficients.reshape(len(coefficients), HASH_SIDE**2)
    above = flat > np.median(flat, axis=1, keepdims=True)
    return np.ascontiguousarray(np.packbits(above, axis=1)).view(np.uint64)


def _linked(
    here: NDArray[np.uint64], hashes: NDArray[np.uint64], max_bits: int
) -> NDArray[np.bool_]:
    """Which of N images are linked to which of B, bool [B, N]."""
    linked = np.zeros((len(here), hashes.shape[1]), np.bool_)
    for turned in hashes:
        distance = np.zeros(linked.shape, np.uint16)
        for word in range(hashes.shape[2]):
            distance += np.bitwise_count(here[:, None, word] ^ turned[None, :, word])
        linked |= distance <= max_bits
    return linked


def join(
    group: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The groups after linking image `first[i]` with image `second[i]`; numbers below N."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = group[first], group[second]
    new = a != b
    if not new.any():
        return group
    size = len(group)
    links = coo_array((np.ones(int(new.sum()), np.int8), (a[new], b[new])), shape=(size, size))
    _, component = connected_components(links, directed=False)
    return np.asarray(component[group], np.int64)


def in_order(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same groups, numbered 0..U-1 in order of first appearance."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]

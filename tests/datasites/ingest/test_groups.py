from __future__ import annotations

from collections.abc import Callable

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from datasites.ingest import groups
from datasites.ingest.groups import (
    MAX_BITS,
    exact_duplicates,
    in_order,
    join_alike,
    perceptual_hashes,
)

Draw = Callable[..., NDArray[np.uint8]]


def _units(thumbs: NDArray[np.uint8], *, max_bits: int = MAX_BITS) -> NDArray[np.int64]:
    alone = np.arange(len(thumbs))
    return in_order(join_alike(perceptual_hashes(thumbs), alone, max_bits=max_bits))


def _symmetries(plane: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    turned = [np.rot90(plane, k) for k in range(4)]
    return [*turned, *(each[:, ::-1] for each in turned)]


def test_first_of_equal_images_is_kept() -> None:
    same = exact_duplicates(["a", "b", "a", "c", "b", "a"], [0, 1, 0, 0, 1, 0])
    assert same.kept == (0, 1, 3)
    assert same.dropped == ((2, 0), (4, 1), (5, 0))
    assert same.conflicting == ()


def test_equal_pixels_under_two_classes_are_all_refused() -> None:
    same = exact_duplicates(["a", "b", "a", "a"], [0, 1, 1, 0])
    assert same.kept == (1,)
    assert same.dropped == ()
    assert same.conflicting == (0, 2, 3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=20))
def test_every_image_is_kept_dropped_or_conflicting(items: list[tuple[str, int]]) -> None:
    same = exact_duplicates([digest for digest, _ in items], [label for _, label in items])
    parts = [*same.kept, *(copy for copy, _ in same.dropped), *same.conflicting]
    assert sorted(parts) == list(range(len(items)))
    assert all(items[copy] == items[first] for copy, first in same.dropped)
    assert {first for _, first in same.dropped} <= set(same.kept)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="shorter"):
        exact_duplicates(["a", "b"], [0])


def test_the_hash_is_imagehash_phash(draw: Draw) -> None:
    thumbs = np.stack([draw(seed, 64) for seed in range(20)])
    ours = np.unpackbits(perceptual_hashes(thumbs)[0].view(np.uint8), axis=1).astype(bool)
    theirs = [imagehash.phash(Image.fromarray(t), hash_size=16).hash.ravel() for t in thumbs]
    np.testing.assert_array_equal(ours, np.stack(theirs))


def test_eight_hashes_are_those_of_the_eight_symmetries(draw: Draw) -> None:
    plane = draw(0, 64)
    of_one = {row.tobytes() for row in perceptual_hashes(plane[None])[:, 0]}
    of_each = {
        perceptual_hashes(np.ascontiguousarray(each)[None])[0, 0].tobytes()
        for each in _symmetries(plane)
    }
    assert len(of_one) == 8
    assert of_one == of_each


def test_brightness_contrast_and_mirroring_do_not_hide_a_copy(draw: Draw) -> None:
    plane = draw(1, 64)
    darker = (plane * 0.5 + 20).astype(np.uint8)
    noisy = np.clip(plane + np.random.default_rng(0).normal(0, 4, plane.shape), 0, 255)
    copies = [*_symmetries(plane), darker, darker[::-1], noisy.astype(np.uint8)]
    thumbs = np.stack([draw(2, 64), *copies, draw(3, 64)])
    units = _units(thumbs)
    assert units.tolist() == [0, *[1] * len(copies), 2]
    assert units.dtype == np.int64


def test_symmetric_images_do_not_depend_on_rounding() -> None:
    half = np.random.default_rng(3).integers(0, 256, (64, 32), dtype=np.uint8)
    plane = np.concatenate([half, half[:, ::-1]], axis=1)  # odd coefficients are exactly zero
    hashes = perceptual_hashes(plane[None])
    mirrored = 2
    np.testing.assert_array_equal(hashes[0], hashes[mirrored])


def _blend(first: NDArray[np.uint8], second: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return (first * (1 - share) + second * share).astype(np.uint8)


def test_links_chain(draw: Draw) -> None:
    first, last = draw(4, 64), draw(5, 64)
    shares = np.linspace(0, 1, 16)
    thumbs = np.stack([_blend(first, last, share) for share in shares])
    assert set(_units(thumbs).tolist()) == {0}
    assert _units(thumbs[[0, -1]]).tolist() == [0, 1]


def test_threshold(draw: Draw) -> None:
    thumbs = np.stack([draw(seed, 64) for seed in range(5)])
    assert _units(thumbs, max_bits=0).tolist() == [0, 1, 2, 3, 4]
    assert _units(thumbs, max_bits=256).tolist() == [0] * 5


def test_all_different_bits_are_not_mistaken_for_none() -> None:
    # 256 differing bits do not fit a byte: a counter that wraps would call opposites equal.
    basis = np.cos(np.pi * 3 * (2 * np.arange(64) + 1) / 128)
    plane = 127 + 100 * basis[:, None] * basis[None, :]
    thumbs = np.stack([plane, 254 - plane]).astype(np.uint8)
    hashes = perceptual_hashes(thumbs)
    opposite = np.stack([hashes, ~hashes], axis=1)[:, :, 0]
    assert not groups._linked(opposite[0, :1], opposite, 40)[0, 1]


def test_units_are_numbered_by_first_appearance() -> None:
    assert in_order(np.array([7, 2, 7, 0, 2])).tolist() == [0, 1, 0, 2, 1]


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(9)))
def test_grouping_does_not_depend_on_order(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    thumbs = np.stack(
        [
            np.asarray(Image.fromarray(turned).resize((64, 64), Image.Resampling.BICUBIC))
            for plane in base
            for turned in (plane, np.rot90(plane), plane[::-1])
        ]
    )
    units = _units(thumbs[order])
    assert units.max() == 2
    same = units[:, None] == units[None, :]
    expected = (np.array(order) // 3)[:, None] == (np.array(order) // 3)[None, :]
    np.testing.assert_array_equal(same, expected)
    _, first = np.unique(units, return_index=True)
    assert (np.diff(first) > 0).all()  # numbered by first appearance


def test_more_images_than_one_block(draw: Draw) -> None:
    thumbs = np.stack([draw(seed % 70, 64) for seed in range(150)])
    np.testing.assert_array_equal(_units(thumbs), np.arange(150) % 70)

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from datasites.ingest.errors import ShardError
from datasites.ingest.shard import UNIT_KIND, Shard, make_shard, version_of


def _parts(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "images": np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8),
        "labels": np.array([0, 1, 1, 0], np.int64),
        "units": np.array([0, 1, 1, 2], np.int64),
        "classes": ("a", "b"),
        "rules": "test/1",
    }
    return parts | changes


def test_a_shard_describes_itself() -> None:
    shard = make_shard(**_parts())
    assert (len(shard), shard.image_size, shard.unit_count) == (4, 8, 3)
    assert shard.unit_kind == UNIT_KIND
    assert len(shard.version) == 64


def test_the_version_is_fixed_for_all_time() -> None:
    assert make_shard(**_parts()).version == (
        "46be24869bbdafc36460230a7f2ada06aa0ab6643dfaea9d178a787d8e79b613"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8) ^ 1},
        {"labels": np.array([1, 1, 1, 0], np.int64)},
        {"units": np.array([0, 1, 2, 3], np.int64)},
        {"units": np.array([1, 0, 0, 2], np.int64)},
        {"classes": ("b", "a")},
        {"classes": ("a", "b", "c")},
        {"rules": "test/2"},
        {"unit_kind": "patient"},
    ],
)
def test_the_version_covers_everything(changes: dict[str, Any]) -> None:
    assert make_shard(**_parts(**changes)).version != make_shard(**_parts()).version


def test_the_version_does_not_depend_on_memory_layout() -> None:
    images = np.asfortranarray(_parts()["images"])
    assert make_shard(**_parts(images=images)).version == make_shard(**_parts()).version


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": np.zeros((4, 8, 8), np.float32)}, "uint8"),
        ({"images": np.zeros((4, 8, 9), np.uint8)}, "uint8"),
        ({"images": np.zeros((4, 64), np.uint8)}, "uint8"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "at least one"),
        ({"labels": np.zeros(4, np.int32)}, "int64"),
        ({"labels": np.zeros(3, np.int64)}, "one per image"),
        ({"labels": np.zeros((4, 1), np.int64)}, "one per image"),
        ({"labels": np.array([0, 1, 2, 0])}, "2 classes allow 0 to 1"),
        ({"labels": np.array([0, 1, -1, 0])}, "-1"),
        ({"units": np.array([0, 1, 3, 3])}, "without a gap"),
        ({"units": np.array([1, 1, 2, 2])}, "without a gap"),
        ({"units": np.array([-1, 0, 1, 2])}, "without a gap"),
        ({"units": np.array([0, 0, 0, 2**62])}, "without a gap"),
        ({"classes": ()}, "classes"),
        ({"classes": ("a", "a")}, "classes"),
    ],
)
def test_inconsistent_arrays_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ShardError, match=says):
        make_shard(**_parts(**changes))


def test_a_wrong_version_is_refused() -> None:
    shard = make_shard(**_parts())
    with pytest.raises(ShardError, match="its bytes say"):
        dataclasses.replace(shard, version="0" * 64)
    with pytest.raises(ShardError, match="its bytes say"):
        Shard(**_parts(labels=np.array([0, 0, 0, 0])), version=shard.version)


def test_arrays_cannot_be_changed_through_the_shard() -> None:
    parts = _parts()
    shard = make_shard(**parts)
    with pytest.raises(ValueError, match="read-only"):
        shard.images[0, 0, 0] = 1
    assert parts["images"].flags.writeable  # the caller's own array is left alone


def test_version_of_is_what_make_shard_uses() -> None:
    assert make_shard(**_parts()).version == version_of(**_parts(unit_kind=UNIT_KIND))

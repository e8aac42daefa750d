from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from datasites.ingest import shardstore
from datasites.ingest.errors import ShardDamagedError, ShardError, ShardExistsError
from datasites.ingest.shard import Shard, make_shard
from datasites.ingest.shardstore import load_shard, save_shard


def _shard(seed: int = 0) -> Shard:
    rng = np.random.default_rng(seed)
    return make_shard(
        images=rng.integers(0, 256, (5, 16, 16), dtype=np.uint8),
        labels=rng.integers(0, 2, 5),
        units=np.array([0, 1, 1, 2, 3]),
        classes=("a", "ü"),
        rules="test/1",
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save_shard(_shard(), tmp_path / "shard")
    return tmp_path / "shard"


def test_what_is_written_is_read(stored: Path) -> None:
    shard, again = _shard(), load_shard(stored)
    assert again.version == shard.version
    assert (again.classes, again.unit_kind, again.rules) == (
        shard.classes,
        shard.unit_kind,
        shard.rules,
    )
    for name in ("images", "labels", "units"):
        np.testing.assert_array_equal(getattr(again, name), getattr(shard, name))
    assert isinstance(again.images, np.memmap)


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_shard(_shard(), tmp_path / "shard")
    finally:
        os.umask(before)
    assert (tmp_path / "shard").stat().st_mode & 0o777 == 0o700
    files = sorted((tmp_path / "shard").iterdir())
    assert [file.name for file in files] == ["images.npy", "labels.npy", "shard.json", "units.npy"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_the_same_version_is_left_alone(stored: Path) -> None:
    before = stored.stat().st_ino
    save_shard(_shard(), stored)
    save_shard(_shard(), stored, replace=True)
    assert stored.stat().st_ino == before


def test_another_version_is_replaced_only_when_asked(stored: Path) -> None:
    with pytest.raises(ShardExistsError, match="another version"):
        save_shard(_shard(1), stored)
    assert load_shard(stored).version == _shard().version
    save_shard(_shard(1), stored, replace=True)
    assert load_shard(stored).version == _shard(1).version
    assert [each.name for each in stored.parent.iterdir()] == ["shard"]


def test_a_damaged_shard_is_replaced_only_when_asked(stored: Path) -> None:
    (stored / "units.npy").unlink()
    with pytest.raises(ShardExistsError, match="damaged"):
        save_shard(_shard(), stored)
    save_shard(_shard(), stored, replace=True)
    assert load_shard(stored).version == _shard().version


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_shard_is_never_overwritten(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("documents", "file"):
        with pytest.raises(ShardExistsError, match="no shard"):
            save_shard(_shard(), tmp_path / name, replace=replace)
    assert (tmp_path / "documents" / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "shard").mkdir()
    save_shard(_shard(), tmp_path / "shard")
    assert load_shard(tmp_path / "shard").version == _shard().version


def test_a_missing_parent_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nothing was changed"):
        save_shard(_shard(), tmp_path / "no" / "such" / "shard")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ShardError, match="No space left on device"):
        save_shard(_shard(), tmp_path / "shard")
    assert not any(tmp_path.iterdir())


def test_a_name_that_cannot_be_made_durable_leaves_the_old_shard(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def last_sync_fails(folder: Path) -> None:
        seen.append(load_shard(folder / "shard").version)  # the new one is in its place by now
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shardstore, "sync_folder", last_sync_fails)
    with pytest.raises(ShardError, match="nothing was changed"):
        save_shard(_shard(1), stored, replace=True)
    assert seen == [_shard(1).version]
    assert load_shard(stored).version == _shard().version
    assert [each.name for each in stored.parent.iterdir()] == ["shard"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_an_interrupted_replacement_keeps_the_old_shard(
    stored: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    rename = Path.rename

    def fail_to_install(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_to_install)
    with pytest.raises((ShardError, KeyboardInterrupt)):
        save_shard(_shard(1), stored, replace=True)
    assert load_shard(stored).version == _shard().version
    assert [each.name for each in stored.parent.iterdir()] == ["shard"]


def test_nothing_stored(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="ingest a data folder first"):
        load_shard(tmp_path / "shard")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "units.npy", "shard.json"])
def test_a_missing_file_is_damage(stored: Path, name: str) -> None:
    (stored / name).unlink()
    with pytest.raises(ShardDamagedError, match=f"{name} is missing"):
        load_shard(stored)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "units.npy", "shard.json"])
def test_any_flipped_byte_is_damage(stored: Path, name: str) -> None:
    content = (stored / name).read_bytes()
    for position in np.linspace(0, len(content) - 1, 60).astype(int):
        changed = bytearray(content)
        changed[position] ^= 0x01
        (stored / name).write_bytes(changed)
        try:
            shard = load_shard(stored)
        except ShardDamagedError:
            continue
        # White space in a header may change without changing what it says.
        assert shard.version == _shard().version
        assert name == "shard.json" or position < 128


def test_damage_has_the_exit_code_of_a_failed_verification() -> None:
    assert (ShardDamagedError.exit_code, ShardError.exit_code) == (6, 2)


@pytest.mark.parametrize("name", ["images.npy", "units.npy", "shard.json"])
@pytest.mark.parametrize("keep", [0, 5, 90, 150])
def test_a_truncated_file_is_damage(stored: Path, name: str, keep: int) -> None:
    content = (stored / name).read_bytes()
    (stored / name).write_bytes(content[:keep])
    with pytest.raises(ShardDamagedError):
        load_shard(stored)


def test_pickled_arrays_are_never_loaded(stored: Path) -> None:
    np.save(stored / "labels.npy", np.array([print] * 5, object), allow_pickle=True)
    with pytest.raises(ShardDamagedError, match="not a plain array"):
        load_shard(stored)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "dura-shard/2"},
        {"classes": "ab"},
        {"classes": [1, 2]},
        {"version": 5},
        {"version": "0" * 64},
        {"surprise": 1},
        {"rules": None},
    ],
)
def test_a_strange_header_is_damage(stored: Path, change: dict[str, object]) -> None:
    header = json.loads((stored / "shard.json").read_text())
    (stored / "shard.json").write_text(json.dumps(header | change))
    with pytest.raises(ShardDamagedError):
        load_shard(stored)


@pytest.mark.parametrize("text", ["[]", "{}", "nonsense", "[" * 100_000, "1" * 1_000_001])
def test_a_header_that_is_none_is_damage(stored: Path, text: str) -> None:
    (stored / "shard.json").write_text(text)
    with pytest.raises(ShardDamagedError):
        load_shard(stored)

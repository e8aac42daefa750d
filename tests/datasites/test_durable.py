"""Files are durable when a write returns: bytes first, then the name, then new folders' names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasites import durable
from datasites.durable import locked, make_folder, remove_leftovers, take_lock, write_file
from datasites.site.settings import SETTINGS_FILE, make_settings, read_settings, write_settings


@pytest.fixture
def synced(monkeypatch):
    """What was synced or renamed, in order."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def tell_fsync(descriptor):
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name[:5]}")
        fsync(descriptor)

    def tell_replace(path, target):
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(durable.os, "fsync", tell_fsync)
    monkeypatch.setattr(durable.Path, "replace", tell_replace)
    return done


def test_a_file_is_durable_before_its_name_and_its_name_before_the_return(tmp_path, synced):
    (tmp_path / "there").mkdir()
    write_file(tmp_path / "there" / "file", b"data")
    assert synced == ["sync .file", "rename", "sync there"]


def test_new_folders_are_durable_in_their_parents(tmp_path, synced):
    write_file(tmp_path / "above" / "below" / "file", b"data")
    top = tmp_path.name[:5]
    assert synced == [f"sync {top}", "sync above", "sync .file", "rename", "sync below"]
    make_folder(tmp_path / "above" / "below")
    assert len(synced) == 5


def test_a_sites_settings_are_durable(tmp_path, synced):
    made = make_settings(name="A", email="owner@a.example", relay="file:///srv/relay")
    write_settings(tmp_path, made)
    assert synced == ["sync .site", "rename", f"sync {tmp_path.name[:5]}"]
    assert read_settings(tmp_path) == made
    assert (tmp_path / SETTINGS_FILE).stat().st_mode & 0o777 == 0o600


def test_a_lock_is_held_by_one_and_goes_with_its_descriptor(tmp_path):
    held = take_lock(tmp_path / "lock", wait=False)
    with pytest.raises(BlockingIOError):
        take_lock(tmp_path / "lock", wait=False)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BlockingIOError):
        take_lock(tmp_path / "lock", wait=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before  # nothing is left open
    os.close(held)
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError):
        take_lock(tmp_path / "lock", wait=False)
    os.close(take_lock(tmp_path / "lock", wait=False))


def test_leftovers_go_and_nothing_else(tmp_path):
    for name in ("file", ".file", ".file.0123456789abcdef.json", ".keep.short"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".file.0123456789abcdef").write_bytes(b"half")
    (tmp_path / "deep" / ".folder.fedcba9876543210" / "in").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {
        "file", ".file", ".file.0123456789abcdef.json", ".keep.short", "deep",
    }  # fmt: skip

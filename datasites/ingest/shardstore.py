"""Shards on disk: a folder of `images.npy`, `labels.npy`, `units.npy` and `shard.json`.

Writing is all or nothing: a temporary folder beside the target is filled, flushed to disk and
renamed, and its name made durable as well. The folder is readable by its owner only (0700, files
0600). A folder that holds the same version already is left alone; one that holds another shard, or
a damaged one, is refused unless `replace` is given; one that holds anything else is refused in any
case. With `replace` the old folder is moved aside first and removed last, and moved back if the new
one cannot take its place.

Reading verifies: plain arrays (no pickle), and bytes that give the recorded version. What fails is
a `ShardDamagedError`; nothing is repaired silently.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np

from datasites.durable import sync_folder, sync_tree
from datasites.ingest.errors import ShardDamagedError, ShardError, ShardExistsError
from datasites.ingest.shard import FORMAT, Shard

_ARRAYS = ("images", "labels", "units")
_HEADER = "shard.json"
_MAX_HEADER_BYTES = 1_000_000


@dataclass(frozen=True)
class _Header:
    classes: tuple[str, ...]
    unit_kind: str
    rules: str
    version: str


def save_shard(shard: Shard, folder: Path, *, replace: bool = False) -> None:
    """Write a shard to a folder that only this user can read.

    Args:
        shard: what to write.
        folder: target; its parent must exist.
        replace: whether another version, or a damaged one, may be overwritten.

    Raises:
        ShardExistsError: something other than this version is there and may not be replaced.
        ShardError: the disk is full, or the parent is missing or not writable.
    """
    if _is_taken(folder) and not _may_overwrite(folder, shard.version, replace=replace):
        return
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(shard, scratch / "new")
            _swap(scratch / "new", folder, scratch / "old")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ShardError(
            f"the shard cannot be written to {folder}: {error.strerror}; nothing was changed"
        ) from error


def shard_version(folder: Path) -> str | None:
    """The private version of the shard in a folder as its header states it; None without one."""
    try:
        return _read_header(folder).version
    except ShardError:
        return None


def load_shard(folder: Path) -> Shard:
    """Read and verify a shard; its arrays stay on disk (memory-mapped) until they are used.

    Args:
        folder: what `save_shard` wrote.

    Raises:
        ShardError: there is no such folder.
        ShardDamagedError: a file is missing, is not what it should be, or was changed.
    """
    if not folder.is_dir():
        raise ShardError(f"there is no shard at {folder}; ingest a data folder first")
    header = _read_header(folder)
    images, labels, units = (_read_array(folder, name) for name in _ARRAYS)
    try:
        return Shard(
            images=images,
            labels=labels,
            units=units,
            classes=header.classes,
            unit_kind=header.unit_kind,
            rules=header.rules,
            version=header.version,
        )
    except ShardError as error:
        raise _damaged(folder, str(error)) from error


def _is_taken(folder: Path) -> bool:
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def _may_overwrite(folder: Path, version: str, *, replace: bool) -> bool:
    """Whether to write over what is there; False if it is this very version already."""
    if not (folder / _HEADER).is_file():
        raise ShardExistsError(
            f"{folder} holds something that is no shard and will not be overwritten; "
            "choose another folder"
        )
    try:
        if load_shard(folder).version == version:
            return False
        found = "another version of the data set"
    except ShardError:
        found = "a damaged shard"
    if not replace:
        raise ShardExistsError(
            f"{folder} holds {found}; ask to replace it, or choose another folder"
        )
    return True


def _write(shard: Shard, folder: Path) -> None:
    """Fill a new folder, owner-only from the first moment, and flush it to disk."""
    folder.mkdir(mode=0o700)
    for name in _ARRAYS:
        with _create(folder / f"{name}.npy") as file:
            np.lib.format.write_array(file, getattr(shard, name), allow_pickle=False)
    header = {
        "format": FORMAT,
        "classes": list(shard.classes),
        "unit_kind": shard.unit_kind,
        "rules": shard.rules,
        "version": shard.version,
    }
    with _create(folder / _HEADER) as file:
        file.write(json.dumps(header, indent=2).encode() + b"\n")
    sync_tree(folder)


def _create(path: Path) -> BufferedWriter:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` at `folder`, durably; what was there goes to `old`, or back if anything fails."""
    try:
        if _is_taken(folder):
            folder.rename(old)
        new.rename(folder)
        sync_folder(folder.parent)
    except BaseException:  # Ctrl-C between the two must not lose the old shard
        if not new.exists():
            folder.rename(new)
        if old.exists():
            old.rename(folder)
        raise


def _read_header(folder: Path) -> _Header:
    path = folder / _HEADER
    try:
        if path.stat().st_size > _MAX_HEADER_BYTES:
            raise _damaged(folder, f"{_HEADER} is far too large")
        return _parse_header(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise _damaged(folder, f"{_HEADER} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, f"{_HEADER} cannot be used: {error}") from error


def _parse_header(data: Any) -> _Header:
    """Check a header's form.

    Raises:
        ValueError: a field is missing, unknown or of another type.
    """
    fields = {"format", "classes", "unit_kind", "rules", "version"}
    if not isinstance(data, dict) or set(data) != fields or data["format"] != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT}")
    classes = data["classes"]
    texts = [data["unit_kind"], data["rules"], data["version"]]
    if not isinstance(classes, list) or not all(isinstance(text, str) for text in classes + texts):
        raise ValueError("a field is of the wrong type")
    return _Header(
        classes=tuple(classes),
        unit_kind=data["unit_kind"],
        rules=data["rules"],
        version=data["version"],
    )


def _read_array(folder: Path, name: str) -> Any:
    """Map an array; its type and shape are the shard's to check."""
    path = folder / f"{name}.npy"
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise _damaged(folder, f"{path.name} is missing") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise _damaged(folder, f"{path.name} is not a plain array: {error}") from error


def _damaged(folder: Path, what: str) -> ShardDamagedError:
    return ShardDamagedError(
        f"the shard at {folder} is damaged: {what}. Ingest the data folder again."
    )

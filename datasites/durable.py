"""Files that are there whole or not at all, and locks, after the death of a process or machine.

A new file is written beside its place, made durable (fsync), renamed into its place, and then its
folder is made durable as well: a name that was not synced may be gone after a power cut although
the file's bytes were. When `write_file` returns, the file is there for good; when the process or
the machine dies before, the former file is, and at most a leftover that `remove_leftovers` finds.

A lock is an advisory one on an open file: it goes with the process that holds it.

Nothing else in `datasites` and `orchestrator` makes a file whole or takes a lock by itself.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{16}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make a folder with its parents, durably; nothing happens when it is there."""
    if path.is_dir():
        return
    make_folder(path.parent, mode=mode)
    path.mkdir(mode=mode, exist_ok=True)
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Make everything below a folder durable, and the folder's own name."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)
    sync_folder(folder.parent)


def write_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    folder_mode: int = 0o700,
    modified_s: float | None = None,
) -> None:
    """Write `data` to `path` so that it is there whole, or not at all, after any crash.

    Args:
        path: where to; its folder is made where it is missing.
        data: the content.
        mode: the file's permissions.
        folder_mode: those of folders that are made.
        modified_s: the file's modification time, POSIX seconds; now if None.

    Raises:
        OSError: the disk is full or broken; what was at `path` before is still there.
    """
    make_folder(path.parent, mode=folder_mode)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if modified_s is not None:
                os.utime(file.fileno(), (modified_s, modified_s))
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def take_lock(path: Path, *, wait: bool) -> int:
    """Lock a file, made if it is missing; closing the descriptor gives it free.

    Args:
        path: the file; its folder is there.
        wait: for another holder.

    Returns:
        The descriptor.

    Raises:
        BlockingIOError: another holds it and `wait` is False.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, waiting for it; not to be taken twice by one thread."""
    descriptor = take_lock(path, wait=True)
    try:
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left below `folder`; nobody may be writing there."""
    for path in list(folder.rglob(".*")):
        if _LEFTOVER.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

"""A relay in a local or mounted folder.

A message is on disk, with its name, before `write` returns: after a power cut it is whole or not
there. Nothing is read through a link, and a pipe stops nobody. Participants may be different
users of one group: what is made is open to the group, and its contents are encrypted anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from datasites.syftnet.transports.storage import Storage, temporary_beside


class FolderStorage(Storage):
    """Files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def is_there(self) -> bool:
        """Whether the folder exists."""
        return self._root.is_dir()

    def write(self, path: str, data: bytes) -> None:
        """Write beside, flush to the disk, rename."""
        full = self._root / path
        partial = self._root / temporary_beside(path)
        with _group_may_write():
            if not full.parent.is_dir():
                self._make_parents(full.parent)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(full)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        _flush_folder(full.parent)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """Read a regular file that is not reached by a link."""
        try:
            descriptor = os.open(self._root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
                raise FileNotFoundError(errno.ENOENT, "no regular file", path) from error
            raise
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "no regular file", path)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(min(about.st_size, limit_bytes))

    def names(self, path: str) -> list[str]:
        """Names in a folder."""
        return os.listdir(self._root / path)  # noqa: PTH208 - names, not paths

    def remove(self, path: str) -> None:
        """Unlink a file."""
        (self._root / path).unlink()

    def remove_folder(self, path: str) -> None:
        """Remove a folder; a link is not followed."""
        shutil.rmtree(self._root / path)

    def close(self) -> None:
        """Nothing is kept open."""

    def _make_parents(self, folder: Path) -> None:
        # Not the root: an unmounted relay would be made anew, on the wrong disk.
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the relay's folder is not there")
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _group_may_write() -> Iterator[None]:
    mask = os.umask(0o002)
    try:
        yield
    finally:
        os.umask(mask)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot; they keep a renamed file by other means.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

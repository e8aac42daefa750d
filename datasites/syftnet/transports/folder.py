"""A relay in a local or mounted folder.

A message is on disk, with its name, before `write` returns: after a power cut it is whole or not
there. The root is the owner's choice and may be a link or a mount. **Below it no link is
followed**, at no place of a path: every folder is opened by its name in the open folder above it,
and whatever is done is done in the folder that was opened. So whoever may write to the relay can
lead nobody to a file elsewhere, not even by exchanging a folder between two looks. A pipe stops
nobody.

Participants may be different users of one group: what is made is open to the group, and its
contents are encrypted anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from datasites.syftnet.transports.storage import (
    OddPathError,
    Storage,
    odd_name,
    parts_of,
    temporary_beside,
)

_IN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderStorage(Storage):
    """Files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def is_there(self) -> bool:
        """Whether the folder exists."""
        return self._root.is_dir()

    def write(self, path: str, data: bytes) -> None:
        """Write beside, flush to the disk, rename."""
        with self._folder_of(path, make=True) as (folder, name):
            partial = temporary_beside(name)
            with _group_may_write():
                made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(partial, made, 0o666, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
                raise
            # Some network file systems cannot; they keep a renamed file by other means.
            with contextlib.suppress(OSError):
                os.fsync(folder)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """Read a regular file that is not reached by a link."""
        with self._folder_of(path) as (folder, name):
            try:
                how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(name, how, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):
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
        with self._folder(parts_of(path)) as folder:
            return os.listdir(folder)  # noqa: PTH208 - names, not paths

    def remove(self, path: str) -> None:
        """Unlink a file."""
        with self._folder_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def remove_folder(self, path: str) -> None:
        """Remove a folder; a link, there or within it, is removed itself."""
        with self._folder_of(path) as (folder, name):
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode):
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    def oddity(self, path: str) -> str | None:
        """See `Storage.oddity`."""
        try:
            with self._folder(parts_of(path)):
                return None
        except OddPathError as error:
            return error.strerror
        except OSError:
            return None

    def close(self) -> None:
        """Nothing is kept open."""

    @contextlib.contextmanager
    def _folder_of(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder that `path` lies in, and its name there."""
        *folders, name = parts_of(path)
        with self._folder(folders, make=make) as folder:
            yield folder, name

    @contextlib.contextmanager
    def _folder(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """A folder below the root, opened one name after another.

        Raises:
            OddPathError: what stands there is a link, or no folder.
        """
        # Not made: an unmounted relay would be made anew, on the wrong disk.
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for depth, part in enumerate(parts):
                try:
                    inner = _opened(part, folder, make=make)
                except NotADirectoryError as error:
                    about = os.stat(part, dir_fd=folder, follow_symlinks=False)
                    raise odd_name("/".join(parts[: depth + 1]), about.st_mode) from error
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _opened(name: str, folder: int, *, make: bool) -> int:
    try:
        return os.open(name, _IN_FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with _group_may_write(), contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _IN_FOLDER, dir_fd=folder)


@contextlib.contextmanager
def _group_may_write() -> Iterator[None]:
    mask = os.umask(0o002)
    try:
        yield
    finally:
        os.umask(mask)

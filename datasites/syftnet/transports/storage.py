"""What every storage below a relay does, whatever it is made of.

Paths are relative, with slashes, below the storage's root; they are Dura's own, never a peer's.
A file is there whole or not at all, for readers and after a crash of the writer. What is no
regular file (a folder, a pipe, a link) is not there. No link is followed on the way to it either:
`OddPathError` names what stands where a folder should be. Failures are `OSError`s and nothing else:
`FileNotFoundError` for what is not there, `StorageLostError` when the storage as a whole cannot
be reached, others for one file or folder (no permission, disk full). No error holds a secret.
A storage may be used by several threads.
"""

from __future__ import annotations

import errno
import stat
import uuid
from abc import ABC, abstractmethod

TEMPORARY = ".tmp-"


class StorageLostError(ConnectionError):
    """The storage as a whole cannot be reached: server down, wrong key, password refused."""


class OddPathError(NotADirectoryError):
    """A link, or something that is no folder, stands where a folder should be."""


class Storage(ABC):
    """Files below one root; see the module's docstring."""

    @abstractmethod
    def is_there(self) -> bool:
        """Whether the root exists, as opposed to being unmounted or never made."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write or replace the file at `path`, with all its parent folders.

        Raises:
            FileNotFoundError: the root is not there; it is never made.
        """

    @abstractmethod
    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """At most `limit_bytes` bytes of the file at `path`.

        Raises:
            FileNotFoundError: no regular file is there.
        """

    @abstractmethod
    def names(self, path: str) -> list[str]:
        """Names in the folder `path`, in any order, half-written ones among them.

        Raises:
            FileNotFoundError: no folder is there.
        """

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove the file at `path`.

        Raises:
            FileNotFoundError: it is not there (storages that cannot tell do not raise).
        """

    @abstractmethod
    def remove_folder(self, path: str) -> None:
        """Remove the folder `path` with all it holds.

        Raises:
            FileNotFoundError: it is not there (storages without folders do not raise).
        """

    @abstractmethod
    def oddity(self, path: str) -> str | None:
        """What keeps the folder `path` from being one of the relay's, None where nothing does.

        A folder that is not there is nothing odd. It is asked by whoever looks after a site.
        """

    @abstractmethod
    def close(self) -> None:
        """End connections; a later call opens them again."""


def temporary_beside(path: str) -> str:
    """A fresh name in the folder of `path`, hidden from listings."""
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{TEMPORARY}{uuid.uuid4().hex}"


def parts_of(path: str) -> list[str]:
    """The names that make up a path.

    Raises:
        FileNotFoundError: one of them would lead elsewhere; no participant writes such a path.
    """
    parts = path.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in path:
        raise FileNotFoundError(errno.ENOENT, "not a path below the relay", path)
    return parts


def odd_name(folder: str, mode: int) -> OddPathError:
    """The error for what stands where `folder` should be."""
    kind = "a link" if stat.S_ISLNK(mode) else "something that is no folder"
    return OddPathError(
        errno.ENOTDIR,
        f"{kind} stands where the folder {folder} should be; whoever runs the relay can remove it",
    )

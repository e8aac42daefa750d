"""The relay: a folder on some storage that carries messages between participants.

Guarantees: a file appears whole or not at all; listings are sorted and never show a file that is
still being written; what a listing names may be gone when it is read, which counts as nothing.
A relay that is missing or cannot be reached is a `RelayError` that names it and says what to
do, never an empty relay. One file or folder that a peer made unusable (no permission, a file or
a link where a folder should be) is empty to its reader, so that it stops nobody else. The relay is
not trusted with anything but delivery.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from datasites.errors import MailboxError, RelayError, SettingsError
from datasites.site import parse_relay_url
from datasites.syftnet.transports import (
    RelayAccess,
    Storage,
    StorageLostError,
    open_storage,
)

_UNLIMITED = 1 << 62
# These are about the storage, not about one file of it.
_WHOLE = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger("dura.relay")
T = TypeVar("T")


class Relay:
    """Delivery over one storage.

    Args:
        url: where it is, see `datasites.site.relay_url`.
        access: credentials. Never part of a study.
        storage: used instead of the one that `url` names.

    Raises:
        RelayError: the URL is not one of a relay.
        SettingsError: credentials are missing.
    """

    def __init__(
        self, url: str, access: RelayAccess | None = None, *, storage: Storage | None = None
    ) -> None:
        self.url = url
        self._odd: set[str] = set()
        if storage is None:
            try:
                address = parse_relay_url(url)
            except SettingsError as error:
                raise RelayError(f"the relay cannot be opened ({error}); check its URL") from error
            storage = open_storage(address, access or RelayAccess())
        self._storage = storage

    def check(self) -> None:
        """Raise `RelayError` unless the relay's folder is there."""
        if not self._call(self._storage.is_there):
            raise RelayError(
                f"the relay {self.url!r} is not there; is the storage mounted and the URL right?"
            )

    def put(self, path: str, data: bytes) -> str:
        """Write `data` to `path` (relative to the relay) atomically; returns `path`.

        Raises:
            MailboxError: only this path's folder is at fault (no permission, no folder).
        """
        try:
            self._reach(lambda: self._storage.write(path, data))
        except OSError as error:
            self._note(path, error)
            raise MailboxError(self._text(error)) from error
        return path

    def get(self, path: str, *, limit_bytes: int | None = None) -> bytes | None:
        """The bytes at `path`, or None when no readable file is there.

        Args:
            path: relative to the relay.
            limit_bytes: read at most this many bytes and one more, so that a caller can tell
                an oversized file from a whole one without reading it all.
        """
        limit = _UNLIMITED if limit_bytes is None else limit_bytes + 1
        try:
            return self._reach(lambda: self._storage.read(path, limit_bytes=limit))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(path, error)
            return None

    def names(self, path: str) -> list[str]:
        """Sorted names in the folder `path`; empty when it is not there or not readable."""
        try:
            found = self._reach(lambda: self._storage.names(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._note(path, error)
            return []
        return sorted({name for name in found if name and not name.startswith(".")})

    def make_folder(self, path: str) -> None:
        """Create the folder `path` with all its parents."""
        self.put(f"{path}/.keep", b"")

    def remove(self, path: str) -> None:
        """Remove the file `path`; nothing happens when it is not there.

        A peer's folder that lets nothing be removed is noted, and stops nobody else.
        """
        try:
            self._reach(lambda: self._storage.remove(path))
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(path, error)

    def remove_folder(self, path: str) -> None:
        """Remove the folder `path` with all it holds; a file or a link is removed itself.

        Raises:
            MailboxError: only this folder is at fault (no permission).
        """
        try:
            self._reach(lambda: self._storage.remove_folder(path))
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(path, error)
            raise MailboxError(self._text(error)) from error

    def oddities(self, folders: Iterable[str]) -> list[str]:
        """What stands in the way of these folders, each thing once: links, files, pipes."""
        found = (self._call(partial(self._storage.oddity, folder)) for folder in folders)
        return list(dict.fromkeys(what for what in found if what is not None))

    def close(self) -> None:
        """End the storage's connections."""
        self._storage.close()

    def _reach(self, work: Callable[[], T]) -> T:
        """Do `work`; an OSError of it is about its own path, for the relay is there."""
        try:
            return work()
        except StorageLostError as error:
            raise self._failed(error) from error
        except OSError as error:
            if error.errno in _WHOLE:
                raise self._failed(error) from error
            self.check()
            raise

    def _call(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RelayError:
        return RelayError(self._text(error))

    def _text(self, error: OSError) -> str:
        return (
            f"the relay {self.url!r} failed ({error.strerror or error}); "
            "nothing was lost, the same command can be run again"
        )

    def _note(self, path: str, error: OSError) -> None:
        folder = path.rpartition("/")[0]
        if folder not in self._odd and len(self._odd) < 1000:
            self._odd.add(folder)
            log.warning("%s on the relay is unusable (%s)", folder, error.strerror or error)

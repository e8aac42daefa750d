"""The relay: a folder on any fsspec file system that carries messages between participants.

Guarantees: a file appears whole or not at all (written beside, then renamed); listings never
show a file that is still being written; every failure of the storage becomes a `RelayError`
that names the relay and says what to do. The relay is not trusted with anything but delivery.
"""

from __future__ import annotations

import os
import posixpath
import uuid
from typing import Any

import fsspec

from datasites.errors import RelayError

_TEMPORARY = ".tmp-"


class Relay:
    """A folder on an fsspec file system.

    Args:
        url: an fsspec URL such as `file:///srv/relay` or `s3://bucket/relay`.
        options: passed to the file system (host, key files). Never part of a study.

    Raises:
        RelayError: the URL's protocol is unknown or the folder does not exist.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        self.url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **(options or {}))
        except (ValueError, ImportError) as error:
            raise RelayError(
                f"the relay {url!r} cannot be opened ({error}); check its URL"
            ) from error
        self.root = root.rstrip("/")

    def check(self) -> None:
        """Raise `RelayError` unless the relay's folder is there."""
        if not self._call(self._fs.isdir, self.root):
            raise RelayError(
                f"the relay {self.url!r} is not there; is the storage mounted and the URL right?"
            )

    def put(self, path: str, data: bytes) -> str:
        """Write `data` to `path` (relative to the relay) atomically; returns `path`."""
        self.check()  # or an unmounted relay would be made anew, on the wrong disk
        full = self._full(path)
        parent = posixpath.dirname(full)
        temporary = f"{parent}/{_TEMPORARY}{uuid.uuid4().hex}"

        def write() -> None:
            self._fs.makedirs(parent, exist_ok=True)
            with self._fs.open(temporary, "wb") as file:
                file.write(data)
            self._fs.mv(temporary, full)

        # Participants may be different users of one shared folder; what lies here is encrypted.
        mask = os.umask(0o002)
        try:
            self._call(write)
        finally:
            os.umask(mask)
        return path

    def get(self, path: str, *, limit_bytes: int | None = None) -> bytes | None:
        """The bytes at `path`, or None when no readable file is there.

        What lies there is a peer's doing: a folder, a pipe or a looping link counts as nothing,
        as long as the relay itself is there.

        Args:
            path: relative to the relay.
            limit_bytes: read at most this many bytes and one more, so that a caller can tell
                an oversized file from a whole one without reading it all.
        """

        def read() -> bytes:
            if self._fs.info(self._full(path))["type"] != "file":
                raise FileNotFoundError(path)
            with self._fs.open(self._full(path), "rb") as file:
                data: bytes = file.read() if limit_bytes is None else file.read(limit_bytes + 1)
            return data

        try:
            return self._call(read)
        except (FileNotFoundError, RelayError):
            self.check()
            return None

    def names(self, path: str) -> list[str]:
        """Sorted names in the folder `path`; empty when it is not there."""
        try:
            found = self._call(self._fs.ls, self._full(path), detail=False)
        except FileNotFoundError:
            self.check()
            return []
        names = (posixpath.basename(entry.rstrip("/")) for entry in found)
        return sorted(name for name in names if not name.startswith("."))

    def make_folder(self, path: str) -> None:
        """Create the folder `path` with all its parents."""
        self.put(f"{path}/.keep", b"")

    def remove(self, path: str) -> None:
        """Remove the file `path`; nothing happens when it is not there."""
        try:
            self._call(self._fs.rm_file, self._full(path))
        except FileNotFoundError:
            return

    def remove_folder(self, path: str) -> None:
        """Remove the folder `path` with all it holds."""
        try:
            self._call(self._fs.rm, self._full(path), recursive=True)
        except FileNotFoundError:
            return

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RelayError(
                f"the relay {self.url!r} failed ({error.strerror or error}); "
                "nothing was lost, the same command can be run again"
            ) from error

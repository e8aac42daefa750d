"""A relay on a WebDAV server: PUT beside, then MOVE, which servers do as a rename.

Replacing a file is not whole for readers on every server (a MOVE onto a file may delete it
first); messages are never replaced. Redirects are not followed: they would carry the password.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
import ssl
import threading
from urllib.parse import quote, unquote, urlsplit

import httpx
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from datasites.errors import SettingsError
from datasites.site import RelayAddress
from datasites.syftnet.transports.access import RelayAccess
from datasites.syftnet.transports.storage import Storage, StorageLostError, temporary_beside

CONNECT_S = 15.0
ANSWER_S = 60.0
MAX_LISTING_BYTES = 64 * 1024 * 1024
_ABOUT = b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>'


class WebdavStorage(Storage):
    """Files below one collection of a WebDAV server.

    Raises:
        SettingsError: no password, or the certificates cannot be read.
    """

    def __init__(self, address: RelayAddress, access: RelayAccess) -> None:
        user = address.user or access.username
        if not (user and access.password):
            raise SettingsError(
                f"{access.source} must name a password, and a username unless the URL has one; "
                "see docs/relay.md"
            )
        scheme = "https" if address.scheme == "davs" else "http"
        host = f"[{address.host}]" if ":" in address.host else address.host
        port = f":{address.port}" if address.port else ""
        self._host = address.host
        self._base = f"{scheme}://{host}{port}{quote(address.path)}/"
        self._auth = (user, access.password)
        self._verify = _certificates(access.ca_file)
        self._lock = threading.RLock()
        self._http: httpx.Client | None = None

    def is_there(self) -> bool:
        """Whether the collection exists."""
        try:
            return self._kinds("", depth=0)[0][1]
        except FileNotFoundError:
            return False

    def write(self, path: str, data: bytes) -> None:
        """PUT beside, MOVE."""
        partial = temporary_beside(path)
        try:
            self._send("PUT", partial, content=data)
        except FileNotFoundError:
            self._make_parents(path)
            self._send("PUT", partial, content=data)
        to = {"Destination": self._url(path), "Overwrite": "T"}
        try:
            self._send("MOVE", partial, headers=to)
        except OSError as error:
            if not isinstance(error, StorageLostError):
                with contextlib.suppress(OSError):
                    self._send("DELETE", partial)
            raise

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """GET, no more than asked for."""
        if self._kinds(path, depth=0)[0][1]:
            raise FileNotFoundError(errno.ENOENT, "no regular file", path)
        return self._send("GET", path, limit_bytes=limit_bytes)

    def names(self, path: str) -> list[str]:
        """Names in a collection."""
        own, *inside = self._kinds(path, depth=1)
        if not own[1]:
            raise NotADirectoryError(errno.ENOTDIR, "no folder", path)
        return [name for name, _ in inside]

    def remove(self, path: str) -> None:
        """DELETE a file."""
        self._send("DELETE", path)

    def remove_folder(self, path: str) -> None:
        """DELETE a collection with all it holds."""
        self._send("DELETE", path)

    def oddity(self, path: str) -> str | None:
        """None: this storage has no links."""

    def close(self) -> None:
        """End kept connections."""
        with self._lock:
            if self._http is not None:
                self._http.close()
            self._http = None

    # --- requests ---------------------------------------------------------------------------

    def _kinds(self, path: str, *, depth: int) -> list[tuple[str, bool]]:
        """Name and whether it is a collection: of `path` itself first, then of what it holds."""
        headers = {"Depth": str(depth), "Content-Type": "application/xml"}
        answer = self._send("PROPFIND", path, content=_ABOUT, headers=headers)
        try:
            entries = fromstring(answer).findall("{DAV:}response")
        except (DefusedXmlException, SyntaxError) as error:
            raise StorageLostError(f"{self._host} answered something else than WebDAV") from error
        own = unquote(urlsplit(self._url(path)).path).rstrip("/")
        itself, inside = (posixpath.basename(own), False), []
        for entry in entries:
            place = unquote(urlsplit(entry.findtext("{DAV:}href") or "").path).rstrip("/")
            found = (posixpath.basename(place), entry.find(".//{DAV:}collection") is not None)
            if place == own:
                itself = found
            else:
                inside.append(found)
        return [itself, *inside]

    def _send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        limit_bytes: int = MAX_LISTING_BYTES,
    ) -> bytes:
        with self._lock:
            if self._http is None:
                self._http = httpx.Client(
                    auth=self._auth,
                    verify=self._verify,
                    timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                )
            try:
                with self._http.stream(
                    method, self._url(path), content=content, headers=headers
                ) as answer:
                    self._judge(answer.status_code)
                    return _first_bytes(answer, limit_bytes)
            except httpx.HTTPError as error:
                # Without `from`, and only its kind: the request carries the password.
                raise StorageLostError(f"{self._host}: {type(error).__name__}") from None

    def _judge(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if status in (404, 409):  # 409: the parent folder is not there
            raise FileNotFoundError(errno.ENOENT, "not found")
        if status in (401, 407):
            raise StorageLostError(f"{self._host} refused the user or its password")
        if status == 507:
            raise OSError(errno.ENOSPC, f"{self._host} has no space left")
        if status >= 500 or status < 400:
            raise StorageLostError(f"{self._host} answered {status}")
        raise PermissionError(errno.EACCES, f"{self._host} answered {status}")

    def _make_parents(self, path: str) -> None:
        if not self.is_there():
            raise FileNotFoundError(errno.ENOENT, "the relay's folder is not there")
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            try:
                self._send("MKCOL", folder)
            except PermissionError as error:
                try:
                    self._kinds(folder, depth=0)  # it is there already, or the error stands
                except FileNotFoundError:
                    raise error from None

    def _url(self, path: str) -> str:
        return self._base + quote(path)


def _first_bytes(answer: httpx.Response, limit_bytes: int) -> bytes:
    found = bytearray()
    for chunk in answer.iter_bytes(1024 * 1024):
        found += chunk
        if len(found) >= limit_bytes:
            break
    return bytes(found[:limit_bytes])


def _certificates(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError(f"the certificates in {ca_file} cannot be read ({error})") from error

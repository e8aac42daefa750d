"""A relay on an SFTP server (any OpenSSH), one connection, opened when first used and reopened.

The server's key must be in the pinned known_hosts file: an unknown or another key ends the
connection before any credential is sent, and never asks. Keys of an SSH agent or of the home
folder are not tried. A folder that the server reaches by a link below the relay is refused; the
server resolves a path by itself, so a link that is laid between that look and the call after it is
followed, on the server and with no more than this account's rights there. A call whose connection
turns out to be dead is tried once more on a new one; every call is harmless to repeat. Calls of
several threads wait for each other.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import paramiko

from datasites.errors import SettingsError
from datasites.site import RelayAddress
from datasites.syftnet.transports.access import RelayAccess, require_private
from datasites.syftnet.transports.storage import (
    OddPathError,
    Storage,
    StorageLostError,
    odd_name,
    parts_of,
    temporary_beside,
)

CONNECT_S = 15.0
ANSWER_S = 60.0
_READ_AHEAD = 64 * 1024 * 1024
_BROKEN = (EOFError, paramiko.SSHException, TimeoutError, ConnectionError)

T = TypeVar("T")

# Its threads log tracebacks of what is raised here as one line anyway.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class SftpStorage(Storage):
    """Files below one folder of an SFTP server.

    Raises:
        SettingsError: no known_hosts file, neither key nor password, or a key others can read.
    """

    def __init__(self, address: RelayAddress, access: RelayAccess) -> None:
        self._host, self._port = address.host, address.port or 22
        self._root = address.path
        self._access = access
        self._user = address.user or access.username
        self._lock = threading.RLock()
        self._ssh: paramiko.SSHClient | None = None
        self._sftp: paramiko.SFTPClient | None = None
        self._real_root = ""
        self._check(address)

    def is_there(self) -> bool:
        """Whether the folder exists on the server."""
        try:
            mode = self._do(lambda sftp: sftp.stat(self._full("")).st_mode)
        except FileNotFoundError:
            return False
        return mode is not None and stat.S_ISDIR(mode)

    def write(self, path: str, data: bytes) -> None:
        """Write beside, compare the size, rename."""
        full, partial = self._full(path), self._full(temporary_beside(path))

        def work(sftp: paramiko.SFTPClient) -> None:
            self._must_be_plain(sftp, parts_of(path)[:-1])
            try:
                sftp.putfo(io.BytesIO(data), partial)
                sftp.posix_rename(partial, full)
            except OSError as error:
                # A refused name leaves no half file; a full disk must not stay full of them.
                if not isinstance(error, FileNotFoundError) and self._alive():
                    with contextlib.suppress(OSError):
                        sftp.remove(partial)
                raise

        try:
            self._do(work)
        except FileNotFoundError:
            self._do(lambda sftp: self._make_parents(sftp, path))
            self._do(work)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """Read a regular file that is not reached by a link."""
        full = self._full(path)

        def work(sftp: paramiko.SFTPClient) -> bytes:
            self._must_be_plain(sftp, parts_of(path)[:-1])
            found = sftp.lstat(full)
            if found.st_mode is None or not stat.S_ISREG(found.st_mode):
                raise FileNotFoundError(errno.ENOENT, "no regular file", path)
            with sftp.open(full, "rb") as file:
                size = min(found.st_size or 0, limit_bytes)
                if size <= _READ_AHEAD:
                    file.prefetch(size)
                return bytes(file.read(size))

        return self._do(work)

    def names(self, path: str) -> list[str]:
        """Names in a folder."""

        def work(sftp: paramiko.SFTPClient) -> list[str]:
            self._must_be_plain(sftp, parts_of(path))
            return sftp.listdir(self._full(path))

        return self._do(work)

    def remove(self, path: str) -> None:
        """Remove a file."""

        def work(sftp: paramiko.SFTPClient) -> None:
            self._must_be_plain(sftp, parts_of(path)[:-1])
            sftp.remove(self._full(path))

        self._do(work)

    def remove_folder(self, path: str) -> None:
        """Remove a folder; a link, there or within it, is removed itself."""

        def work(sftp: paramiko.SFTPClient, name: str) -> None:
            if not stat.S_ISDIR(sftp.lstat(name).st_mode or 0):
                sftp.remove(name)
                return
            for inner in sftp.listdir(name):
                work(sftp, f"{name}/{inner}")
            sftp.rmdir(name)

        def all_of_it(sftp: paramiko.SFTPClient) -> None:
            self._must_be_plain(sftp, parts_of(path)[:-1])
            work(sftp, self._full(path))

        self._do(all_of_it)

    def oddity(self, path: str) -> str | None:
        """See `Storage.oddity`."""
        try:
            self._do(lambda sftp: self._must_be_plain(sftp, parts_of(path)))
        except OddPathError as error:
            return error.strerror
        except OSError:
            return None
        return None

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._drop()

    # --- the connection -------------------------------------------------------------------

    def _do(self, work: Callable[[paramiko.SFTPClient], T]) -> T:
        with self._lock:
            reused = self._sftp is not None
            try:
                return work(self._session())
            except StorageLostError:
                raise
            except (OSError, EOFError, paramiko.SSHException) as error:
                if self._alive() and not isinstance(error, _BROKEN):
                    raise
                self._drop()
                # A server that hangs would make us wait once more for nothing.
                if not reused or isinstance(error, TimeoutError):
                    raise StorageLostError(f"the connection to {self._host} broke") from error
            return self._do(work)

    def _session(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            self._ssh = ssh = paramiko.SSHClient()
            try:
                self._sftp = self._connected(ssh)
            except BaseException:
                self._drop()
                raise
        return self._sftp

    def _connected(self, ssh: paramiko.SSHClient) -> paramiko.SFTPClient:
        access = self._access
        ssh.load_host_keys(access.known_hosts)
        ssh.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            ssh.connect(
                self._host,
                port=self._port,
                username=self._user,
                password=access.password or None,
                key_filename=access.key_file or None,
                passphrase=access.key_passphrase or None,
                allow_agent=False,
                look_for_keys=False,
                timeout=CONNECT_S,
                banner_timeout=CONNECT_S,
                auth_timeout=CONNECT_S,
            )
            sftp = ssh.open_sftp()
        except paramiko.BadHostKeyException as error:
            raise StorageLostError(
                f"{self._host} shows another host key than the one in {access.known_hosts}; "
                "somebody may pose as the server: ask its operator before you change the file"
            ) from error
        except paramiko.AuthenticationException:
            # Without `from`: what a library says about a login may repeat it.
            raise StorageLostError(
                f"{self._host} refused the user {self._user!r}; check key or password in "
                f"{access.source}"
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise StorageLostError(f"{self._host} port {self._port}: {error}") from error
        channel = sftp.get_channel()
        if channel is not None:
            channel.settimeout(ANSWER_S)
        return sftp

    def _alive(self) -> bool:
        transport = self._ssh.get_transport() if self._ssh is not None else None
        channel = self._sftp.get_channel() if self._sftp is not None else None
        return (
            transport is not None
            and transport.is_active()
            and channel is not None
            and not channel.closed
        )

    def _drop(self) -> None:
        if self._ssh is not None:
            self._ssh.close()
        self._ssh = self._sftp = None
        self._real_root = ""

    # --- names ------------------------------------------------------------------------------

    def _must_be_plain(self, sftp: paramiko.SFTPClient, parts: list[str]) -> None:
        """Raise `OddPathError` if the server reaches a folder below the root by a link."""
        if not parts:
            return
        path = "/".join(parts)
        self._real_root = self._real_root or (sftp.normalize(self._full("")) or "")
        with contextlib.suppress(OSError):  # what is not as it should be is named below
            if sftp.normalize(self._full(path)) == f"{self._real_root.rstrip('/')}/{path}":
                return
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            mode = sftp.lstat(self._full(folder)).st_mode or 0
            if not stat.S_ISDIR(mode):
                raise odd_name(folder, mode)

    def _make_parents(self, sftp: paramiko.SFTPClient, path: str) -> None:
        sftp.stat(self._full(""))  # not the root: an unmounted relay would be made anew
        parts = parts_of(path)[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            try:
                sftp.mkdir(self._full(folder))
            except OSError as error:
                try:  # it is there already, or the error stands
                    mode = sftp.lstat(self._full(folder)).st_mode or 0
                except FileNotFoundError:
                    raise error from None
                if not stat.S_ISDIR(mode):
                    raise odd_name(folder, mode) from error

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"

    def _check(self, address: RelayAddress) -> None:
        access = self._access
        if not access.known_hosts or not Path(access.known_hosts).is_file():
            raise SettingsError(
                f"no host key is pinned for {address.host}: put its line from `ssh-keyscan -p "
                f"{self._port} {address.host}` into {Path(access.source).parent}/known_hosts, "
                "after comparing `ssh-keygen -lf` of it with the server's operator"
            )
        if not self._user or not (access.key_file or access.password):
            raise SettingsError(
                f"{access.source} must name a key_file or a password, and a username unless "
                "the URL has one; see docs/relay.md"
            )
        if access.key_file:
            require_private(Path(access.key_file), "the SSH key")

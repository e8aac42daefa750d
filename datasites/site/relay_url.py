"""Which relays there are, and what may stand in a relay's URL. Pure rules, no storage is touched.

    file:///srv/relay             a folder that all participants reach
    sftp://user@host:22/relay     a folder on an SFTP server
    s3://bucket/prefix            an S3-compatible bucket
    davs://host/folder            WebDAV over HTTPS (dav:// on the same machine only)
    gdrive://                     Google Drive, by syft's own connection

A URL stands in `site.toml`, in studies and in messages to people, so it must not hold a secret:
a password in it is refused without being repeated. Secrets lie in `relay.toml`, see docs/relay.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from datasites.errors import SettingsError

SCHEMES = ("file", "sftp", "s3", "dav", "davs", "gdrive")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class RelayAddress:
    """A relay's URL in its parts.

    Attributes:
        scheme: one of `SCHEMES`.
        host: server, or bucket; empty for a folder. port: None for the scheme's own.
        user: account on the server; may be empty. path: the relay's folder, without a last slash.
    """

    scheme: str
    host: str
    port: int | None
    user: str
    path: str


def parse_relay_url(url: str) -> RelayAddress:
    """The parts of a relay's URL.

    Raises:
        SettingsError: unknown kind, a part is missing, or a secret stands in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError("the relay's URL cannot be read; check its host and port") from error
    if parts.password is not None or parts.query or parts.fragment:
        raise SettingsError(
            "the relay's URL holds a password, a query or a fragment; URLs are shown and sent, so "
            "put secrets into the relay.toml of your keys folder (docs/relay.md) and leave "
            "only the user's name in the URL"
        )
    if parts.scheme not in SCHEMES:
        raise SettingsError(
            f"{parts.scheme or 'no'}:// is not a kind of relay; use one of "
            + ", ".join(f"{scheme}://" for scheme in SCHEMES)
        )
    path = unquote(parts.path).rstrip("/")
    host = parts.hostname or ""
    if ".." in path.split("/"):
        raise SettingsError("the relay's URL holds `..`; write the folder's own path")
    if parts.scheme in ("sftp", "s3", "dav", "davs") and not host:
        raise SettingsError(f"a {parts.scheme}:// URL names a server or bucket after //")
    if parts.scheme == "file" and (host or not path):
        raise SettingsError("a file:// URL has three slashes and an absolute folder")
    if parts.scheme == "dav" and host not in LOOPBACK:
        raise SettingsError(
            f"dav:// would send the password to {host} in clear; use davs:// (HTTPS)"
        )
    return RelayAddress(parts.scheme, host, port, unquote(parts.username or ""), path)


def checked_relay_url(url: str) -> str:
    """`url` itself, for a settings model.

    Raises:
        ValueError: what `parse_relay_url` raises, in the form that pydantic reports.
    """
    try:
        parse_relay_url(url)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return url

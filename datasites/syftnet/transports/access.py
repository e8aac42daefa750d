"""Credentials for a relay: from a file that only its owner reads, or from the environment.

`relay.toml` in the participant's keys folder (a site's `keys/`, a study's `keys/`), mode 600:

    username      account on the server, where the URL names none
    password      of that account (SFTP, WebDAV)
    key_file      SSH private key (SFTP), mode 600; key_passphrase unlocks it
    known_hosts   OpenSSH known_hosts file with the server's key (SFTP); `known_hosts` beside
                  relay.toml when it is not named
    access_key, secret_key, endpoint_url, region      S3
    ca_file       certificates to trust instead of the system's (S3, WebDAV)
    token_file    Google's OAuth token (Drive), mode 600

Each can come from the environment instead, as DURA_RELAY_PASSWORD and so on, which wins. A file
that others may read is refused, as is an unknown field. Secrets are shown by no repr and are
in no error.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from datasites.errors import SettingsError

ACCESS_FILE = "relay.toml"
VARIABLE = "DURA_RELAY_"
_FILES = ("key_file", "known_hosts", "ca_file", "token_file")


@dataclass(frozen=True)
class RelayAccess:
    """What opens a relay; see the module's docstring.

    Attributes:
        source: the file that is to be mended when something is missing.
        drive_service: an open Google Drive service, given by code only, never by a file.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    key_file: str = ""
    key_passphrase: str = field(default="", repr=False)
    known_hosts: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    endpoint_url: str = ""
    region: str = ""
    ca_file: str = ""
    token_file: str = ""
    source: str = ACCESS_FILE
    drive_service: Any = field(default=None, repr=False, compare=False)


_NAMES = tuple(f.name for f in fields(RelayAccess) if f.name not in ("source", "drive_service"))


def load_access(folder: Path, environment: Mapping[str, str]) -> RelayAccess:
    """The credentials in `folder` and `environment`; empty ones when there are none.

    Raises:
        SettingsError: the file can be read by others, is no TOML or has an unknown field.
    """
    path = folder / ACCESS_FILE
    values = _read(path) if path.exists() else {}
    values |= {
        name: environment[VARIABLE + name.upper()]
        for name in _NAMES
        if environment.get(VARIABLE + name.upper())
    }
    if "known_hosts" not in values and (folder / "known_hosts").exists():
        values["known_hosts"] = "known_hosts"
    for name in _FILES:
        if name in values:
            values[name] = str(folder / Path(values[name]).expanduser())
    return replace(RelayAccess(**values), source=str(path))


def require_private(path: Path, what: str) -> None:
    """Raise `SettingsError` unless `path` is a file that only its owner reads."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"{what} {path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise SettingsError(
            f"{what} {path} can be read by others (mode {stat.S_IMODE(mode):o}); "
            f"run `chmod 600 {path}` and change the secret if somebody may have seen it"
        )


def _read(path: Path) -> dict[str, str]:
    require_private(path, "the credentials file")
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        # Not `from error`, and no detail: a parser quotes the text, which may be a password.
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise SettingsError(f"{path} is no TOML{where}; mend it by hand") from None
    for name, value in values.items():
        if name not in _NAMES:
            raise SettingsError(f"{path}: unknown field {name!r}; known are {', '.join(_NAMES)}")
        if not isinstance(value, str):
            raise SettingsError(f"{path}: {name} must be text in quotes")
    return values

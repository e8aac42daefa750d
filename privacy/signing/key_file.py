"""Signing keys on disk.

Guarantees:
- a new key file is created whole, mode 0600, durable, and never over an existing file;
- a key that its group or the world can read, write or execute, that belongs to another user, or
  that is reached through a symbolic link, is refused: somebody else may hold it;
- only Ed25519 PKCS#8 PEM is accepted.
"""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import KeyFileError
from privacy.signing.keys import SigningKey
from privacy.signing.new_file import create_whole

_MAX_BYTES = 4096


def create_key(path: Path) -> SigningKey:
    """Make a new signing key and store it.

    Args:
        path: where to; its folder must exist, the file must not.

    Returns:
        The new key.

    Raises:
        KeyFileError: the file exists already or cannot be written; nothing is left behind.
    """
    key = SigningKey.generate()
    try:
        create_whole(path, key.private_pem())
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists already; keep it, or move it away by hand") from error
    except OSError as error:
        raise KeyFileError(
            f"cannot create {path}: {error.strerror}; check folder and disk"
        ) from error
    return key


def load_key(path: Path) -> SigningKey:
    """Read a signing key.

    Args:
        path: a file made by `create_key`.

    Returns:
        The key.

    Raises:
        KeyFileError: the file is missing, open to others, a link, or not an Ed25519 key.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"cannot open the key {path}: {error.strerror}") from error
    try:
        _refuse_exposed(os.fstat(descriptor), path)
        pem = os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no unencrypted PKCS#8 PEM key") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a {type(private).__name__}, not an Ed25519 key")
    return SigningKey(private)


def _refuse_exposed(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise KeyFileError(f"{path} belongs to user {status.st_uid}, not to you")
    if status.st_mode & 0o077:
        raise KeyFileError(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, so others can reach it; "
            "treat the key as lost, or run chmod 600 if you know that nobody read it"
        )

"""Fingerprints of syft identities, for people to compare by telephone before they pair."""

from __future__ import annotations

import json
from typing import Any

import syft_crypto_python

from datasites.errors import PeerKeyError
from privacy import fingerprint


def bundle_fingerprint(bundle: dict[str, Any]) -> str:
    """The fingerprint of a syft public key bundle: eight groups of four digits.

    Covers the identity key, which signs every envelope and the bundle's other keys.

    Raises:
        PeerKeyError: the bundle is not a syft key bundle.
    """
    try:
        parsed = syft_crypto_python.SyftPublicKeyBundle.from_did_document(bundle)
        key: bytes = parsed.identity_key_bytes
    except Exception as error:  # the extension module raises bare exceptions of its own
        raise PeerKeyError(f"this is not a syft key bundle: {error}") from error
    return fingerprint(bytes(key).hex()).replace(" ", "-")


def bundle_text(bundle: dict[str, Any]) -> str:
    """A key bundle as participants publish it."""
    return json.dumps({"public_encryption_bundle": bundle}, sort_keys=True)


def parse_bundle(text: str | None, *, email: str) -> dict[str, Any]:
    """The key bundle a peer published for us.

    Raises:
        PeerKeyError: it published none, or something else.
    """
    if text is None:
        raise PeerKeyError(f"{email} has published no key for us yet; ask them to run `pair` first")
    try:
        bundle = json.loads(text)["public_encryption_bundle"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PeerKeyError(f"what {email} published is not a key bundle: {error}") from error
    if not isinstance(bundle, dict):
        raise PeerKeyError(f"what {email} published is not a key bundle")
    return bundle

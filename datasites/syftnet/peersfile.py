"""The peers file: who was accepted or rejected, and the pinned key of each. Local disk, mode 600.

syft's own transport keeps it on the relay, where whoever runs the relay could add a peer.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PEERS_FILE = "SYFT_peers.json"


class PeersFile:
    """The peers file in one participant's own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> dict[str, Any]:
        """E-mail to `state` and `public_encryption_bundle`, as syft has them."""
        path = self._folder / PEERS_FILE
        if not path.exists():
            return {}
        peers: dict[str, Any] = json.loads(path.read_text())
        return peers

    def update(self, peer: str, state: str, bundle: dict[str, Any] | None = None) -> None:
        """Note a decision, whole or not at all; a bundle that is not given stays."""
        peers = self.read()
        entry = peers.setdefault(peer, {})
        entry["state"] = state
        if bundle is not None:
            entry["public_encryption_bundle"] = bundle
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{PEERS_FILE}.{uuid.uuid4().hex}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(peers, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / PEERS_FILE)

    def undecided(self, asking: Iterable[str]) -> list[str]:
        """Those of `asking` who were neither accepted nor rejected."""
        peers = self.read()
        return [
            email
            for email in asking
            if peers.get(email, {}).get("state") not in ("accepted", "rejected")
        ]

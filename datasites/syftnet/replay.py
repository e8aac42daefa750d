"""Which messages were taken already, so that a replay is refused, also after a restart.

Of each peer the last `KEPT` messages are remembered by the hash of their signed content and the
time that the peer signed. When an entry is forgotten, its time becomes the peer's floor: nothing
signed at or before it is taken any more. So the record stays small and a replay of any age is
found. A peer whose clock runs ahead is told so rather than believed: else one message from next
year would silence that peer until then.

The rules are pure; `ReplayGuard` keeps them on local disk, whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from datasites.errors import MessageError

KEPT = 512
AHEAD_S = 86_400.0


@dataclass(frozen=True)
class History:
    """What is remembered of one peer.

    Attributes:
        floor: POSIX seconds; nothing signed at or before it is taken.
        taken: (signed time, content hash) of the last messages, oldest first.
    """

    floor: float = 0.0
    taken: tuple[tuple[float, str], ...] = ()


def check_new(history: History, *, signed_s: float, digest: str, now_s: float) -> None:
    """Raise unless a message is a new one.

    Args:
        history: of its peer.
        signed_s: POSIX seconds that the peer signed.
        digest: hash of the signed content.
        now_s: POSIX seconds here.

    Raises:
        MessageError: `replayed`, or `bad_time` when no clock could have said so.
    """
    if not math.isfinite(signed_s) or signed_s > now_s + AHEAD_S:
        raise MessageError("bad_time", f"signed at {signed_s!r}, more than a day ahead")
    if signed_s <= history.floor or any(digest == known for _, known in history.taken):
        raise MessageError("replayed", "the message was taken before, or is older than the record")


def with_taken(history: History, *, signed_s: float, digest: str) -> History:
    """The history after one more message."""
    taken = sorted({*history.taken, (signed_s, digest)})
    dropped, kept = taken[:-KEPT], taken[-KEPT:]
    floor = max([history.floor, *(at for at, _ in dropped)])
    return History(floor, tuple(kept))


class ReplayGuard:
    """The histories of all peers in one private folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, History] = {}

    def check(self, peer: str, *, signed_s: float, digest: str, now_s: float) -> None:
        """Raise `MessageError` unless the message is new; see `check_new`."""
        check_new(self._history(peer), signed_s=signed_s, digest=digest, now_s=now_s)

    def add(self, peer: str, *, signed_s: float, digest: str) -> None:
        """Remember a message; it is on disk when this returns."""
        history = with_taken(self._history(peer), signed_s=signed_s, digest=digest)
        self._write(peer, history)
        self._known[peer] = history

    def forget(self, peer: str) -> None:
        """Drop a peer's history, when another key of theirs was compared."""
        self._path(peer).unlink(missing_ok=True)
        self._known.pop(peer, None)

    def _history(self, peer: str) -> History:
        if peer not in self._known:
            self._known[peer] = self._read(peer)
        return self._known[peer]

    def _path(self, peer: str) -> Path:
        # A hash, because an e-mail may hold what a file name must not.
        return self._folder / f"{hashlib.sha256(peer.encode()).hexdigest()[:32]}.json"

    def _read(self, peer: str) -> History:
        path = self._path(peer)
        if not path.exists():
            return History()
        try:
            record = json.loads(path.read_text())
            return History(
                float(record["floor"]), tuple((float(at), str(to)) for at, to in record["taken"])
            )
        except (ValueError, KeyError, TypeError):
            # A broken record never becomes an empty one: all signed before it broke is refused.
            return History(floor=path.stat().st_mtime)

    def _write(self, peer: str, history: History) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._folder / f".{uuid.uuid4().hex}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"peer": peer, "floor": history.floor, "taken": history.taken}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(peer))

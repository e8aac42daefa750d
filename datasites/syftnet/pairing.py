"""A site's peers: who is paired with which key, who asks, who was turned away, and our own key.

Guarantees: a peer is paired only with the very key that two people compared; the decision and
the key lie on local disk, and what the relay shows later changes neither. A peer that was
unpaired is not listened to until a key of theirs is compared anew. Our own key is replaced in
this order: the new one is written beside the old one; every paired researcher is told in a
message that the old one signs; the new one takes its place. A crash in between is completed at
the next start. What was sealed for the old key can still be opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syft.sync.peers.peer import Peer, PeerState
from syft.sync.peers.peer_store import PeerStore

from datasites.errors import PeerKeyError
from datasites.syftnet import wire
from datasites.syftnet.client import Participant, connection_of, quiet
from datasites.syftnet.fingerprint import bundle_fingerprint, bundle_text, parse_bundle
from datasites.syftnet.replay import ReplayGuard
from datasites.syftnet.word_list import fingerprint_words, same_code

KEYS_FILE = "syft_keys.json"
NEXT_KEYS_FILE = "syft_keys.next.json"
PREVIOUS_KEYS_FILE = "syft_keys.previous.json"
MAX_REQUESTS = 100


@dataclass(frozen=True)
class PeerRequest:
    """Somebody asks to be paired.

    Attributes:
        email: who they say they are.
        fingerprint: of the key they published; compare it with them before approving.
    """

    email: str
    fingerprint: str


class SitePeers:
    """The peers of one site; see the module's docstring."""

    def __init__(
        self,
        participant: Participant,
        *,
        client: Any,
        send: Callable[[str, Mapping[str, bytes]], None],
    ) -> None:
        self._me = participant
        self._client = client
        self._send = send
        self._connection = connection_of(client)
        self._manager = client.sync_engine.peer_manager

    @property
    def _store(self) -> PeerStore:
        return self._manager.peer_store

    def load(self) -> None:
        """Give syft the pinned keys, from local disk alone; strangers cost nothing here."""
        peers = [
            Peer(email=email, state=PeerState.ACCEPTED, public_encryption_bundle=bundle)
            for email, entry in self._connection._get_peers_json().items()
            if (bundle := entry.get("public_encryption_bundle"))
            and entry.get("state") in ("accepted", "rejected")
        ]
        self._store.set_peers(peers)

    def paired(self) -> dict[str, str]:
        """E-mail to key fingerprint of every paired researcher."""
        return {
            email: bundle_fingerprint(entry["public_encryption_bundle"])
            for email, entry in self._connection._get_peers_json().items()
            if entry.get("state") == "accepted" and entry.get("public_encryption_bundle")
        }

    def pending(self) -> list[PeerRequest]:
        """Who asks to be paired; requests without a readable key are left out."""
        requests = []
        for email in self._connection.get_peer_requests()[:MAX_REQUESTS]:
            try:
                requests.append(PeerRequest(email, bundle_fingerprint(self._published(email))))
            except PeerKeyError:
                continue
        return requests

    def compare(self, email: str, code: str) -> dict[str, Any]:
        """The key bundle of one who asks, if it is the one that was compared.

        Raises:
            PeerKeyError: no such request, or another key than `code` says.
        """
        bundle = self._published(email)
        found = bundle_fingerprint(bundle)
        if not same_code(code, fingerprint=found):
            raise PeerKeyError(
                f"the key that {email} published has the fingerprint {found} "
                f"({fingerprint_words(found)}), not {code}; do not pair: somebody may have "
                "swapped it. Compare again by telephone."
            )
        if email in self.paired():
            raise PeerKeyError(f"{email} has not asked to be paired, or was decided already")
        return bundle

    def approve(self, email: str, code: str) -> None:
        """Pair with `email` if, and only if, its key is the one that was compared.

        Raises:
            PeerKeyError: no such request, or another key than `code` says.
        """
        bundle = self.compare(email, code)
        found = bundle_fingerprint(bundle)
        known = self._connection._get_peers_json().get(email, {})
        with quiet():
            # syft reads the bundle again only when it knows none: pin the compared one.
            self._store.set_peer(Peer(email=email, state=PeerState.REQUESTED_BY_PEER))
            self._store.set_peer_bundle(email, bundle)
            self._client.approve_peer_request(email, verbose=False)
            self._connection._update_peer_state(email, "accepted", bundle)
            self.load()
        pinned = self._store.get_cached_peer(email)
        if pinned is None or bundle_fingerprint(pinned.public_encryption_bundle or {}) != found:
            raise PeerKeyError(f"syft pinned another key for {email} than the compared one")
        if known.get("public_encryption_bundle") not in (None, bundle):
            ReplayGuard(self._me.own_folder / "seen").forget(email)

    def unpair(self, email: str) -> None:
        """Turn a paired researcher away; their key is kept, to tell them so.

        Raises:
            PeerKeyError: they are not paired.
        """
        if email not in self.paired():
            raise PeerKeyError(f"{email} is not paired here; `dura site peers` lists who is")
        self._connection._update_peer_state(email, "rejected")

    # --- our own key --------------------------------------------------------------------

    def rotate(self) -> str:
        """Make a new key of our own, tell every paired researcher, and use it from now on."""
        waiting = self._me.own_folder / NEXT_KEYS_FILE
        fresh = PeerStore(email=self._me.email, use_encryption=True)
        fresh.generate_keys()
        partial = waiting.with_suffix(".partial")
        with quiet():
            fresh.save_keys(partial)
            partial.chmod(0o600)
            _sync(partial)
            partial.replace(waiting)
        return self.finish_rotation()

    def finish_rotation(self) -> str:
        """Complete a rotation that was begun; nothing happens when there is none.

        Returns:
            The fingerprint of the key in use.
        """
        waiting = self._me.own_folder / NEXT_KEYS_FILE
        if waiting.exists():
            fresh = PeerStore.load_keys(waiting)
            bundle = fresh.get_public_bundle()
            self.load()
            for email in self.paired():
                self._send(email, {str(wire.KEY_PATH): bundle_text(bundle).encode()})
                self._connection.write_encryption_bundle(email, bundle_text(bundle))
            current = self._me.own_folder / KEYS_FILE
            previous = self._me.own_folder / PREVIOUS_KEYS_FILE
            previous.unlink(missing_ok=True)
            os.link(current, previous)
            waiting.replace(current)
            self._store._private_keys = fresh._private_keys
        return bundle_fingerprint(self._store.get_public_bundle())

    def _published(self, email: str) -> dict[str, Any]:
        return parse_bundle(self._connection.read_peer_encryption_bundle(email), email=email)


def open_with_previous(
    own_folder: Path, *, sender: str, store: PeerStore, envelope: bytes
) -> bytes:
    """Decrypt what was sealed for the key that this site had before.

    Raises:
        PeerKeyError: there was none before, or it is not for that one either.
    """
    path = own_folder / PREVIOUS_KEYS_FILE
    if not path.exists():
        raise PeerKeyError("this site's key was never replaced")
    before = PeerStore.load_keys(path)
    peer = store.get_cached_peer(sender)
    if peer is not None:
        before.set_peers([peer])
    try:
        return before.decrypt(sender, envelope)
    except Exception as error:  # the extension module raises bare exceptions of its own
        raise PeerKeyError("not sealed for this site's former key either") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

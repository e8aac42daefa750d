"""What sites send to a researcher: opened, judged, kept, and what they may not send reported.

A delivery is believed only when its envelope is signed by the site whose key was compared and
pinned, when it is new (no replay, see `seen`), and when every path in it is the site's own card,
its new key, or belongs to a job of ours at that site. Outputs are written once; of a card and of
a job's state an older one never replaces a newer one, in whatever order a relay delivers them.
Nothing of a bad message is kept, and no bad message delays another site's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syft.sync.events.file_change_event import FileChangeEventsMessage

from datasites.durable import write_file
from datasites.errors import MessageError, PeerKeyError
from datasites.syftnet import wire
from datasites.syftnet.client import Participant
from datasites.syftnet.fingerprint import bundle_fingerprint, parse_bundle
from datasites.syftnet.replay import ReplayGuard


@dataclass(frozen=True)
class Delivery:
    """What one message from a site held.

    Attributes:
        site: the authenticated site.
        job: the job it answers; the empty string for the site's data card.
        files: output name to bytes.
    """

    site: str
    job: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Refused:
    """A message from a site that was dropped, with a coded reason."""

    site: str
    code: str


@dataclass
class _Taken:
    """What a message holds, once every part of it was checked."""

    files: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    key: bytes | None = None


class ResearcherInbox:
    """Judges and keeps what sites send; see the module's docstring.

    Args:
        participant: the researcher.
        client: their syft client.
        on_new_key: told the site and the bundle of a key that the old one vouches for.
    """

    def __init__(
        self,
        participant: Participant,
        *,
        client: Any,
        on_new_key: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._me = participant
        self._store = client.sync_engine.peer_manager.peer_store
        self._on_new_key = on_new_key
        self._seen = ReplayGuard(participant.own_folder / "seen")

    def accept(self, site: str, raw: bytes) -> list[Delivery]:
        """Check one message, keep what it holds, and say what that was.

        Raises:
            MessageError: a rule is broken; nothing of it was kept.
        """
        plain = self._open(site, raw)
        message, signed_s = _parse(plain)
        digest = hashlib.sha256(plain).hexdigest()
        self._seen.check(site, signed_s=signed_s, digest=digest, now_s=time.time())
        taken = self._judge(site, message)
        if taken.key is not None:
            self._new_key(site, taken.key)
        for path, data in taken.files.items():
            self._keep(site, path, data, signed_s)
        self._seen.add(site, signed_s=signed_s, digest=digest)
        return [Delivery(site, job, files) for job, files in taken.jobs.items()]

    def _open(self, site: str, raw: bytes) -> bytes:
        if len(raw) > wire.MAX_MESSAGE_BYTES:
            raise MessageError("too_large", f"more than {wire.MAX_MESSAGE_BYTES} bytes")
        try:
            self._store.verify_message(site, raw)
            packed = self._store.decrypt(site, raw)
        except Exception as error:  # the extension module raises bare exceptions of its own
            raise MessageError("bad_signature", f"envelope not signed by {site}") from error
        return wire.unpack(packed)

    def _judge(self, site: str, message: FileChangeEventsMessage) -> _Taken:
        taken = _Taken()
        for event in message.events:
            if event.datasite_email != site or event.is_deleted:
                raise MessageError("foreign_event", f"{site} sent an event of another datasite")
            content = event.content
            data = content if isinstance(content, bytes) else (content or "").encode()
            if hashlib.sha256(data).hexdigest() != event.new_hash:
                raise MessageError("malformed", "a file's hash is not the stated one")
            path = str(event.path_in_datasite)
            if path in taken.files:
                raise MessageError("bad_path", f"{path!r} is in the message twice")
            if path == str(wire.KEY_PATH):
                taken.key = data
                continue
            if path == str(wire.CARD_PATH):
                taken.files[path] = data
                taken.jobs.setdefault("", {})["card.json"] = data
                continue
            job, name = self._of_our_job(site, path, data)
            taken.files[path] = data
            if name != wire.STATE_FILE:
                taken.jobs.setdefault(job, {})[name] = data
        return taken

    def _of_our_job(self, site: str, path: str, data: bytes) -> tuple[str, str]:
        job, name = wire.inbound_result_file(path, recipient=self._me.email)
        asked = self._me.syftbox / site / str(wire.inbox_prefix(self._me.email)) / job
        if not asked.is_dir():
            raise MessageError("unknown_job", f"{site} answers {job}; we never asked")
        target = self._me.syftbox / site / path
        if name != wire.STATE_FILE and target.exists() and target.read_bytes() != data:
            raise MessageError("write_once", f"{site} sent {path} before with other contents")
        return job, name

    def _keep(self, site: str, path: str, data: bytes, signed_s: float) -> None:
        """Mirror results into the SyftBox, where syft's own tools show them."""
        if not self._is_newest(site, path, signed_s):
            return
        # Durably: the relay's copy is removed next, and nobody has another.
        write_file(self._me.syftbox / site / path, data, modified_s=signed_s)

    def _is_newest(self, site: str, path: str, signed_s: float) -> bool:
        """Whether what changes (a card, a job's state) is not older than what is here."""
        if path != str(wire.CARD_PATH) and Path(path).name != wire.STATE_FILE:
            return True
        target = self._me.syftbox / site / path
        # A kept file's modification time is the time its site signed it.
        return not target.exists() or target.stat().st_mtime <= signed_s

    def _new_key(self, site: str, data: bytes) -> None:
        try:
            bundle = parse_bundle(data.decode(errors="replace"), email=site)
            bundle_fingerprint(bundle)
        except PeerKeyError as error:
            raise MessageError("malformed", "the site's new key is not a key bundle") from error
        self._on_new_key(site, bundle)


def _parse(plain: bytes) -> tuple[FileChangeEventsMessage, float]:
    """The message, and when its site signed it, in POSIX seconds."""
    fields = wire.parse_object(plain, items="events")
    if "message_filepath" not in fields:
        raise MessageError("malformed", "the message does not say when it was made")
    try:
        message = FileChangeEventsMessage.model_validate(fields)
    except Exception as error:  # syft's validators trip over what is not an object
        raise MessageError("malformed", f"not a syft message: {error}"[:500]) from error
    return message, message.timestamp

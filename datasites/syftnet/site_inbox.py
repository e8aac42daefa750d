"""Opening a researcher's message at a site: everything is checked before anything is believed.

The order: size cap; envelope signed by the authenticated peer; decryption; unpack cap while
streaming; bounded structure; the sender in the body is the peer; the message is new (no replay,
see `seen`); the number of files; every path in the peer's own job inbox; syft's own write
permission; quotas; write-once. Whatever fails raises `MessageError` with a coded reason, and
nothing of the message was written.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from syft.sync.messages.proposed_filechange import ProposedFileChangesMessage
from syft_job.job_ref import JobRef
from syft_job.models import JobState
from syft_perms import SyftPermContext

from datasites.durable import sync_folder, sync_tree
from datasites.errors import MessageError, PeerKeyError
from datasites.syftnet import wire
from datasites.syftnet.client import quiet
from datasites.syftnet.pairing import open_with_previous
from datasites.syftnet.replay import ReplayGuard

MAX_JOBS = 10_000
MAX_SMALL_FILE_BYTES = 64 * 1024


@dataclass(frozen=True)
class InboundJob:
    """A verified job submission.

    Attributes:
        sender: the authenticated researcher.
        name: the job's plain name, unique for this sender.
        files: file name to bytes, the contents of the job's `code/` folder.
    """

    sender: str
    name: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Accepted:
    """A message that passed every check.

    Attributes:
        job: what it asks for, new or once more.
        peer, signed_s, digest: what `ReplayGuard` remembers it by.
    """

    job: InboundJob
    peer: str
    signed_s: float
    digest: str


class SiteInbox:
    """Checks and stores what paired researchers send to one datasite."""

    def __init__(self, *, email: str, datasite: Path, own_folder: Path, client: Any) -> None:
        self._email = email
        self._own = own_folder
        self._datasite = datasite
        self._client = client
        self._store = client.sync_engine.peer_manager.peer_store
        self._seen = ReplayGuard(own_folder / "seen")

    def accept(self, peer: str, raw: bytes) -> Accepted:
        """Check one message and store its job.

        Raises:
            MessageError: a rule is broken; nothing was written.
            OSError: this machine's disk failed; the message is as good as before.
        """
        plain = self._open(peer, raw)
        message, signed_s = _parse(plain)
        if message.sender_email != peer:
            raise MessageError("sender_spoofed", f"{peer} wrote as {message.sender_email}")
        digest = hashlib.sha256(plain).hexdigest()
        self._seen.check(peer, signed_s=signed_s, digest=digest, now_s=time.time())
        job, files = self._files(peer, message)
        return Accepted(self._keep(peer, job, files), peer, signed_s, digest)

    def done(self, accepted: Accepted) -> None:
        """Remember a message whose job was taken over; it is never taken again."""
        self._seen.add(accepted.peer, signed_s=accepted.signed_s, digest=accepted.digest)

    def _open(self, peer: str, raw: bytes) -> bytes:
        if len(raw) > wire.MAX_MESSAGE_BYTES:
            raise MessageError("too_large", f"more than {wire.MAX_MESSAGE_BYTES} bytes")
        try:
            self._store.verify_message(peer, raw)
        except Exception as error:  # the extension module raises bare exceptions of its own
            raise MessageError("bad_signature", f"envelope not signed by {peer}") from error
        return wire.unpack(self._decrypt(peer, raw))

    def _decrypt(self, peer: str, raw: bytes) -> bytes:
        try:
            return self._store.decrypt(peer, raw)
        except Exception:  # the extension module raises bare exceptions of its own
            try:
                return open_with_previous(self._own, sender=peer, store=self._store, envelope=raw)
            except PeerKeyError as error:
                raise MessageError("bad_signature", "the envelope is not for us") from error

    def _files(
        self, peer: str, message: ProposedFileChangesMessage
    ) -> tuple[str, dict[str, bytes]]:
        jobs: set[str] = set()
        files: dict[str, bytes] = {}
        for change in message.proposed_file_changes:
            if change.datasite_email != self._email or change.is_deleted:
                raise MessageError("bad_path", "a change for another datasite, or a deletion")
            job, inside = wire.inbound_job_file(str(change.path_in_datasite), sender=peer)
            content = change.content
            data = content if isinstance(content, bytes) else (content or "").encode()
            if inside.parent.name != "code" and len(data) > MAX_SMALL_FILE_BYTES:
                raise MessageError("too_large", f"{inside} has {len(data)} bytes")
            if str(inside) in files:
                raise MessageError("bad_path", f"{inside} is in the message twice")
            files[str(inside)] = data
            jobs.add(job)
        if len(jobs) != 1:
            raise MessageError("bad_path", "a message carries the files of exactly one job")
        return jobs.pop(), files

    def _keep(self, peer: str, job: str, files: Mapping[str, bytes]) -> InboundJob:
        inbox = self._datasite / str(wire.inbox_prefix(peer))
        relative = Path(str(wire.inbox_prefix(peer))) / job
        if not SyftPermContext(datasite=self._datasite).open(relative).has_write_access(peer):
            raise MessageError("no_permission", f"{peer} may not write {relative}")
        target = inbox / job
        code = {name[5:]: data for name, data in files.items() if name.startswith("code/")}
        if target.exists():
            if not (target / "code").is_dir():
                return InboundJob(peer, job, code)  # served long ago; asked for its answer again
            if _tree(target) == dict(files):
                return InboundJob(peer, job, code)  # sent anew after a crash: same job, same bytes
            raise MessageError("write_once", f"job {job} is there already with other contents")
        if inbox.is_dir() and sum(1 for _ in inbox.iterdir()) >= MAX_JOBS:
            raise MessageError("too_many_jobs", f"{peer} has {MAX_JOBS} jobs here")
        self._write(peer, job, inbox, files)
        return InboundJob(peer, job, code)

    def _write(self, peer: str, job: str, inbox: Path, files: Mapping[str, bytes]) -> None:
        partial = inbox / f".{job}.{uuid4().hex}"
        with quiet():
            try:
                for name, data in files.items():
                    (partial / name).parent.mkdir(parents=True, exist_ok=True)
                    (partial / name).write_bytes(data)
                sync_tree(partial)
                partial.rename(inbox / job)
                sync_folder(inbox)
            except OSError:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            try:
                self._coded(peer, job, self._client.job_client.receive_job(peer, job, "1"))
            except OSError:
                raise
            except Exception as error:  # syft reads the job's own config.yaml here
                shutil.rmtree(inbox / job, ignore_errors=True)
                raise MessageError("malformed", f"syft does not take the job: {error}") from error

    def _coded(self, peer: str, job: str, state: JobState) -> None:
        """Take syft's own words out of a job's state: it is sent, and only codes leave."""
        if state.review_reason is not None:
            state.review_reason = None
            ref = JobRef(self._email, peer, job, "1")
            self._client.job_client.manager.write_state(ref, state)


def _parse(plain: bytes) -> tuple[ProposedFileChangesMessage, float]:
    """The message, and when its sender signed it, in POSIX seconds."""
    fields = wire.parse_object(plain, items="proposed_file_changes")
    if "message_filename" not in fields:
        raise MessageError("malformed", "the message does not say when it was made")
    try:
        message = ProposedFileChangesMessage.model_validate(fields)
        return message, message.message_filename.submitted_timestamp
    except Exception as error:  # syft's validators trip over what is not an object
        raise MessageError("malformed", f"not a syft message: {error}"[:500]) from error


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "syft.pub.yaml"
    }

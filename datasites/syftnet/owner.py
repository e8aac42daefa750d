"""A hospital's end of the network.

`OwnerLink.fetch` yields jobs in this order of checks, each before anything of the message is
used: size cap; envelope signed by the authenticated peer; decryption; unpack cap; sender in the
body equals the peer; paths in the peer's own job inbox, syft's write permission, write-once.
A message that fails goes to a bounded quarantine folder on local disk and is reported through
`on_refused(peer, code)`; it never delays another message or peer.

`OwnerLink.publish` sends exactly the files it is handed, nothing else ever leaves.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from syft.sync.events.file_change_event import FileChangeEvent, FileChangeEventsMessage
from syft.sync.messages.proposed_filechange import (
    FileNameParseError,
    MessageFileName,
    ProposedFileChangesMessage,
)
from syft_job.job_ref import JobRef
from syft_job.models import JobState, JobStatus
from syft_perms import SyftPermContext

from datasites.errors import MessageError, PeerKeyError
from datasites.syftnet import wire
from datasites.syftnet.client import Participant, connect, connection_of, quiet
from datasites.syftnet.fingerprint import bundle_fingerprint, parse_bundle

QUARANTINE_FILES = 100


@dataclass(frozen=True)
class PeerRequest:
    """Somebody asks to be paired.

    Attributes:
        email: who they say they are.
        fingerprint: of the key they published; compare it with them before approving.
    """

    email: str
    fingerprint: str


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


class OwnerLink:
    """A datasite on the network; see the module's docstring.

    Raises:
        RelayError: from every method, when the relay fails.
    """

    def __init__(self, participant: Participant, on_refused: Callable[[str, str], None]) -> None:
        self._me = participant
        self._on_refused = on_refused
        self._client = connect(participant)
        self._connection = connection_of(self._client)
        self._peers = self._client.sync_engine.peer_manager
        self._datasite = participant.syftbox / participant.email
        with quiet():
            self._client.load_peers()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of our own key, to be told to researchers."""
        return bundle_fingerprint(self._peers.peer_store.get_public_bundle())

    def pending_peers(self) -> list[PeerRequest]:
        """Who asks to be paired; requests without a readable key are left out."""
        requests = []
        for email in self._connection.get_peer_requests():
            try:
                bundle = parse_bundle(
                    self._connection.read_peer_encryption_bundle(email), email=email
                )
                requests.append(PeerRequest(email, bundle_fingerprint(bundle)))
            except PeerKeyError:
                continue
        return requests

    def approve_peer(self, email: str, fingerprint: str) -> None:
        """Pair with `email` if, and only if, its key is the one that was compared.

        Raises:
            PeerKeyError: no such request, or another key than `fingerprint`.
        """
        bundle = parse_bundle(self._connection.read_peer_encryption_bundle(email), email=email)
        self._must_match(email, bundle_fingerprint(bundle), fingerprint)
        with quiet():
            self._client.load_peers()
            if email not in {peer.email for peer in self._peers.requested_by_peer_peers}:
                raise PeerKeyError(f"{email} has not asked to be paired, or was decided already")
            # syft reads the bundle again only when it knows none: pin the compared one.
            self._peers.peer_store.set_peer_bundle(email, bundle)
            self._client.approve_peer_request(email, verbose=False)
            self._connection._update_peer_state(email, "accepted", bundle)
            self._client.load_peers()
        pinned = self._peers.peer_store.get_cached_peer(email).public_encryption_bundle
        self._must_match(email, bundle_fingerprint(pinned), fingerprint)

    def paired(self) -> dict[str, str]:
        """E-mail to key fingerprint of every paired researcher, from local disk."""
        return {
            email: bundle_fingerprint(entry["public_encryption_bundle"])
            for email, entry in self._connection._get_peers_json().items()
            if entry.get("state") == "accepted" and entry.get("public_encryption_bundle")
        }

    def fetch(self) -> Iterator[InboundJob]:
        """Every job that waits and passes all checks, each once."""
        with quiet():
            self._client.load_peers()
        for email in sorted(self.paired()):
            for name in self._connection.inbox_names(email):
                try:
                    MessageFileName.from_string(name)
                except FileNameParseError:
                    continue
                job = self._take(email, name)
                if job is not None:
                    yield job

    def set_status(self, *, sender: str, job: str, status: str, reason: str | None = None) -> None:
        """Write the job's syft state file (local only; `publish` sends it)."""
        ref = self._ref(sender, job)
        storage = self._client.job_client.manager
        now = datetime.now(UTC)
        try:
            state = storage.read_state(ref)
        except FileNotFoundError:
            state = JobState(status=JobStatus.PENDING, received_at=now)
        state.status = JobStatus(status)
        state.review_reason = reason
        if state.status in (JobStatus.DONE, JobStatus.FAILED):
            state.completed_at = now
            state.return_code = 0 if state.status is JobStatus.DONE else 1
        storage.write_state(ref, state)

    def publish(self, *, recipient: str, job: str, files: Mapping[str, bytes]) -> None:
        """Send `files` as outputs of `job`, with the job's state, to one researcher."""
        review = wire.review_prefix(recipient) / wire.check_job_name(job)
        outputs = {f"{review}/outputs/{name}": data for name, data in files.items()}
        state = self._client.job_client.manager.review_dir(self._ref(recipient, job))
        if (state / wire.STATE_FILE).exists():
            outputs[f"{review}/{wire.STATE_FILE}"] = (state / wire.STATE_FILE).read_bytes()
        self._send(recipient, outputs)

    def publish_card(self, *, recipient: str, card: bytes) -> None:
        """Send this site's data card, signed and encrypted, to one researcher."""
        self._send(recipient, {str(wire.CARD_PATH): card})

    def publish_mock(self, *, name: str, folder: Path, summary: str) -> None:
        """Publish a mock data set (synthetic, public) as a syft data set.

        syft wants a private part as well; it gets a one-line note. The shard is never under
        the SyftBox folder.
        """
        note = self._me.own_folder / "private_data_is_elsewhere.txt"
        note.write_text("The private shard lies outside the SyftBox folder.\n")
        with quiet():
            existing = {dataset.name for dataset in self._client.dataset_manager.get_all()}
            if name in existing:
                self._client.delete_dataset(name, require_confirmation=False, sync=False)
            self._client.create_dataset(
                name=name,
                mock_path=folder,
                private_path=note,
                summary=summary,
                users="any",
                upload_private=False,
                sync=False,
            )

    # --- inbound, message by message ----------------------------------------------------

    def _take(self, peer: str, name: str) -> InboundJob | None:
        path = self._connection.inbox_path(peer, name)
        raw = self._connection.relay.get(path, limit_bytes=wire.MAX_MESSAGE_BYTES)
        if raw is None:
            return None
        job: InboundJob | None = None
        try:
            job = self._accept(peer, raw)
        except MessageError as error:
            self._quarantine(raw)
            self._on_refused(peer, error.code)
        self._connection.relay.remove(path)
        return job

    def _accept(self, peer: str, raw: bytes) -> InboundJob | None:
        message = self._open(peer, raw)
        if message.sender_email != peer:
            raise MessageError("sender_spoofed", f"{peer} wrote as {message.sender_email}")
        if len(message.proposed_file_changes) > wire.MAX_FILES:
            raise MessageError("too_many_files", f"more than {wire.MAX_FILES} files")
        jobs: set[str] = set()
        files: dict[str, bytes] = {}
        for change in message.proposed_file_changes:
            if change.datasite_email != self._me.email or change.is_deleted:
                raise MessageError("bad_path", "a change for another datasite, or a deletion")
            job, inside = wire.inbound_job_file(str(change.path_in_datasite), sender=peer)
            content = change.content
            files[str(inside)] = content if isinstance(content, bytes) else (content or "").encode()
            jobs.add(job)
        if len(jobs) != 1:
            raise MessageError("bad_path", "a message carries the files of exactly one job")
        return self._store(peer, jobs.pop(), files)

    def _open(self, peer: str, raw: bytes) -> ProposedFileChangesMessage:
        if len(raw) > wire.MAX_MESSAGE_BYTES:
            raise MessageError("too_large", f"more than {wire.MAX_MESSAGE_BYTES} bytes")
        store = self._peers.peer_store
        try:
            store.verify_message(peer, raw)
            packed = store.decrypt(peer, raw)
        except Exception as error:  # the extension module raises bare exceptions of its own
            raise MessageError("bad_signature", f"envelope not signed by {peer}") from error
        plain = wire.unpack(packed)
        try:
            message = ProposedFileChangesMessage.model_validate_json(plain)
        except Exception as error:  # syft's validators trip over what is not an object
            raise MessageError("malformed", f"not a syft message: {error}") from error
        return message

    def _store(self, peer: str, job: str, files: Mapping[str, bytes]) -> InboundJob | None:
        inbox = self._datasite / str(wire.inbox_prefix(peer))
        relative = Path(str(wire.inbox_prefix(peer))) / job
        if not SyftPermContext(datasite=self._datasite).open(relative).has_write_access(peer):
            raise MessageError("no_permission", f"{peer} may not write {relative}")
        target = inbox / job
        code = {name[5:]: data for name, data in files.items() if name.startswith("code/")}
        if target.exists():
            if not (target / "code").is_dir():
                return None  # served long ago; its inputs were discarded
            if _tree(target) == dict(files):
                return InboundJob(peer, job, code)  # a replay after a crash: same job, same bytes
            raise MessageError("write_once", f"job {job} is there already with other contents")
        with quiet():
            partial = inbox / f".{job}.{uuid4().hex}"
            for name, data in files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(data)
            partial.rename(target)
            self._client.job_client.receive_job(peer, job, "1")
        return InboundJob(peer, job, code)

    def _quarantine(self, raw: bytes) -> None:
        folder = self._me.own_folder / "quarantine"
        folder.mkdir(exist_ok=True, mode=0o700)
        for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[
            : -QUARANTINE_FILES + 1
        ]:
            old.unlink()
        (folder / hashlib.sha256(raw).hexdigest()).write_bytes(raw[: wire.MAX_MESSAGE_BYTES])

    def discard_inputs(self, *, sender: str, job: str) -> None:
        """Drop the input files of a finished job; its name stays taken."""
        code = self._datasite / str(wire.inbox_prefix(sender)) / job / "code"
        shutil.rmtree(code, ignore_errors=True)

    # --- outbound -----------------------------------------------------------------------

    def _send(self, recipient: str, files: Mapping[str, bytes]) -> None:
        now = datetime.now(UTC).timestamp()
        events = [
            FileChangeEvent(
                id=uuid4(),
                path_in_datasite=Path(path),
                datasite_email=self._me.email,
                content=data,
                new_hash=hashlib.sha256(data).hexdigest(),
                submitted_timestamp=now,
                timestamp=now,
            )
            for path, data in files.items()
        ]
        message = FileChangeEventsMessage(events=events)
        envelope = self._peers.peer_store.encrypt(
            recipient, wire.pack(message.model_dump_json().encode())
        )
        self._connection.owner_write_raw_bytes_to_outbox(
            recipient, message.message_filepath.as_string(), envelope
        )

    def _ref(self, sender: str, job: str) -> JobRef:
        return JobRef(self._me.email, sender, job, "1")

    @staticmethod
    def _must_match(email: str, found: str, expected: str) -> None:
        if found != expected:
            raise PeerKeyError(
                f"the key that {email} published has the fingerprint {found}, not {expected}; "
                "do not pair: somebody may have swapped it. Compare again by telephone."
            )


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "syft.pub.yaml"
    }

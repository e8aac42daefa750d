"""A hospital's end of the network.

`OwnerLink.fetch` yields jobs of paired researchers that passed every check of `inbound`. Peers
take turns, one message each, within a steady allowance (`allowance`): what goes beyond it waits
on the relay, so nobody delays anybody else. What lies in a peer's inbox and was not signed by them
costs them nothing: it is looked at twice at most, within an allowance of its own. A message that
fails a check goes to a bounded quarantine on local disk and is reported through `on_refused(peer,
code)`. A message is removed from the relay, and remembered against replays, only after its job was
taken over.

`OwnerLink.publish` sends exactly the files it is handed, nothing else ever leaves.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from syft.sync.events.file_change_event import FileChangeEvent, FileChangeEventsMessage
from syft.sync.messages.proposed_filechange import FileNameParseError, MessageFileName
from syft_job.job_ref import JobRef
from syft_job.models import JobState, JobStatus

from datasites.errors import MessageError
from datasites.syftnet import wire
from datasites.syftnet.allowance import JUNK_TIMES, Allowance
from datasites.syftnet.client import Participant, connect, connection_of, quiet
from datasites.syftnet.fingerprint import bundle_fingerprint
from datasites.syftnet.pairing import PeerRequest, SitePeers
from datasites.syftnet.quarantine import quarantine
from datasites.syftnet.site_inbox import InboundJob, SiteInbox

MAX_LISTED = 10_000
UNSIGNED = ("bad_signature", "too_large")
"""Refusals of what anybody who may write to the relay can have laid in an inbox."""
JUNK_LOOKS = 2
"""After which a name is passed over that cannot be removed; a message may follow under the same."""
# A storage may list what it does not yet give out; what stays unreadable is no message.
LOOKS = 50

log = logging.getLogger("dura.syftnet")


class OwnerLink:
    """A datasite on the network; see the module's docstring.

    Args:
        participant: who this is.
        on_refused: told the peer and the coded reason of every refused message.
        clock: monotonic seconds.

    Raises:
        RelayError: from every method, when the relay fails.
    """

    def __init__(
        self,
        participant: Participant,
        on_refused: Callable[[str, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._me = participant
        self._on_refused = on_refused
        self._clock = clock
        self._client = connect(participant)
        self._connection = connection_of(self._client)
        self._peers = self._client.sync_engine.peer_manager
        self._datasite = participant.syftbox / participant.email
        self._site_peers = SitePeers(participant, client=self._client, send=self._send)
        self._door = SiteInbox(
            email=participant.email,
            datasite=self._datasite,
            own_folder=participant.own_folder,
            client=self._client,
        )
        self._allowance = Allowance()
        self._junk = Allowance(times=JUNK_TIMES)
        self._judged: dict[str, dict[str, int]] = {}
        self._unstored: dict[str, str] = {}
        self._unreadable: Counter[tuple[str, str]] = Counter()
        self._site_peers.load()
        self._site_peers.finish_rotation()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of our own key, to be told to researchers."""
        return bundle_fingerprint(self._peers.peer_store.get_public_bundle())

    def pending_peers(self) -> list[PeerRequest]:
        """Who asks to be paired; requests without a readable key are left out."""
        return self._site_peers.pending()

    def approve_peer(self, email: str, code: str) -> None:
        """Pair with `email` if, and only if, its key is the one that was compared.

        Raises:
            PeerKeyError: no such request, or another key than `code` (words or fingerprint) says.
        """
        self._site_peers.approve(email, code)

    def compare(self, email: str, code: str) -> str:
        """The fingerprint of the key that `email` published, if `code` says the same.

        Raises:
            PeerKeyError: no such request, or another key.
        """
        return bundle_fingerprint(self._site_peers.compare(email, code))

    def unpair(self, email: str) -> None:
        """Take no message of `email` any more, until it is paired anew.

        Raises:
            PeerKeyError: it is not paired.
        """
        self._site_peers.unpair(email)

    def rotate_key(self) -> str:
        """Replace this site's own key; paired researchers are told under the old one.

        Returns:
            The new key's fingerprint.
        """
        return self._site_peers.rotate()

    def paired(self) -> dict[str, str]:
        """E-mail to key fingerprint of every paired researcher, from local disk."""
        return self._site_peers.paired()

    def oddities(self) -> list[str]:
        """What somebody put where folders of ours and of our peers should be on the relay."""
        return self._connection.oddities(self.paired())

    def fetch(self) -> Iterator[InboundJob]:
        """Every job that waits and passes all checks, each once, peers taking turns.

        A job counts as taken over when the next one is asked for: whoever stops in between gets
        it again.
        """
        self._site_peers.load()
        queues = {email: iter(self._waiting(email)) for email in sorted(self.paired())}
        while queues:
            for email in list(queues):
                name = None
                now_s = self._clock()
                if self._allowance.may(email, now_s=now_s) and self._junk.may(email, now_s=now_s):
                    name = next(queues[email], None)
                if name is None:
                    del queues[email]
                    continue
                try:
                    yield from self._take(email, name)
                    self._unstored.pop(email, None)
                except OSError as error:
                    # The message stays where it is; the peer's turn is over for this time.
                    self._say_unstored(email, str(error))
                    del queues[email]

    def _say_unstored(self, email: str, problem: str) -> None:
        """Log a problem once, not at every look: a full disk must not be filled with its log."""
        if self._unstored.get(email) != problem:
            self._unstored[email] = problem
            log.error("a message of %s could not be stored: %s; trying again", email, problem)

    def set_status(self, *, sender: str, job: str, status: str, reason: str | None = None) -> None:
        """Write the job's syft state file (local only; `publish` sends it)."""
        ref = self._ref(sender, job)
        storage = self._client.job_client.manager
        now = datetime.now(UTC)
        try:
            state = storage.read_state(ref)
        except Exception:  # not there, or torn by a crash, which syft reports in many ways
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

    def _waiting(self, peer: str) -> list[str]:
        """Names of waiting messages, oldest first; what is not called like one is passed over."""
        listed = self._connection.inbox_names(peer)
        before = self._judged.get(peer, {})
        judged = self._judged[peer] = {name: before[name] for name in listed if name in before}
        names: list[str] = []
        for name in listed:
            if judged.get(name, 0) >= JUNK_LOOKS or self._unreadable[peer, name] >= LOOKS:
                continue
            try:
                MessageFileName.from_string(name)
            except FileNameParseError:
                continue
            names.append(name)
            if len(names) == MAX_LISTED:
                break
        return names

    def _take(self, peer: str, name: str) -> Iterator[InboundJob]:
        path = self._connection.inbox_path(peer, name)
        raw = self._connection.relay.get(path, limit_bytes=wire.MAX_MESSAGE_BYTES)
        if raw is None:  # a folder, a pipe, or not given out yet
            self._unreadable[peer, name] += 1
            return
        try:
            accepted = self._door.accept(peer, raw)
        except MessageError as error:
            if error.code in UNSIGNED:
                self._junk.spend(peer, size_bytes=len(raw), now_s=self._clock())
                self._judged[peer][name] = self._judged[peer].get(name, 0) + 1
            else:
                self._allowance.spend(peer, size_bytes=len(raw), now_s=self._clock())
                self._allowance.fine(peer, now_s=self._clock())
            quarantine(self._me.own_folder / "quarantine", raw)
            self._on_refused(peer, error.code)
        else:
            self._allowance.spend(peer, size_bytes=len(raw), now_s=self._clock())
            yield accepted.job
            self._door.done(accepted)
        self._connection.relay.remove(path)

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

"""A researcher's end of the network.

Submits jobs (a folder of files that becomes a syft job at the site) and collects what sites
released. A delivery is believed only when its envelope is signed by the site whose key was
compared and pinned, and when every path in it belongs to a job of ours at that site; a site
cannot write into another site's results, nor over anything it sent before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from syft.sync.events.file_change_event import (
    FileChangeEventsMessage,
    FileChangeEventsMessageFileName,
)
from syft.sync.messages.proposed_filechange import ProposedFileChange, ProposedFileChangesMessage

from datasites.errors import MessageError, PeerKeyError
from datasites.syftnet import wire
from datasites.syftnet.client import Participant, connect, connection_of, quiet
from datasites.syftnet.fingerprint import bundle_fingerprint, parse_bundle

_STUB = '''"""Dura runs this job with the hospital's own trainer; nothing here is executed."""

raise SystemExit("this job is for a Dura datasite")
'''


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


class ResearcherLink:
    """A researcher on the network; see the module's docstring."""

    def __init__(self, participant: Participant) -> None:
        self._me = participant
        self._client = connect(participant)
        self._connection = connection_of(self._client)
        self._peers = self._client.sync_engine.peer_manager
        self._pins_path = participant.own_folder / "pinned.json"
        self.refused: list[Refused] = []
        with quiet():
            self._client.load_peers()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of our own key, to be told to data owners."""
        return bundle_fingerprint(self._peers.peer_store.get_public_bundle())

    def request(self, site: str) -> None:
        """Ask a site to be paired; asking again is harmless."""
        with quiet():
            self._client.add_peer(site, force=True, verbose=False, sync=False)

    def site_fingerprint(self, site: str) -> str:
        """The fingerprint of the key a site published for us, unverified.

        Raises:
            PeerKeyError: the site has not answered yet.
        """
        text = self._connection.read_peer_encryption_bundle(site)
        return bundle_fingerprint(parse_bundle(text, email=site))

    def pin(self, site: str, fingerprint: str) -> None:
        """Trust a site's key from now on, after the two people compared fingerprints.

        Raises:
            PeerKeyError: the site has not answered, or published another key.
        """
        text = self._connection.read_peer_encryption_bundle(site)
        bundle = parse_bundle(text, email=site)
        found = bundle_fingerprint(bundle)
        if found != fingerprint:
            raise PeerKeyError(
                f"{site} published a key with fingerprint {found}, not {fingerprint}; "
                "do not go on: compare again by telephone"
            )
        pins = self._pins()
        pins[site] = fingerprint
        with quiet():
            partial = self._pins_path.with_name(".pinned.partial")
            partial.write_text(json.dumps(pins, indent=2, sort_keys=True))
            partial.replace(self._pins_path)
        self._connection._update_peer_state(site, "accepted", bundle)
        with quiet():
            self._client.load_peers()
            self._client.job_client.peer_install_sources[site] = "syft"

    def pinned(self) -> dict[str, str]:
        """Site e-mail to pinned fingerprint; the keys in use are checked against it."""
        return self._pins()

    def submit(self, *, site: str, job: str, files: Mapping[str, bytes]) -> None:
        """Send `files` to a site as a new syft job named `job`.

        Raises:
            PeerKeyError: the site is not paired, or its key changed.
            MessageError: `bad_name`.
        """
        self._require(site)
        wire.check_job_name(job)
        job_folder = self._job_folder(site, job, files)
        changes = [
            ProposedFileChange(
                path_in_datasite=path.relative_to(self._me.syftbox / site),
                content=path.read_bytes(),
                datasite_email=site,
            )
            for path in sorted(job_folder.rglob("*"))
            if path.is_file() and path.name != "syft.pub.yaml"
        ]
        message = ProposedFileChangesMessage(
            sender_email=self._me.email, proposed_file_changes=changes
        )
        envelope = self._peers.peer_store.encrypt(
            site, wire.pack(message.model_dump_json().encode())
        )
        self._connection.watcher_send_raw_bytes_to_inbox(
            site, message.message_filename.as_string(), envelope
        )

    def _job_folder(self, site: str, job: str, files: Mapping[str, bytes]) -> Path:
        """The syft job folder; one that an interrupted submission left is sent again as it is."""
        storage = self._client.job_client.manager
        existing: Path = storage.submission_dir(storage.new_submission_ref(site, job))
        if (existing / "config.yaml").exists():
            return existing
        shutil.rmtree(existing, ignore_errors=True)
        with tempfile.TemporaryDirectory() as temporary, quiet():
            folder = Path(temporary) / "job"
            folder.mkdir()
            (folder / "main.py").write_text(_STUB)
            for name, data in files.items():
                (folder / name).write_bytes(data)
            self._client.job_client.peer_install_sources.setdefault(site, "syft")
            made: Path = self._client.job_client.submit_python_job(
                site, str(folder), job_name=job, entrypoint="main.py"
            )
        return made

    def received(self, site: str, job: str) -> dict[str, bytes]:
        """Output name to bytes of everything `collect` took for a job so far, from local disk."""
        folder = self._me.syftbox / site / str(wire.review_prefix(self._me.email)) / job / "outputs"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}

    def card(self, site: str) -> bytes | None:
        """The site's data card as `collect` took it, from local disk."""
        path = self._me.syftbox / site / str(wire.CARD_PATH)
        return path.read_bytes() if path.exists() else None

    def collect(self) -> list[Delivery]:
        """Everything new that paired sites released; consumed from the relay."""
        with quiet():
            self._client.load_peers()
        deliveries: list[Delivery] = []
        for site in sorted(self._pins()):
            self._require(site)
            for name in self._connection.outbox_names(site):
                try:
                    FileChangeEventsMessageFileName.from_string(name)
                except ValueError:
                    continue
                deliveries += self._take(site, self._connection.outbox_path(site, name))
        return deliveries

    def mock_datasets(self) -> dict[str, str]:
        """Site e-mail to the newest published mock data set's collection name."""
        found = self._connection.watcher_list_collections("syft_datasetcollection")
        return {entry["owner_email"]: entry["tag"] for entry in found}

    # --- inbound, message by message ----------------------------------------------------

    def _take(self, site: str, path: str) -> list[Delivery]:
        raw = self._connection.relay.get(path, limit_bytes=wire.MAX_MESSAGE_BYTES)
        if raw is None:
            return []
        try:
            deliveries = self._accept(site, raw)
        except MessageError as error:
            self.refused.append(Refused(site, error.code))
            deliveries = []
        self._connection.relay.remove(path)
        return deliveries

    def _accept(self, site: str, raw: bytes) -> list[Delivery]:
        if len(raw) > wire.MAX_MESSAGE_BYTES:
            raise MessageError("too_large", f"more than {wire.MAX_MESSAGE_BYTES} bytes")
        store = self._peers.peer_store
        try:
            store.verify_message(site, raw)
            packed = store.decrypt(site, raw)
        except Exception as error:  # the extension module raises bare exceptions of its own
            raise MessageError("bad_signature", f"envelope not signed by {site}") from error
        plain = wire.unpack(packed)
        try:
            message = FileChangeEventsMessage.model_validate_json(plain)
        except Exception as error:  # syft's validators trip over what is not an object
            raise MessageError("malformed", f"not a syft message: {error}") from error
        by_job: dict[str, dict[str, bytes]] = {}
        accepted: list[tuple[str, bytes]] = []
        for event in message.events:
            if event.datasite_email != site or event.is_deleted:
                raise MessageError("foreign_event", f"{site} sent an event of another datasite")
            content = event.content
            data = content if isinstance(content, bytes) else (content or "").encode()
            if hashlib.sha256(data).hexdigest() != event.new_hash:
                raise MessageError("malformed", "a file's hash is not the stated one")
            path = str(event.path_in_datasite)
            if path == str(wire.CARD_PATH):
                by_job.setdefault("", {})["card.json"] = data
                accepted.append((path, data))
                continue
            job, name = wire.inbound_result_file(path, recipient=self._me.email)
            if not (
                self._me.syftbox / site / str(wire.inbox_prefix(self._me.email)) / job
            ).is_dir():
                raise MessageError("unknown_job", f"{site} answers {job}; we never asked")
            accepted.append((path, data))
            if name != wire.STATE_FILE:
                by_job.setdefault(job, {})[name] = data
        for path, data in accepted:
            self._keep(site, path, data)
        return [Delivery(site, job, files) for job, files in by_job.items()]

    def _keep(self, site: str, path: str, data: bytes) -> None:
        """Mirror results into the SyftBox, where syft's own tools show them; outputs once."""
        target = self._me.syftbox / site / path
        once = Path(path).parts[-2:-1] == ("outputs",) and target.name != wire.STATE_FILE
        if once and target.exists() and target.read_bytes() != data:
            raise MessageError("write_once", f"{site} sent {path} before with other contents")
        with quiet():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            partial.write_bytes(data)
            partial.replace(target)

    def _require(self, site: str) -> None:
        expected = self._pins().get(site)
        entry = self._connection._get_peers_json().get(site, {})
        bundle = entry.get("public_encryption_bundle")
        if expected is None or bundle is None:
            raise PeerKeyError(
                f"{site} is not paired; run `dura study pair` and compare fingerprints"
            )
        if bundle_fingerprint(bundle) != expected:
            raise PeerKeyError(f"the key in use for {site} is not the pinned one; pair again")

    def _pins(self) -> dict[str, str]:
        if not self._pins_path.exists():
            return {}
        pins: dict[str, str] = json.loads(self._pins_path.read_text())
        return pins

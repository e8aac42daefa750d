"""A researcher's end of the network.

Submits jobs (a folder of files that becomes a syft job at the site) and collects what sites
released, by the rules of `deliveries`. What a site sent and may not send is dropped, logged and
kept in `ResearcherLink.refused` (the newest `MAX_REFUSED`). Sites take turns, and a bounded
number of messages of each is taken at a time.
"""

from __future__ import annotations

import base64
import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syft.sync.events.file_change_event import FileChangeEventsMessageFileName
from syft.sync.messages.proposed_filechange import ProposedFileChange, ProposedFileChangesMessage

from datasites.durable import sync_tree
from datasites.errors import MessageError, PeerKeyError
from datasites.syftnet import wire
from datasites.syftnet.client import Participant, connect, connection_of, quiet
from datasites.syftnet.fingerprint import bundle_fingerprint, parse_bundle
from datasites.syftnet.researcher_inbox import Delivery, Refused, ResearcherInbox
from datasites.syftnet.word_list import fingerprint_words, same_code
from privacy import SigningKey

MAX_REFUSED = 1000
MESSAGES_AT_ONCE = 64
# A storage may list what it does not yet give out; what stays unreadable is no message.
LOOKS = 50

log = logging.getLogger("dura.syftnet")

_STUB = '''"""Dura runs this job with the hospital's own trainer; nothing here is executed."""

raise SystemExit("this job is for a Dura datasite")
'''


class ResearcherLink:
    """A researcher on the network; see the module's docstring."""

    def __init__(self, participant: Participant) -> None:
        self._me = participant
        self._client = connect(participant)
        self._connection = connection_of(self._client)
        self._peers = self._client.sync_engine.peer_manager
        self._pins_path = participant.own_folder / "pinned.json"
        self.refused: list[Refused] = []
        self._unreadable: Counter[str] = Counter()
        self._deliveries = ResearcherInbox(
            participant, client=self._client, on_new_key=self._new_key
        )
        with quiet():
            self._client.load_peers()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of our own key, to be told to data owners."""
        return bundle_fingerprint(self._peers.peer_store.get_public_bundle())

    @property
    def signing_key(self) -> SigningKey:
        """Our own identity key, whose fingerprint data owners compared; for countersignatures."""
        jwks = self._peers.peer_store._ensure_private_keys().to_jwks()
        return SigningKey.from_seed(base64.urlsafe_b64decode(jwks["identity_key"]["d"] + "="))

    def request(self, site: str) -> None:
        """Ask a site to be paired; asking again is harmless, also when it is paired already."""
        before = self._connection._get_peers_json().get(site, {})
        with quiet():
            self._client.add_peer(site, force=True, verbose=False, sync=False)
            if site in self._pins():  # syft has just forgotten the pinned key
                self._connection._update_peer_state(
                    site, "accepted", before.get("public_encryption_bundle")
                )
                self._client.load_peers()

    def site_fingerprint(self, site: str) -> str:
        """The fingerprint of the key a site published for us, unverified.

        Raises:
            PeerKeyError: the site has not answered yet.
        """
        text = self._connection.read_peer_encryption_bundle(site)
        return bundle_fingerprint(parse_bundle(text, email=site))

    def pin(self, site: str, code: str) -> None:
        """Trust a site's key from now on, after the two people compared words or fingerprints.

        Raises:
            PeerKeyError: the site has not answered, or published another key.
        """
        text = self._connection.read_peer_encryption_bundle(site)
        bundle = parse_bundle(text, email=site)
        found = bundle_fingerprint(bundle)
        if not same_code(code, fingerprint=found):
            raise PeerKeyError(
                f"{site} published a key with fingerprint {found} ({fingerprint_words(found)}), "
                f"not {code}; do not go on: compare again by telephone"
            )
        self._pin(site, bundle, found)

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
        """The syft job folder; a whole one that was made before is sent again as it is."""
        storage = self._client.job_client.manager
        existing: Path = storage.submission_dir(storage.new_submission_ref(site, job))
        if _is_whole(existing, files):
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
        sync_tree(made)  # before it is sent: answers to a job that is not here are refused
        return made

    def sent(self, site: str, job: str) -> dict[str, bytes]:
        """Name to bytes of the files that were sent as a job, from local disk; none if it was not.

        A folder that a power cut left torn is not what was sent, and gives none either.
        """
        storage = self._client.job_client.manager
        folder: Path = storage.submission_dir(storage.new_submission_ref(site, job))
        if not (folder / "config.yaml").exists():
            return {}
        return {path.name: path.read_bytes() for path in sorted((folder / "code").glob("[!.]*"))}

    def received(self, site: str, job: str) -> dict[str, bytes]:
        """Output name to bytes of everything `collect` took for a job so far, from local disk."""
        folder = self._me.syftbox / site / str(wire.review_prefix(self._me.email)) / job / "outputs"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}

    def card(self, site: str) -> bytes | None:
        """The site's data card as `collect` took it, from local disk."""
        path = self._me.syftbox / site / str(wire.CARD_PATH)
        return path.read_bytes() if path.exists() else None

    def collect(self) -> list[Delivery]:
        """Everything new that paired sites released; consumed from the relay, sites in turn."""
        with quiet():
            self._client.load_peers()
        for site in sorted(self._pins()):
            self._require(site)
        deliveries: list[Delivery] = []
        queues = {site: iter(self._waiting(site)) for site in sorted(self._pins())}
        while queues:
            for site in list(queues):
                path = next(queues[site], None)
                if path is None:
                    del queues[site]
                    continue
                deliveries += self._take(site, path)
        return deliveries

    def mock_datasets(self) -> dict[str, str]:
        """Site e-mail to the newest published mock data set's collection name."""
        found = self._connection.watcher_list_collections("syft_datasetcollection")
        return {entry["owner_email"]: entry["tag"] for entry in found}

    # --- inbound, message by message ----------------------------------------------------

    def _waiting(self, site: str) -> list[str]:
        """Paths of a site's waiting messages, oldest first, a bounded number at a time."""
        paths = []
        for name in self._connection.outbox_names(site):
            try:
                FileChangeEventsMessageFileName.from_string(name)
            except ValueError:
                continue
            path = self._connection.outbox_path(site, name)
            if self._unreadable[path] < LOOKS:
                paths.append(path)
        return paths[:MESSAGES_AT_ONCE]

    def _take(self, site: str, path: str) -> list[Delivery]:
        raw = self._connection.relay.get(path, limit_bytes=wire.MAX_MESSAGE_BYTES)
        if raw is None:
            self._unreadable[path] += 1
            return []
        try:
            deliveries = self._deliveries.accept(site, raw)
        except MessageError as error:
            self._report(site, error)
            deliveries = []
        self._connection.relay.remove(path)
        return deliveries

    def _report(self, site: str, error: MessageError) -> None:
        log.warning("a message from %s was refused: %s (%s)", site, error.code, error)
        self.refused = [*self.refused, Refused(site, error.code)][-MAX_REFUSED:]

    def _new_key(self, site: str, bundle: dict[str, Any]) -> None:
        """Pin a site's new key; the old one vouched for it."""
        found = bundle_fingerprint(bundle)
        log.warning("%s replaced its key: %s (%s)", site, found, fingerprint_words(found))
        self._pin(site, bundle, found)

    def _pin(self, site: str, bundle: dict[str, Any], found: str) -> None:
        pins = self._pins()
        pins[site] = found
        with quiet():
            partial = self._pins_path.with_name(".pinned.partial")
            partial.write_text(json.dumps(pins, indent=2, sort_keys=True))
            # The key before its pin: a crash in between leaves a site that must be paired anew.
            self._connection._update_peer_state(site, "accepted", bundle)
            partial.replace(self._pins_path)
            self._client.load_peers()
            self._client.job_client.peer_install_sources[site] = "syft"

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


def _is_whole(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a job folder holds these files; a power cut leaves torn ones."""
    paths = {name: folder / "code" / name for name in files}
    return (folder / "config.yaml").exists() and all(
        path.is_file() and path.read_bytes() == files[name] for name, path in paths.items()
    )

"""The syft transport over a `Relay`: mailboxes, peers, versions, key bundles, collections.

Layout on the relay (all that its operator can see):

    channels/<to>/inbox/<from>/     messages, signed and encrypted by syft
    channels/<of>/outbox/<for>/     released files, signed and encrypted by syft
    pub/<email>/                    version file and public key bundles
    collections/<owner>/            mock data sets, public by design

The peers file (approvals and pinned keys) is kept on local disk, never on the relay. syft's
owner-side event log, checkpoints and rolling state are not implemented on purpose: they would
put every byte of a datasite on the relay, and Dura's datasites do not use syft's own sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from syft.sync.connections.base_connection import (
    ConnectionConfig,
    FileCollection,
    SyftboxPlatformConnection,
)
from syft.sync.connections.drive.gdrive_transport import CollectionFolder
from syft.sync.messages.proposed_filechange import ProposedFileChangesMessage
from syft.sync.version.version_info import VersionInfo

from datasites.syftnet.peersfile import PeersFile
from datasites.syftnet.relay import Relay
from datasites.syftnet.transports import RelayAccess


class RelayConnection(SyftboxPlatformConnection):
    """syft's transport interface over a relay; method names are syft's."""

    model_config: ClassVar[Any] = {"arbitrary_types_allowed": True}
    email: str
    relay: Any
    own_folder: Path
    is_site: bool = False

    @classmethod
    def from_config(cls, config: RelayConnectionConfig) -> RelayConnection:
        """Open the relay that `config` names."""
        relay = Relay(config.url, config.access)
        return cls(
            config=config,
            email=config.email,
            relay=relay,
            own_folder=config.own_folder,
            is_site=config.is_site,
        )

    def get_authenticated_email(self) -> str:
        """The participant this connection belongs to."""
        return self.email

    def reset_caches(self) -> None:
        """Nothing is cached."""

    # --- peers: requests are folders on the relay, decisions are local -------------------

    def add_peer(self, peer_email: str) -> None:
        """A researcher asks by making its folder at a site; a site makes the answer's folder.

        Each stays within what its account may write, see docs/relay.md.
        """
        own = f"channels/{self.email}/outbox/{peer_email}"
        self.relay.make_folder(own if self.is_site else f"channels/{peer_email}/inbox/{self.email}")

    def _get_peers_json(self, force_download: bool = False) -> dict[str, Any]:
        return PeersFile(self.own_folder).read()

    def _update_peer_state(
        self, peer_email: str, state: str, public_encryption_bundle: dict[str, Any] | None = None
    ) -> None:
        PeersFile(self.own_folder).update(peer_email, state, public_encryption_bundle)

    def get_peer_requests(self) -> list[str]:
        """E-mails of those who made a folder for us and were neither accepted nor rejected."""
        asking: list[str] = self.relay.names(f"channels/{self.email}/inbox")
        return PeersFile(self.own_folder).undecided(asking)

    def oddities(self, peers: Iterable[str]) -> list[str]:
        """What keeps our folders on the relay, and those of these peers, from being folders."""
        mine = f"channels/{self.email}"
        own = (f"pub/{self.email}/bundles", f"collections/{self.email}")
        theirs = (f"{mine}/{box}/{peer}" for peer in peers for box in ("inbox", "outbox"))
        found: list[str] = self.relay.oddities([*own, f"{mine}/inbox", f"{mine}/outbox", *theirs])
        return found

    # --- versions and public key bundles --------------------------------------------------

    def write_version_file(self, version_info: VersionInfo) -> None:
        """Publish our syft version; peers of another version are not talked to."""
        self.relay.put(f"pub/{self.email}/SYFT_version.json", version_info.to_json().encode())

    def read_own_version_file(self) -> VersionInfo | None:
        """The version we published."""
        return self.read_peer_version_file(self.email)

    def read_peer_version_file(self, peer_email: str) -> VersionInfo | None:
        """The version a peer published, None when it is missing or unreadable."""
        raw = self.relay.get(f"pub/{peer_email}/SYFT_version.json", limit_bytes=65_536)
        if raw is None:
            return None
        try:
            return VersionInfo.from_json(raw.decode())
        except ValueError:
            return None

    def share_version_file_with_peer(self, peer_email: str) -> None:
        """Version files are public on a relay; publish ours if it is not there yet."""
        if self.read_own_version_file() is None:
            self.write_version_file(VersionInfo.current())

    def write_encryption_bundle(self, peer_email: str, bundle_json: str) -> None:
        """Publish our public key bundle for a peer."""
        self.relay.put(f"pub/{self.email}/bundles/{peer_email}.json", bundle_json.encode())

    def share_encryption_bundles_folder(self, peer_email: str) -> None:
        """Bundles are public on a relay."""

    def read_peer_encryption_bundle(self, peer_email: str) -> str | None:
        """The public key bundle a peer published for us, unverified."""
        raw = self.relay.get(f"pub/{peer_email}/bundles/{self.email}.json", limit_bytes=65_536)
        return None if raw is None else raw.decode(errors="replace")

    # --- messages ---------------------------------------------------------------------------

    def watcher_send_raw_bytes_to_inbox(self, recipient: str, filename: str, data: bytes) -> None:
        """Put one message into a site's inbox."""
        self.relay.put(f"channels/{recipient}/inbox/{self.email}/{filename}", data)

    def inbox_names(self, sender_email: str) -> list[str]:
        """Message file names waiting from one sender, in name (that is time) order."""
        names: list[str] = self.relay.names(f"channels/{self.email}/inbox/{sender_email}")
        return names

    def inbox_path(self, sender_email: str, name: str) -> str:
        """Where a waiting message lies on the relay."""
        return f"channels/{self.email}/inbox/{sender_email}/{name}"

    def owner_remove_proposed_filechange_message_from_inbox(
        self, message: ProposedFileChangesMessage
    ) -> None:
        """Reclaim the space of a consumed message."""
        self.relay.remove(message.platform_id)

    def owner_write_raw_bytes_to_outbox(self, recipient: str, filename: str, data: bytes) -> None:
        """Put one message of released files where its recipient finds it."""
        self.relay.put(f"channels/{self.email}/outbox/{recipient}/{filename}", data)

    def outbox_names(self, peer_email: str) -> list[str]:
        """Message file names a site has put out for us."""
        names: list[str] = self.relay.names(f"channels/{peer_email}/outbox/{self.email}")
        return names

    def outbox_path(self, peer_email: str, name: str) -> str:
        """Where a message from a site lies on the relay."""
        return f"channels/{peer_email}/outbox/{self.email}/{name}"

    # --- collections: mock data sets, public by design -----------------------------------

    def owner_create_collection_folder(
        self, prefix: str, tag: str, content_hash: str, owner_email: str
    ) -> str:
        """Create the folder of one collection and return its path."""
        path = self._collection(self.email, prefix, tag, content_hash)
        self.relay.make_folder(path)
        return path

    def owner_tag_collection_as_any(self, prefix: str, tag: str, content_hash: str) -> None:
        """Collections on a relay are open to all its participants."""

    def owner_share_collection(
        self, prefix: str, tag: str, content_hash: str, users: list[str]
    ) -> None:
        """Collections on a relay are open to all its participants."""

    def owner_upload_collection_files(
        self, prefix: str, tag: str, content_hash: str, files: dict[str, bytes]
    ) -> None:
        """Upload the files of one collection."""
        path = self._collection(self.email, prefix, tag, content_hash)
        for name, data in files.items():
            self.relay.put(f"{path}/{Path(name).name}", data)

    def owner_list_all_collections_with_permissions(self, prefix: str) -> list[FileCollection]:
        """Our own collections of one kind."""
        return [
            FileCollection(
                folder_id=f"collections/{self.email}/{folder.folder_name}",
                tag=folder.tag,
                content_hash=folder.content_hash,
                has_any_permission=True,
            )
            for folder in self._collections(self.email, prefix)
        ]

    def owner_delete_collection(self, prefix: str, tag: str) -> None:
        """Remove every version of one of our collections."""
        for folder in self._collections(self.email, prefix):
            if folder.tag == tag:
                self.relay.remove_folder(f"collections/{self.email}/{folder.folder_name}")

    def watcher_list_collections(self, prefix: str) -> list[dict[str, str]]:
        """Collections of one kind that others published."""
        return [
            {"owner_email": owner, "tag": folder.tag, "content_hash": folder.content_hash}
            for owner in self.relay.names("collections")
            if owner != self.email
            for folder in self._collections(owner, prefix)
        ]

    def watcher_download_collection(
        self, prefix: str, tag: str, content_hash: str, owner_email: str
    ) -> dict[str, bytes]:
        """All files of one collection."""
        path = self._collection(owner_email, prefix, tag, content_hash)
        files = {name: self.relay.get(f"{path}/{name}") for name in self.relay.names(path)}
        return {name: data for name, data in files.items() if data is not None}

    def delete_file_by_id(
        self, file_id: str, verbose: bool = False, raise_on_error: bool = False
    ) -> None:
        """Remove a folder or file by its path."""
        self.relay.remove_folder(file_id)

    def _collection(self, owner: str, prefix: str, tag: str, content_hash: str) -> str:
        folder = CollectionFolder(prefix=prefix, tag=tag, content_hash=content_hash)
        return f"collections/{owner}/{folder.folder_name}"

    def _collections(self, owner: str, prefix: str) -> Iterator[CollectionFolder]:
        for name in self.relay.names(f"collections/{owner}"):
            try:
                yield CollectionFolder.from_name(prefix, name)
            except ValueError:
                continue


class RelayConnectionConfig(ConnectionConfig):
    """What a `RelayConnection` is made from."""

    connection_type: ClassVar[type[SyftboxPlatformConnection]] = RelayConnection
    email: str
    url: str
    access: RelayAccess = Field(default_factory=RelayAccess)
    own_folder: Path
    is_site: bool = False

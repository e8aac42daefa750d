"""Google Drive: syft's own transport, with Dura's rules where syft's may not be relied on.

Folders, permissions, queries and uploads are syft's, so that a stock syft-rds researcher and a
Dura site meet on Drive. Replaced: the peers file (approvals and pinned keys) stays on local disk;
messages are read one by one, with a limit on their size that holds while they are downloaded;
every failure of Google's is a `RelayError`. Nothing of syft's own synchronisation is called.

A Drive file belongs to its writer. What a peer wrote is moved out of the inbox into an archive
folder when it is consumed (its writer's quota is freed by its writer only); what is ours is
deleted.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from google.auth.exceptions import GoogleAuthError
from googleapiclient.errors import Error as GoogleError
from googleapiclient.http import MediaIoBaseDownload
from httplib2 import HttpLib2Error
from pydantic import Field
from syft.sync.connections.base_connection import ConnectionConfig, SyftboxPlatformConnection
from syft.sync.connections.drive.gdrive_transport import GDriveConnection

from datasites.errors import RelayError, SettingsError
from datasites.syftnet.peersfile import PeersFile
from datasites.syftnet.transports import RelayAccess
from datasites.syftnet.transports.access import require_private

DRIVE_URL = "gdrive://"
_CHUNK_BYTES = 8 * 1024 * 1024
_FAILURES = (GoogleError, GoogleAuthError, HttpLib2Error, OSError)

T = TypeVar("T")


def _on_drive(work: Callable[..., T]) -> Callable[..., T]:
    """`work` with every failure of Google's as one line; no request, token or text is repeated."""

    @functools.wraps(work)
    def guarded(*args: Any, **kwargs: Any) -> T:
        try:
            return work(*args, **kwargs)
        except _FAILURES as error:
            status = getattr(getattr(error, "resp", None), "status", "")
            raise RelayError(
                f"Google Drive failed ({type(error).__name__} {status}".rstrip() + "); "
                "nothing was lost, the same command can be run again"
            ) from None

    return guarded


class DriveMail:
    """Messages on Drive by file id; what `Relay` does for the other storages."""

    def __init__(self, connection: DriveConnection) -> None:
        self._connection = connection
        self.url = DRIVE_URL

    @_on_drive
    def check(self) -> None:
        """Raise `RelayError` unless Drive answers for our own account."""
        found = self._connection.get_authenticated_email()
        if found.lower() != self._connection.email.lower():
            raise RelayError(
                f"the Drive token belongs to {found}, not to {self._connection.email}; "
                "log in with the participant's own account"
            )

    @_on_drive
    def get(self, path: str, *, limit_bytes: int | None = None) -> bytes | None:
        """The file with the id `path`, at most `limit_bytes` and one more; None when it is gone."""
        if not path:
            return None
        buffer = io.BytesIO()
        request = self._connection.drive_service.files().get_media(fileId=path)
        download = MediaIoBaseDownload(buffer, request, chunksize=_CHUNK_BYTES)
        done = False
        try:
            while not done and (limit_bytes is None or buffer.tell() <= limit_bytes):
                _, done = download.next_chunk(num_retries=2)
        except GoogleError as error:
            if getattr(getattr(error, "resp", None), "status", None) in (403, 404):
                return None
            raise
        return buffer.getvalue() if limit_bytes is None else buffer.getvalue()[: limit_bytes + 1]

    @_on_drive
    def remove(self, path: str) -> None:
        """Take a consumed message out of its folder."""
        self._connection.put_away(path)

    def close(self) -> None:
        """Nothing of ours is kept open."""


class DriveConnection(GDriveConnection):
    """syft's Drive transport; see the module's docstring. Method names are syft's."""

    own_folder: Path
    relay: Any = None
    ids: dict[tuple[str, str], str] = Field(default_factory=dict)

    @classmethod
    @_on_drive
    def from_config(cls, config: DriveConnectionConfig) -> DriveConnection:
        """Log in with the token that `config` names.

        Raises:
            SettingsError: there is no token, or others can read it.
            RelayError: Google does not answer, or refuses it.
        """
        access = config.access
        made = cls(config=config, email=config.email, own_folder=config.own_folder)
        if access.drive_service is not None:
            made.setup(drive_service=access.drive_service)
        else:
            made.setup(credentials=_credentials(access))
        made.relay = DriveMail(made)
        return made

    def copy(self) -> DriveConnection:
        """A connection of its own, as syft wants for threads."""
        return type(self).from_config(self.config)

    # --- peers: decisions are local ---------------------------------------------------------

    def _get_peers_json(self, force_download: bool = False) -> dict[str, Any]:
        return PeersFile(self.own_folder).read()

    def _update_peer_state(
        self,
        peer_email: str,
        state: str,
        public_encryption_bundle: dict[str, Any] | None = None,
    ) -> None:
        PeersFile(self.own_folder).update(peer_email, state, public_encryption_bundle)

    @_on_drive
    def get_peer_requests(self) -> list[str]:
        """E-mails of those who shared a folder for us; one that would alter a query is none."""
        return [email for email in super().get_peer_requests() if not set(email) & set("'\\")]

    def oddities(self, peers: Iterable[str]) -> list[str]:
        """None: Drive has no links."""
        return []

    # --- messages, one by one ---------------------------------------------------------------

    def inbox_names(self, sender_email: str) -> list[str]:
        """Message file names waiting from one sender, in name (that is time) order."""
        return self._names(self._get_own_datasite_inbox_id(sender_email))

    def inbox_path(self, sender_email: str, name: str) -> str:
        """The id of a waiting message as `inbox_names` saw it last."""
        return self.ids.get((self._get_own_datasite_inbox_id(sender_email) or "", name), "")

    def outbox_names(self, peer_email: str) -> list[str]:
        """Message file names a site has put out for us."""
        return self._names(self._get_peer_datasite_outbox_id(peer_email))

    def outbox_path(self, peer_email: str, name: str) -> str:
        """The id of a message from a site as `outbox_names` saw it last."""
        return self.ids.get((self._get_peer_datasite_outbox_id(peer_email) or "", name), "")

    def put_away(self, file_id: str) -> None:
        """Delete a message of ours; move a peer's from where it lies into our archive."""
        if not file_id:
            return
        files = self.drive_service.files()
        about = files.get(fileId=file_id, fields="id, parents, owners").execute()
        owner = (about.get("owners") or [{}])[0].get("emailAddress", "")
        if owner.lower() == self.email.lower():
            files.delete(fileId=file_id).execute()
            return
        files.update(
            fileId=file_id,
            addParents=self.owner_get_archive_folder_id(owner),
            removeParents=",".join(about.get("parents", [])),
            fields="id, parents",
            supportsAllDrives=True,
        ).execute()

    @_on_drive
    def _names(self, folder: str | None) -> list[str]:
        if folder is None:
            return []
        found = {
            file["name"]: file["id"]
            for file in reversed(self.get_file_metadatas_from_folder(folder))
        }
        self.ids = {key: value for key, value in self.ids.items() if key[0] != folder}
        self.ids |= {(folder, name): file_id for name, file_id in found.items()}
        return sorted(found)


# syft's own methods that a link calls.
for _name in (
    "add_peer",
    "get_authenticated_email",
    "owner_create_collection_folder",
    "owner_delete_collection",
    "owner_list_all_collections_with_permissions",
    "owner_share_collection",
    "owner_tag_collection_as_any",
    "owner_upload_collection_files",
    "owner_write_raw_bytes_to_outbox",
    "read_own_version_file",
    "read_peer_encryption_bundle",
    "read_peer_version_file",
    "share_encryption_bundles_folder",
    "share_version_file_with_peer",
    "watcher_download_collection",
    "watcher_list_collections",
    "watcher_send_raw_bytes_to_inbox",
    "write_encryption_bundle",
    "write_version_file",
):
    setattr(DriveConnection, _name, _on_drive(getattr(GDriveConnection, _name)))


class DriveConnectionConfig(ConnectionConfig):
    """What a `DriveConnection` is made from."""

    connection_type: ClassVar[type[SyftboxPlatformConnection]] = DriveConnection
    email: str
    access: RelayAccess
    own_folder: Path


def _credentials(access: RelayAccess) -> Any:
    from google.oauth2.credentials import Credentials
    from syft.sync.connections.drive.gdrive_transport import SCOPES

    if not access.token_file:
        raise SettingsError(
            f"{access.source} must name a token_file, Google's OAuth token; see docs/relay.md"
        )
    path = Path(access.token_file)
    require_private(path, "the Google token")
    try:
        return Credentials.from_authorized_user_file(path, SCOPES)
    except ValueError:
        raise SettingsError(f"{path} is no OAuth token of an authorized user") from None

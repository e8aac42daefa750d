"""Compose a real syft client (identity, peers, keys, jobs, data sets) over our transport.

Encryption is always on. The key file lies where the caller says, is created with mode 600 and
belongs to one e-mail. syft prints a great deal; all of it is kept off the terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syft.sync.connections.base_connection import ConnectionConfig
from syft.sync.syftbox_manager import SyftboxManagerConfig, default_collections_folder
from syft.sync.sync.caches.datasite_owner_cache import DataSiteOwnerEventCacheConfig
from syft.sync.sync.caches.datasite_watcher_cache import DataSiteWatcherCacheConfig
from syft.sync.sync.datasite_owner_syncer import DatasiteOwnerSyncerConfig
from syft.sync.sync.datasite_watcher_syncer import DatasiteWatcherSyncerConfig
from syft.sync.version.peer_manager import PeerManagerConfig
from syft_rds.client import SyftRDSClient
from syft_rds.config import DATASET_COLLECTION_SPECS, SyftRDSClientConfig

from datasites.syftnet.connection import RelayConnection, RelayConnectionConfig
from datasites.syftnet.transports import RelayAccess, load_access


@dataclass(frozen=True)
class Participant:
    """Who takes part, and where its files lie.

    Attributes:
        email: the participant's syft identity.
        relay_url: an fsspec URL.
        syftbox: its SyftBox folder (what syft sees).
        own_folder: local, private: key file, peers file and the relay's credentials.
        is_site: True for a hospital's datasite, False for a researcher.
        access: the relay's credentials; None reads them from `own_folder` and the environment.
    """

    email: str
    relay_url: str
    syftbox: Path
    own_folder: Path
    is_site: bool
    access: RelayAccess | None = None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep syft's prints off the terminal, and its new files private to the user."""
    mask = os.umask(0o077)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.umask(mask)


def connect(participant: Participant) -> SyftRDSClient:
    """A syft client for `participant`, its keys loaded or created.

    Raises:
        RelayError: the relay is not there.
        SettingsError: its credentials are missing or can be read by others.
    """
    with quiet():
        participant.own_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        client = SyftRDSClient.from_config(SyftRDSClientConfig._compose(_config(participant)))
        connection_of(client).relay.check()
        client.sync_engine.peer_manager.write_own_version()
        return client


def connection_of(client: SyftRDSClient) -> RelayConnection:
    """The one connection all of the client's routers share in effect."""
    connection: RelayConnection = client.sync_engine.peer_manager.connection_router.connections[0]
    return connection


def _connection_config(who: Participant) -> ConnectionConfig:
    access = who.access or load_access(who.own_folder, os.environ)
    if who.relay_url.startswith("gdrive:"):
        from datasites.syftnet.drive import DriveConnectionConfig

        return DriveConnectionConfig(email=who.email, access=access, own_folder=who.own_folder)
    return RelayConnectionConfig(
        email=who.email,
        url=who.relay_url,
        access=access,
        own_folder=who.own_folder,
        is_site=who.is_site,
    )


def _config(who: Participant) -> SyftboxManagerConfig:
    connections = [_connection_config(who)]
    specs = DATASET_COLLECTION_SPECS
    collections = default_collections_folder(who.syftbox, who.email, specs)
    common: dict[str, Any] = {"email": who.email, "syftbox_folder": who.syftbox}
    return SyftboxManagerConfig(
        **common,
        has_do_role=who.is_site,
        has_ds_role=not who.is_site,
        use_in_memory_cache=False,
        datasite_owner_syncer_config=DatasiteOwnerSyncerConfig(
            **common,
            collections_folder=collections,
            collection_specs=specs,
            connection_configs=connections,
            cache_config=DataSiteOwnerEventCacheConfig(
                **common, use_in_memory_cache=False, collections_folder=collections
            ),
        ),
        datasite_watcher_syncer_config=DatasiteWatcherSyncerConfig(
            **common,
            connection_configs=connections,
            datasite_watcher_cache_config=DataSiteWatcherCacheConfig(
                **common,
                use_in_memory_cache=False,
                collection_specs=specs,
                connection_configs=connections,
            ),
        ),
        peer_manager_config=PeerManagerConfig(
            **common,
            connection_configs=connections,
            has_do_role=who.is_site,
            has_ds_role=not who.is_site,
            use_encryption=True,
            crypto_keys_path=who.own_folder / "syft_keys.json",
        ),
    )

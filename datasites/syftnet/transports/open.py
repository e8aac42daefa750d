"""Opens the storage that a relay's URL names; a transport's vendor is imported here, when used."""

from __future__ import annotations

from pathlib import Path

from datasites.site import RelayAddress
from datasites.syftnet.transports.access import RelayAccess
from datasites.syftnet.transports.folder import FolderStorage
from datasites.syftnet.transports.storage import Storage


def open_storage(address: RelayAddress, access: RelayAccess) -> Storage:
    """The storage at `address`; nothing is connected to before it is used.

    Raises:
        SettingsError: credentials that this kind of storage needs are missing.
    """
    if address.scheme == "sftp":
        from datasites.syftnet.transports.sftp import SftpStorage

        return SftpStorage(address, access)
    if address.scheme == "s3":
        from datasites.syftnet.transports.bucket import BucketStorage

        return BucketStorage(address, access)
    if address.scheme in ("dav", "davs"):
        from datasites.syftnet.transports.webdav import WebdavStorage

        return WebdavStorage(address, access)
    return FolderStorage(Path(address.path or "/"))

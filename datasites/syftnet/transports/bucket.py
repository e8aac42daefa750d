"""A relay in an S3-compatible bucket (s3fs). Folders are prefixes; a PUT is whole or not at all.

Messages above s3fs' single-PUT size go as a multipart upload, which appears when it is
completed, and not before. Nothing is cached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import s3fs
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.asyn import sync

from datasites.errors import SettingsError
from datasites.site import RelayAddress
from datasites.syftnet.transports.access import RelayAccess
from datasites.syftnet.transports.storage import Storage, StorageLostError

CONNECT_S = 15
ANSWER_S = 60
ATTEMPTS = 2


class BucketStorage(Storage):
    """Objects below one prefix of a bucket.

    Raises:
        SettingsError: no access key.
    """

    def __init__(self, address: RelayAddress, access: RelayAccess) -> None:
        if not (access.access_key and access.secret_key):
            raise SettingsError(
                f"{access.source} must name access_key and secret_key; see docs/relay.md"
            )
        self._bucket = address.host
        self._root = f"{address.host}{address.path}"
        client: dict[str, Any] = {"region_name": access.region or None}
        if access.ca_file:
            client["verify"] = access.ca_file
        self._fs = s3fs.S3FileSystem(
            key=access.access_key,
            secret=access.secret_key,
            endpoint_url=access.endpoint_url or None,
            client_kwargs=client,
            config_kwargs={
                "connect_timeout": CONNECT_S,
                "read_timeout": ANSWER_S,
                "retries": {"max_attempts": 0},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._fs.retries = ATTEMPTS

    def is_there(self) -> bool:
        """Whether the bucket exists."""
        with _translated(self._bucket):
            try:
                self._fs.call_s3("list_objects_v2", Bucket=self._bucket, MaxKeys=1)
            except FileNotFoundError:
                return False
        return True

    def write(self, path: str, data: bytes) -> None:
        """One PUT."""
        with _translated(self._bucket):
            self._fs.pipe_file(self._full(path), data)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """One GET of the object's first bytes."""
        with _translated(self._bucket):
            size = self._fs.info(self._full(path), refresh=True)
            if size["type"] != "file":
                raise FileNotFoundError(path)
            wanted = min(size["size"], limit_bytes)
            # An empty range is an error in S3.
            return (
                bytes(self._fs.cat_file(self._full(path), start=0, end=wanted)) if wanted else b""
            )

    def names(self, path: str) -> list[str]:
        """Objects and prefixes below a prefix."""
        with _translated(self._bucket):
            found = self._fs.ls(self._full(path), detail=False, refresh=True)
        prefix = self._full(path) + "/"
        return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]

    def remove(self, path: str) -> None:
        """One DELETE; deleting what is not there is no error in S3."""
        with _translated(self._bucket):
            self._fs.rm_file(self._full(path))

    def remove_folder(self, path: str) -> None:
        """Delete every object below a prefix."""
        with _translated(self._bucket), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._full(path), recursive=True)

    def oddity(self, path: str) -> str | None:
        """None: this storage has no links."""

    def close(self) -> None:
        """End kept connections."""
        if self._fs._s3 is not None:
            sync(self._fs.loop, self._fs._s3.__aexit__, None, None, None)
            self._fs._s3 = None

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"


@contextlib.contextmanager
def _translated(bucket: str) -> Iterator[None]:
    """s3fs raises OSErrors for most answers; the rest is the server or the network.

    Only the kind of error is repeated: an answer's text may hold the key that was refused.
    """
    try:
        yield
    except (BotoCoreError, ClientError, TimeoutError, ConnectionError) as error:
        raise StorageLostError(f"bucket {bucket}: {type(error).__name__}") from None
    except PermissionError:
        raise PermissionError(f"bucket {bucket}: access denied; check the relay's rights") from None

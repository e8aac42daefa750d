"""A new file that is there whole, durably and for its owner alone, or not at all.

It is written beside its place and linked into it: a link, unlike a rename, never replaces what is
there. Files that are replaced are written by `datasites.durable`, which this package does not know.
"""

import os
import secrets
from pathlib import Path


def create_whole(path: Path, data: bytes) -> None:
    """Create a file with all of its content, never over an existing one.

    Args:
        path: where to; its folder must exist.
        data: the content.

    Raises:
        FileExistsError: something is there already.
        OSError: it could not be made durable; nothing is left behind.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # the umask may have taken bits away
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        try:
            _sync_folder(path.parent)
        except OSError:
            path.unlink()
            raise
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

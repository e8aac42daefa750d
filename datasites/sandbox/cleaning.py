"""Taking away what jobs left on disk, whatever they made of it.

A folder may be nested deeper than a path can say, closed to its owner, or hold names that are no
text. So nothing here builds a path: each entry is reached from an open folder, a link is removed
and not followed, a closed folder is opened first, and a deep one is flattened (its folders are
moved up) so that two open folders are all that is ever needed. What cannot be removed is an error
that names it; nothing is passed over.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from datasites.errors import CleanUpError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a folder and everything in it; nothing to do where there is none.

    No process may be writing there any more.

    Raises:
        CleanUpError: something stays; says what, and what to do.
    """
    try:
        top = os.open(path.parent, _FOLDER)
    except FileNotFoundError:
        return
    try:
        if _exists(path.name, top):
            _remove_folder(path.name, top)
    except OSError as error:
        raise CleanUpError(
            f"{path} holds what a job left and cannot be removed ({error}); end what still runs "
            f"there, then `rm -r {path}`"
        ) from error
    finally:
        os.close(top)


def _exists(name: str, top: int) -> bool:
    try:
        os.stat(name, dir_fd=top, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove_folder(name: str, top: int) -> None:
    folder = _opened(name, top)
    try:
        while inner := _emptied(folder):
            for each in inner:
                _lift(each, folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _opened(name: str, top: int) -> int:
    """A folder, opened; a mode that forbids it is changed, which only its owner and root may."""
    try:
        return os.open(name, _FOLDER, dir_fd=top)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=top)
        return os.open(name, _FOLDER, dir_fd=top)


def _emptied(folder: int) -> list[str]:
    """Remove all but the folders in an open folder, and give their names."""
    os.fchmod(folder, 0o700)
    inner = []
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except (IsADirectoryError, PermissionError):
            inner.append(name)
    return inner


def _lift(name: str, folder: int) -> None:
    """Remove one folder in an open folder; the folders in it are moved up beside it."""
    inner = _opened(name, folder)
    try:
        for each in _emptied(inner):
            os.close(_opened(each, inner))  # one that is closed cannot be moved
            up = f".{secrets.token_hex(16)}"
            os.rename(each, up, src_dir_fd=inner, dst_dir_fd=folder)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)

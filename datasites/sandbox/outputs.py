"""Taking a file out of a sandbox: no link followed, only a declared, bounded, plain file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from datasites.errors import OutputError


def take_output(folder: Path, name: str, *, max_bytes: int) -> bytes:
    """The bytes of the regular file `name` directly in `folder`.

    The file is opened without following a link, and judged by what was opened: it must be a
    regular file with exactly one name and at most `max_bytes` bytes.

    Raises:
        OutputError: it is missing, a link, a pipe, a device, hard-linked or too large.
    """
    if "/" in name or name in ("", ".", ".."):
        raise OutputError(f"{name!r} is not a plain file name")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / name, flags)
    except OSError as error:
        raise OutputError(f"the job left no plain file {name!r}: {error.strerror}") from error
    try:
        state = os.fstat(descriptor)  # before fdopen, which fails on a folder in its own way
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
            raise OutputError(f"{name!r} is not a regular file with one name")
        if state.st_size > max_bytes:
            raise OutputError(f"{name!r} has {state.st_size} bytes; declared are {max_bytes}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise OutputError(f"{name!r} grew beyond its declared {max_bytes} bytes")
    return data

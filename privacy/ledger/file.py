"""Bytes of a ledger file: create whole, lock, read lines, append durably, judge a torn tail.

Knows lines and lengths, not what is in them. Guarantees: a new file appears whole or not at all;
one process at a time; an append that fails leaves the file at its former length.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from privacy.errors import LedgerBusyError, LedgerError, LedgerWriteError
from privacy.ledger.chain import ENTRY_START, MAX_LINE_BYTES, SEAL_START
from privacy.signing import create_whole

_LOCK_POLL_S = 0.005


class TailKind(Enum):
    """What a last line without its newline can be."""

    TORN = "torn"
    """The beginning of a line: a write that a crash interrupted."""
    COMPLETE = "complete"
    """A whole line that lacks only its newline."""
    FOREIGN = "foreign"
    """Bytes that no append of ours leaves behind."""


class LedgerFile:
    """An open ledger file whose exclusive lock we hold."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def size(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        return os.pread(self._descriptor, length, offset)

    def lines_from(self, offset: int) -> Iterator[bytes]:
        """Lines from byte `offset` on, as `read_lines` gives them."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(offset)
            yield from read_lines(file)

    def append(self, data: bytes, *, offset: int) -> None:
        """Write `data` at the end and make it durable.

        Args:
            data: bytes to add.
            offset: the file's present length.

        Raises:
            LedgerWriteError: it could not be made durable; the file has its former length again.
        """
        try:
            view = memoryview(data)
            position = offset
            while view:
                written = os.pwrite(self._descriptor, view, position)
                view, position = view[written:], position + written
            os.fsync(self._descriptor)
        except OSError as error:
            self.cut(offset)
            raise LedgerWriteError(
                f"cannot append to {self._path}: {error.strerror}; nothing was recorded, so "
                "nothing may run; free some space and try again"
            ) from error

    def cut(self, length: int) -> None:
        """Shorten the file to `length` bytes, durably.

        Raises:
            LedgerWriteError: the file system refuses even that.
        """
        try:
            os.ftruncate(self._descriptor, length)
            os.fsync(self._descriptor)
        except OSError as error:
            raise LedgerWriteError(
                f"cannot cut {self._path} back to {length} bytes: {error.strerror}; check the disk"
            ) from error


@contextmanager
def locked_file(path: Path, *, timeout_s: float) -> Iterator[LedgerFile]:
    """Open the ledger and hold its exclusive lock while in the block.

    Args:
        path: the ledger file; not a symbolic link.
        timeout_s: how long to wait for another process, in seconds.

    Yields:
        The open file.

    Raises:
        LedgerError: the file is missing or cannot be opened.
        LedgerBusyError: another process held the lock for all that time.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise LedgerError(f"cannot open the ledger {path}: {error.strerror}") from error
    try:
        _lock(descriptor, path, timeout_s)
        yield LedgerFile(descriptor, path)
    finally:
        os.close(descriptor)  # also gives the lock back


def _lock(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise LedgerBusyError(
                    f"another process has held {path} for {timeout_s:g} s; find it, or try again"
                ) from error
            time.sleep(_LOCK_POLL_S)
        else:
            return


def create_file(path: Path, data: bytes) -> None:
    """Create a ledger file with all of its content, durably, never over an existing one.

    Raises:
        LedgerError: the file exists already.
        LedgerWriteError: it could not be made durable; nothing is left behind.
    """
    try:
        create_whole(path, data)
    except FileExistsError as error:
        raise LedgerError(f"{path} exists already; open it instead of creating it") from error
    except OSError as error:
        raise LedgerWriteError(f"cannot create {path}: {error.strerror}; check the disk") from error


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their newlines; the last may lack one; none is longer than a line may be plus one.

    Args:
        file: open binary file, read from its present position on.

    Yields:
        Lines, `MAX_LINE_BYTES` + 1 bytes at most, so that memory stays flat whatever the file is.
    """
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line


def classify_tail(tail: bytes) -> TailKind:
    """Judge a last line that lacks its newline.

    Args:
        tail: its bytes, not empty.

    Returns:
        Whether a crash can explain it. Zeros at the end count as not written: some file systems
        record the new length before the data.
    """
    text = tail.rstrip(b"\0")
    starts = [text[: len(start)] == start[: len(text)] for start in (ENTRY_START, SEAL_START)]
    if len(tail) > MAX_LINE_BYTES or not any(starts):
        return TailKind.FOREIGN
    try:
        _, end = json.JSONDecoder().raw_decode(text.decode("latin-1"))
    except (ValueError, RecursionError):
        return TailKind.TORN
    return TailKind.COMPLETE if end == len(tail) else TailKind.FOREIGN

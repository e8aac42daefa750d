"""The ledger: append-only lines, durable before anybody acts on them.

An append-only file with fsync and an advisory lock, not a database: an auditor reads it with any
tool, one line is one signed fact, and the hash chain needs no second source of truth.

Order, inside one exclusive lock across processes: read what others appended (verifying it),
decide on that fresh state, check that the new entry can have happened, append one line, fsync, and
only then return. So two processes can never both spend the last of a budget.

What a crash or a full disk may do:
- killed before the write: nothing happened. Killed after it: the entry is there, and counts;
- killed within the write: the file ends in an incomplete line that nobody was told about. The next
  locked access cuts exactly that tail, and records the cut (``ledger_repaired``: size and hash of
  what was cut). A tail that is a complete, valid entry without its newline is kept and completed.
  Anything else after the last valid line is tampering, not a crash, and refuses;
- disk full or an I/O error: the file is cut back to its former length, `LedgerWriteError`.

Every line read is verified (signature, chain, place, story). A file that shrank, or whose last
verified line changed under us, refuses. Memory holds the account, not the lines.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from privacy.accounts import Account
from privacy.canonical import sha256_hex
from privacy.chain import (
    GENESIS_HASH,
    ChainReader,
    ChainSummary,
    Checkpoint,
    SealedEntry,
    encode_line,
    seal,
    verify_chain,
)
from privacy.entries import Entry, EntryKind
from privacy.errors import LedgerError, LedgerTamperedError
from privacy.fold import AccountFold
from privacy.ledgerfile import (
    LedgerFile,
    TailKind,
    classify_tail,
    create_whole,
    locked_file,
    read_lines,
)
from privacy.signing import SigningKey

LOCK_TIMEOUT_S = 30.0


class Ledger:
    """One hospital's ledger, open for reading and appending.

    Safe to use from several threads and processes. A `decide` callback must not use the ledger
    itself: it is given the account that it needs.
    """

    def __init__(self, path: Path, key: SigningKey, *, lock_timeout_s: float) -> None:
        self._path = path
        self._key = key
        self._lock_timeout_s = lock_timeout_s
        self._mutex = threading.Lock()
        self._reader = ChainReader(public_hex=key.public_hex)
        self._fold = AccountFold()
        self._offset = 0
        self._last_line = b""
        self._last_time = ""

    @classmethod
    def create(
        cls,
        path: Path,
        key: SigningKey,
        *,
        time: str,
        actor: str,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> "Ledger":
        """Start a ledger; the file appears whole, with its opening entry, or not at all.

        Args:
            path: where to; its folder must exist, the file must not.
            key: the hospital's signing key.
            time: UTC, ISO 8601 with ``Z``.
            actor: who opens it.
            lock_timeout_s: how long to wait for another process, in seconds.

        Returns:
            The open ledger.

        Raises:
            LedgerError: the file exists already.
            LedgerWriteError: it could not be made durable.
        """
        opening = Entry(
            kind=EntryKind.LEDGER_OPENED,
            actor=actor,
            action="open ledger",
            resource=key.public_hex,
            reason="",
            time=time,
        )
        sealed = seal(opening, sequence=0, previous_hash=GENESIS_HASH, key=key)
        create_whole(path, encode_line(sealed))
        return cls.open(path, key, lock_timeout_s=lock_timeout_s)

    @classmethod
    def open(
        cls, path: Path, key: SigningKey, *, lock_timeout_s: float = LOCK_TIMEOUT_S
    ) -> "Ledger":
        """Open an existing ledger and verify all of it.

        Args:
            path: the ledger file.
            key: the key that signed every entry so far.
            lock_timeout_s: how long to wait for another process, in seconds.

        Returns:
            The open ledger.

        Raises:
            LedgerError: the file is missing or unreadable, or tells an impossible story.
            LedgerTamperedError: a line is not what this key signed, in this order.
            LedgerBusyError: another process holds it.
        """
        ledger = cls(path, key, lock_timeout_s=lock_timeout_s)
        with ledger._fresh():
            return ledger

    @property
    def path(self) -> Path:
        """The ledger file."""
        return self._path

    @property
    def public_hex(self) -> str:
        """The public key that signs the entries."""
        return self._key.public_hex

    def append(self, entry: Entry) -> SealedEntry:
        """Append an entry that needs no decision.

        Args:
            entry: what happened.

        Returns:
            The sealed entry, durable.

        Raises:
            LedgerError: after the entries so far, this one cannot have happened.
            LedgerWriteError: it could not be made durable; the ledger is as before.
            LedgerBusyError: another process holds it.
        """
        with self._fresh() as file:
            return self._append(file, entry)

    def transact(self, decide: Callable[[Account], Entry]) -> SealedEntry:
        """Decide on fresh state and append, as one step for all processes.

        Args:
            decide: pure function from the account to the entry; raises to refuse, and then nothing
                is appended.

        Returns:
            The sealed entry, durable.

        Raises:
            LedgerError: after the entries so far, this one cannot have happened.
            LedgerWriteError: it could not be made durable; the ledger is as before.
            LedgerBusyError: another process holds it.
        """
        with self._fresh() as file:
            return self._append(file, decide(self._fold.snapshot()))

    def account(self) -> Account:
        """The account as of now; only lines added since the last look are read.

        Raises:
            LedgerTamperedError: a new line is not what this key signed.
            LedgerBusyError: another process holds it.
        """
        with self._fresh():
            return self._fold.snapshot()

    def head(self) -> Checkpoint:
        """The last entry as of now, to be put into receipts.

        Raises:
            LedgerTamperedError: a new line is not what this key signed.
            LedgerBusyError: another process holds it.
        """
        with self._fresh():
            return Checkpoint(
                sequence=self._reader.next_sequence - 1, entry_hash=self._reader.last_hash
            )

    def entries(self) -> Iterator[SealedEntry]:
        """All entries as of now, oldest first, verified while they are read.

        Raises:
            LedgerTamperedError: a line is not what this key signed.
            LedgerBusyError: another process holds it.
        """
        with self._fresh():
            count = self._reader.next_sequence
        for sealed in read_file(self._path, public_hex=self.public_hex):
            yield sealed
            if sealed.sequence + 1 == count:
                return

    @contextmanager
    def _fresh(self) -> Iterator[LedgerFile]:
        """Hold the lock, with everything that others appended read and verified."""
        with self._mutex, locked_file(self._path, timeout_s=self._lock_timeout_s) as file:
            self._check_unchanged(file)
            for line in file.lines_from(self._offset):
                if line.endswith(b"\n"):
                    self._accept(line)
                else:
                    self._repair(file, line)
                    break
            if self._reader.next_sequence == 0:
                raise LedgerTamperedError(0, "missing; even a new ledger holds its opening")
            yield file

    def _check_unchanged(self, file: LedgerFile) -> None:
        last = self._reader.next_sequence - 1
        if file.size() < self._offset:
            raise LedgerTamperedError(max(last, 0), "missing; the file became shorter")
        length = len(self._last_line)
        if file.read_at(self._offset - length, length) != self._last_line:
            raise LedgerTamperedError(last, "changed since it was verified")

    def _accept(self, line: bytes) -> None:
        sealed = self._reader.check(line)
        try:
            change = self._fold.prepare(sealed.entry)
        except LedgerError as error:
            raise LedgerError(f"ledger entry {sealed.sequence}: {error}") from error
        self._follow(line, sealed, change)

    def _append(self, file: LedgerFile, entry: Entry) -> SealedEntry:
        change = self._fold.prepare(entry)
        sealed = seal(
            entry,
            sequence=self._reader.next_sequence,
            previous_hash=self._reader.last_hash,
            key=self._key,
        )
        line = encode_line(sealed)
        file.append(line, offset=self._offset)
        self._follow(line, sealed, change)
        return sealed

    def _follow(self, line: bytes, sealed: SealedEntry, change: Callable[[], None]) -> None:
        change()
        self._reader.follow(sealed)
        self._offset += len(line)
        self._last_line = line
        self._last_time = sealed.entry.time

    def _repair(self, file: LedgerFile, tail: bytes) -> None:
        kind = classify_tail(tail)
        if kind is TailKind.FOREIGN or self._offset == 0:
            raise LedgerTamperedError(
                self._reader.next_sequence, "the file ends in bytes that no append writes"
            )
        if kind is TailKind.COMPLETE:
            line = tail + b"\n"
            self._reader.check(line)
            file.append(b"\n", offset=self._offset + len(tail))
            self._accept(line)
            return
        file.cut(self._offset)
        repaired = Entry(
            kind=EntryKind.LEDGER_REPAIRED,
            actor="ledger",
            action="cut an incomplete last line",
            resource=self.public_hex,
            reason="a write was interrupted before it was acknowledged",
            time=self._last_time,  # no clock in here; "not before the last entry" is what we know
            detail={"cut_bytes": len(tail), "cut_sha256": sha256_hex(tail)},
        )
        self._append(file, repaired)


def read_file(path: Path, *, public_hex: str) -> Iterator[SealedEntry]:
    """Read a ledger without its private key, verifying each line before it is given out.

    Args:
        path: the ledger file.
        public_hex: the key it must be signed by.

    Yields:
        Sealed entries, oldest first.

    Raises:
        LedgerError: the file cannot be read.
        LedgerTamperedError: a line is not what this key signed, in this order.
    """
    reader = ChainReader(public_hex=public_hex)
    for line in _lines(path):
        yield reader.accept(line)


def verify_file(
    path: Path, *, public_hex: str, checkpoint: Checkpoint | None = None
) -> ChainSummary:
    """Verify a ledger file offline; see `privacy.chain.verify_chain`.

    Args:
        path: the ledger file.
        public_hex: the key it must be signed by, known from elsewhere.
        checkpoint: the last state somebody saw, if any.

    Returns:
        A summary of the intact ledger.

    Raises:
        LedgerError: the file cannot be read.
        LedgerTamperedError: names the first entry that is wrong, and why.
    """
    return verify_chain(_lines(path), public_hex=public_hex, checkpoint=checkpoint)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from read_lines(file)
    except OSError as error:
        raise LedgerError(f"cannot read the ledger {path}: {error.strerror}") from error

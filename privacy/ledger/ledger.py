"""The ledger: append-only lines, durable before anybody acts on them.

An append-only file with fsync and an advisory lock, not a database: an auditor reads it with any
tool, one line is one fact, and the hash chain needs no second source of truth.

Order, inside one exclusive lock across processes: read what others appended (verifying it),
decide on that fresh state, check that the new entry can have happened, append it with its signed
seal, fsync, and only then return. So two processes can never both spend the last of a
budget.

What a crash or a full disk may do:
- killed before the write: nothing happened. Killed after it: the entries are there, and count;
- killed within the write: the file ends in entries without a seal, perhaps in an incomplete line,
  that nobody was told about. The next locked access cuts exactly that tail, and records the cut
  (``ledger_repaired``: size and hash of what was cut). A seal that lacks only its newline is kept
  and completed. Anything else after the last seal is tampering, not a crash, and refuses;
- disk full or an I/O error: the file is cut back to its former length, `LedgerWriteError`.

Every line read is verified (chain, place, story, and the seal that vouches for it). A file that
shrank, or whose last verified line changed under us, refuses. Memory holds the account, not the
lines.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from privacy.errors import LedgerError, LedgerTamperedError
from privacy.ledger.chain import (
    GENESIS_HASH,
    SEAL_START,
    Checkpoint,
    SealedEntry,
    SealLine,
    entry_line,
    entry_of,
    seal_line,
)
from privacy.ledger.chain_reader import ChainReader
from privacy.ledger.file import LedgerFile, TailKind, classify_tail, create_file, locked_file
from privacy.ledger.lookup import entry_at
from privacy.ledger.read import read_file
from privacy.signing import SigningKey, sha256_hex
from privacy.spending import Account, AccountFold, Entry, EntryKind

LOCK_TIMEOUT_S = 30.0
MAX_UNSEALED = 100_000
"""More entries than that without a seal are no interrupted write."""


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
        self._forget()

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
        line, head = entry_line(opening, sequence=0, previous=GENESIS_HASH)
        create_file(path, line + seal_line(sequence=0, head=head, key=key)[0])
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
            LedgerTamperedError: a line is not what this key sealed, in this order.
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
            LedgerTamperedError: a new line is not what this key sealed.
            LedgerBusyError: another process holds it.
        """
        with self._fresh():
            return self._fold.snapshot()

    def head(self) -> Checkpoint:
        """The last entry as of now.

        Raises:
            LedgerTamperedError: a new line is not what this key sealed.
            LedgerBusyError: another process holds it.
        """
        return self.standing()[0]

    def standing(self) -> tuple[Checkpoint, Account]:
        """The last entry and the account up to exactly it, to be put into receipts.

        Raises:
            LedgerTamperedError: a new line is not what this key sealed.
            LedgerBusyError: another process holds it.
        """
        with self._fresh():
            head = Checkpoint(self._reader.next_sequence - 1, self._reader.head)
            return head, self._fold.snapshot()

    def holds(self, point: Checkpoint) -> bool:
        """Whether exactly the entry that a checkpoint names is in the ledger as of now.

        Reads some twenty lines, however long the ledger is.

        Raises:
            LedgerTamperedError: a new line is not what this key sealed.
            LedgerBusyError: another process holds it.
        """
        with self._fresh() as file:
            found = entry_at(point.sequence, read_at=file.read_at, size=self._offset)
        return found is not None and found.entry_hash == point.entry_hash

    def entries(self) -> Iterator[SealedEntry]:
        """All entries as of now, oldest first, verified while they are read.

        Raises:
            LedgerTamperedError: a line is not what this key sealed.
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
            if self._offset:
                self._check_unchanged(file)
            self._catch_up(file)
            yield file

    def _forget(self) -> None:
        """Know nothing of the file, so that the next access reads all of it again."""
        self._reader = ChainReader(public_hex=self._key.public_hex)
        self._fold = AccountFold()
        self._offset = 0
        self._last_seal = b""
        self._last_time = ""

    def _check_unchanged(self, file: LedgerFile) -> None:
        last = self._reader.next_sequence - 1
        if file.size() < self._offset:
            raise LedgerTamperedError(max(last, 0), "missing; the file became shorter")
        length = len(self._last_seal)
        if file.read_at(self._offset - length, length) != self._last_seal:
            raise LedgerTamperedError(last, "changed since it was verified")

    def _catch_up(self, file: LedgerFile) -> None:
        """Read and verify what was appended since the last look; repair an interrupted write."""
        if file.size() == self._offset and self._offset:
            return
        try:
            tail = self._read_batches(file)
            self._reader.finish()
        except BaseException:
            self._forget()
            raise
        if tail:
            self._repair(file, tail)

    def _read_batches(self, file: LedgerFile) -> bytes:
        """Fold every sealed batch; returns the last line if it lacks its newline.

        Entries that no seal follows are not folded, and the reader stands before them.
        """
        waiting: list[SealedEntry] = []
        position = self._offset
        state = self._reader.position()
        for line in file.lines_from(self._offset):
            if not line.endswith(b"\n"):
                break
            found = self._reader.accept(line)
            position += len(line)
            if not isinstance(found, SealLine):
                waiting.append(entry_of(found))
                if len(waiting) > MAX_UNSEALED:
                    raise LedgerTamperedError(waiting[0].sequence, "is not sealed")
                continue
            for sealed in waiting:
                self._fold_in(sealed)
            waiting = []
            self._offset, self._last_seal = position, line
            state = self._reader.position()
        if self._offset == 0:
            raise LedgerTamperedError(0, "missing; even a new ledger holds its sealed opening")
        self._reader.restore(state)
        return file.read_at(self._offset, file.size() - self._offset)

    def _fold_in(self, sealed: SealedEntry) -> None:
        try:
            self._fold.add(sealed.entry)
        except LedgerError as error:
            raise LedgerError(f"ledger entry {sealed.sequence}: {error}") from error
        self._last_time = sealed.entry.time

    def _append(self, file: LedgerFile, entry: Entry) -> SealedEntry:
        """Append an entry with its seal; the fold follows once both are durable."""
        sequence = self._reader.next_sequence
        change = self._fold.prepare(entry)
        line, head = entry_line(entry, sequence=sequence, previous=self._reader.link)
        closing, link = seal_line(sequence=sequence, head=head, key=self._key)
        file.append(line + closing, offset=self._offset)
        change()
        self._reader.follow(next_sequence=sequence + 1, head=head, link=link)
        self._offset += len(line) + len(closing)
        self._last_seal, self._last_time = closing, entry.time
        return SealedEntry(entry=entry, sequence=sequence, entry_hash=head)

    def _check_batch(self, lines: bytes) -> None:
        """Refuse a last batch that is not ours, before its newline is given back to it."""
        state = self._reader.position()
        for line in lines.splitlines(keepends=True):
            self._reader.accept(line)
        self._reader.finish()
        self._reader.restore(state)

    def _repair(self, file: LedgerFile, tail: bytes) -> None:
        """Cut what an interrupted write left after the last seal, and record the cut."""
        last_line = tail[tail.rfind(b"\n", 0, len(tail) - 1) + 1 :]
        kind = TailKind.TORN if last_line.endswith(b"\n") else classify_tail(last_line)
        if kind is TailKind.FOREIGN:
            raise LedgerTamperedError(
                self._reader.next_sequence, "the file ends in bytes that no append writes"
            )
        if kind is TailKind.COMPLETE and last_line.startswith(SEAL_START):
            self._check_batch(tail + b"\n")
            file.append(b"\n", offset=self._offset + len(tail))
            self._catch_up(file)
            return
        file.cut(self._offset)
        repaired = Entry(
            kind=EntryKind.LEDGER_REPAIRED,
            actor="ledger",
            action="cut an interrupted write",
            resource=self.public_hex,
            reason="a write was interrupted before it was acknowledged",
            time=self._last_time,  # no clock in here; "not before the last entry" is what we know
            detail={"cut_bytes": len(tail), "cut_sha256": sha256_hex(tail)},
        )
        self._append(file, repaired)

"""Judging a chain: every line in its place, every batch sealed, the last seal signed by the key.

Found, and named by the index of the entry: any flipped, added or missing byte (whitespace, key
order and number format included), a dropped, doubled or reordered line, a seal by another key or
with a wrong signature, entries without a seal, and against checkpoints a truncated, rewritten or
forked ledger. Memory stays flat.

Which signatures are checked. A seal's bytes are part of what the next entry names, so the last
seal's signature covers all others; `finish` checks it. Where a line does not continue the one
before it and that one is a seal, its signature is checked too, to name the right of the two. A
reader that gives entries out before the end (`strict`) checks every seal as it comes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from privacy.errors import LedgerTamperedError, SignatureError
from privacy.ledger.chain import (
    GENESIS_HASH,
    Checkpoint,
    EntryLine,
    SealedEntry,
    SealLine,
    entry_of,
    read_line,
)
from privacy.signing import Purpose, verify_canonical


@dataclass(frozen=True, kw_only=True)
class ChainSummary:
    """What verification found out about a ledger that is intact.

    Attributes:
        entries: number of entries, >= 1.
        seals: number of signed seals, >= 1.
        head: the last entry, to be kept as a checkpoint.
        public_hex: the key that sealed them.
        first_time: time of the first entry.
        last_time: time of the last entry.
    """

    entries: int
    seals: int
    head: Checkpoint
    public_hex: str
    first_time: str
    last_time: str


class ChainReader:
    """Accepts lines one after the other and refuses the first that cannot be right.

    Holds what the last line proves, so memory is flat.

    Attributes:
        next_sequence: index of the next entry.
        link: hash that the next entry must name.
        head: hash of the last entry.
        unsealed: number of entries since the last seal.
        seals: number of seals so far.
    """

    def __init__(self, *, public_hex: str, strict: bool = False) -> None:
        self._public_hex = public_hex
        self._strict = strict
        self._last_seal: SealLine | None = None
        self.next_sequence = 0
        self.link = GENESIS_HASH
        self.head = ""
        self.unsealed = 0
        self.seals = 0

    def accept(self, line: bytes) -> EntryLine | SealLine:
        """Check the next line and move past it.

        Args:
            line: bytes of one line, newline included.

        Returns:
            What it says.

        Raises:
            LedgerTamperedError: the line is not the one that was written for this place.
        """
        found = read_line(line, index=self._index(line))
        if isinstance(found, SealLine):
            self._check_seal(found)
            self.link, self.unsealed, self._last_seal = found.line_hash, 0, found
            self.seals += 1
        else:
            self._check_entry(found)
            self.link = self.head = found.entry_hash
            self.next_sequence, self.unsealed = self.next_sequence + 1, self.unsealed + 1
            self._last_seal = None if self._strict else self._last_seal
        return found

    def finish(self) -> None:
        """Check that the last batch is sealed, and the signature that vouches for all.

        Raises:
            LedgerTamperedError: there is no entry, no last seal, or its signature is wrong.
        """
        if self.next_sequence == 0:
            raise LedgerTamperedError(0, "the ledger is empty; even a new one holds its opening")
        if self.unsealed:
            raise LedgerTamperedError(
                self.next_sequence - self.unsealed,
                "is not sealed; its write was interrupted, or the seal was cut off",
            )
        if self._last_seal is not None:
            self._verify(self._last_seal)

    def follow(self, *, next_sequence: int, head: str, link: str) -> None:
        """Move past a batch that we sealed ourselves."""
        self.next_sequence, self.head, self.link = next_sequence, head, link
        self.unsealed, self._last_seal = 0, None

    def position(self) -> tuple[int, str, str, SealLine | None]:
        """Where the reader stands, just after a seal."""
        return self.next_sequence, self.link, self.head, self._last_seal

    def restore(self, position: tuple[int, str, str, SealLine | None]) -> None:
        """Go back to where it stood."""
        self.next_sequence, self.link, self.head, self._last_seal = position
        self.unsealed = 0

    def _index(self, line: bytes) -> int:
        # A seal belongs to the entry before it; what is no line at all to the one that is due.
        return self.next_sequence - (1 if self.unsealed and line.startswith(b'{"s') else 0)

    def _check_entry(self, found: EntryLine) -> None:
        index = self.next_sequence
        if found.previous == self.link and found.sequence == index:
            return
        if not self.unsealed and self._last_seal is not None:
            self._verify(self._last_seal)
        if found.sequence != index:
            raise LedgerTamperedError(
                index,
                f"carries number {found.sequence}; entries are missing, doubled or reordered",
            )
        raise LedgerTamperedError(index, "does not continue the line before it")

    def _check_seal(self, found: SealLine) -> None:
        index = self.next_sequence - 1
        if not self.unsealed:
            raise LedgerTamperedError(self.next_sequence, "a seal stands where it should be")
        if found.public_hex != self._public_hex:
            raise LedgerTamperedError(index, "sealed by another key than the pinned one")
        if (found.sequence, found.head) != (index, self.head):
            raise LedgerTamperedError(index, "its seal is that of another entry")
        if self._strict:
            self._verify(found)

    def _verify(self, seal: SealLine) -> None:
        try:
            verify_canonical(
                seal.body,
                purpose=Purpose.LEDGER_SEAL,
                public_hex=self._public_hex,
                signature_hex=seal.signature_hex,
            )
        except SignatureError as error:
            raise LedgerTamperedError(seal.sequence, "its seal's signature is wrong") from error


def verify_chain(
    lines: Iterable[bytes], *, public_hex: str, checkpoints: Iterable[Checkpoint] = ()
) -> ChainSummary:
    """Verify a whole ledger, streaming.

    Args:
        lines: its lines in order, newlines included.
        public_hex: the key the ledger must be sealed by, known from elsewhere (pairing).
        checkpoints: states that somebody saw.

    Returns:
        A summary of the intact ledger.

    Raises:
        LedgerTamperedError: names the first entry that is wrong, and why.
    """
    wanted = _seen_hashes(checkpoints)
    reader = ChainReader(public_hex=public_hex)
    first_time = last_time = ""
    for line in lines:
        found = reader.accept(line)
        if isinstance(found, SealLine):
            continue
        last_time = found.entry.time
        first_time = first_time or last_time
        _check_against(wanted, found)
    reader.finish()
    furthest = max(wanted, default=-1)
    if furthest >= reader.next_sequence:
        raise LedgerTamperedError(
            reader.next_sequence,
            f"missing; entry {furthest} was seen earlier, so the ledger was truncated",
        )
    return ChainSummary(
        entries=reader.next_sequence,
        seals=reader.seals,
        head=Checkpoint(sequence=reader.next_sequence - 1, entry_hash=reader.head),
        public_hex=public_hex,
        first_time=first_time,
        last_time=last_time,
    )


def _seen_hashes(checkpoints: Iterable[Checkpoint]) -> dict[int, str]:
    """Number to hash of every entry that somebody saw.

    Raises:
        LedgerTamperedError: two of them say different things of one entry.
    """
    wanted: dict[int, str] = {}
    for point in checkpoints:
        if wanted.setdefault(point.sequence, point.entry_hash) != point.entry_hash:
            raise LedgerTamperedError(
                point.sequence, "was shown to people with different contents; the ledger was forked"
            )
    return wanted


def _check_against(wanted: Mapping[int, str], found: EntryLine) -> None:
    """Hold an entry against what somebody saw of it.

    Raises:
        LedgerTamperedError: it was seen, and is another one now.
    """
    seen = wanted.get(found.sequence)
    if seen is not None and seen != found.entry_hash:
        raise LedgerTamperedError(
            found.sequence, "differs from what was seen earlier; the ledger was rewritten"
        )


def sealed_entries(lines: Iterable[bytes], *, public_hex: str) -> Iterator[SealedEntry]:
    """Entries of a ledger, each given out only once its seal was checked.

    Args:
        lines: its lines in order, newlines included.
        public_hex: the key the ledger must be sealed by.

    Yields:
        Sealed entries, oldest first.

    Raises:
        LedgerTamperedError: a line is not what this key sealed, in this order.
    """
    reader = ChainReader(public_hex=public_hex, strict=True)
    waiting: list[SealedEntry] = []
    for line in lines:
        found = reader.accept(line)
        if isinstance(found, SealLine):
            yield from waiting
            waiting = []
        else:
            waiting.append(entry_of(found))
    reader.finish()

"""The hash chain: each line signs its entry, its number, and the hash of the line before.

A line is canonical JSON and a newline::

    {"body":{"entry":{...},"format":"dura.ledger/1","key":K,"previous":H,"sequence":N},"signature":S}

S signs exactly the bytes of ``body``. H is the SHA-256 of the whole previous line without its
newline, signature included, and 64 zeros for line 0; so the hash of the last line vouches for every
byte before it. A researcher who keeps one (sequence, hash) pair, a `Checkpoint`, can later tell a
ledger that was truncated or rewritten, even by the hospital that holds the key.

`verify_chain` finds, and names by index: any flipped, added or missing byte (whitespace, key order
and number format included), a dropped, doubled or reordered line, a line signed by another key, a
last line without its newline, and against a checkpoint a truncated or forked ledger. Memory stays
flat. Pure: lines come in, nothing goes out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from privacy.canonical import canonical_bytes, parse_json, sha256_hex
from privacy.entries import Entry, entry_from_json, entry_to_json
from privacy.errors import CanonicalError, LedgerError, LedgerTamperedError, SignatureError
from privacy.signing import (
    PUBLIC_HEX_DIGITS,
    SIGNATURE_HEX_DIGITS,
    SigningKey,
    is_lower_hex,
    verify,
)

FORMAT = "dura.ledger/1"
GENESIS_HASH = "0" * 64
MAX_LINE_BYTES = 4 * 1024 * 1024
LINE_START = b'{"body":'
"""How every line begins."""
_MIDDLE = b',"signature":"'
_TAIL = b'"}'
_TRAILER = len(_MIDDLE) + SIGNATURE_HEX_DIGITS + len(_TAIL)
_BODY_FIELDS = {"entry", "format", "key", "previous", "sequence"}


@dataclass(frozen=True)
class Checkpoint:
    """The last state of a ledger that somebody saw.

    Attributes:
        sequence: zero-based index of the last entry.
        entry_hash: hash of that entry's line, 64 hex digits.
    """

    sequence: int
    entry_hash: str

    def __post_init__(self) -> None:
        if isinstance(self.sequence, bool) or not isinstance(self.sequence, int):
            raise LedgerError(f"a checkpoint's sequence is an integer, got {self.sequence!r}"[:200])
        if self.sequence < 0 or not is_lower_hex(self.entry_hash, 64):
            raise LedgerError("a checkpoint is a sequence >= 0 and 64 lower-case hex digits")


@dataclass(frozen=True, kw_only=True)
class SealedEntry:
    """An entry in its place in the chain.

    Attributes:
        entry: what happened.
        sequence: zero-based index.
        previous_hash: hash of the line before, or 64 zeros.
        public_hex: the key that signed it.
        signature_hex: the signature over the body.
        entry_hash: hash of this line, what the next one will name.
    """

    entry: Entry
    sequence: int
    previous_hash: str
    public_hex: str
    signature_hex: str
    entry_hash: str

    @property
    def checkpoint(self) -> Checkpoint:
        """This entry as the last state seen."""
        return Checkpoint(sequence=self.sequence, entry_hash=self.entry_hash)


@dataclass(frozen=True, kw_only=True)
class ChainSummary:
    """What verification found out about a ledger that is intact.

    Attributes:
        entries: number of entries, >= 1.
        head: the last one, to be kept as a checkpoint.
        public_hex: the key that signed all of them.
        first_time: time of the first entry.
        last_time: time of the last entry.
    """

    entries: int
    head: Checkpoint
    public_hex: str
    first_time: str
    last_time: str


def seal(entry: Entry, *, sequence: int, previous_hash: str, key: SigningKey) -> SealedEntry:
    """Sign an entry into its place.

    Args:
        entry: what happened.
        sequence: zero-based index it will have.
        previous_hash: hash of the line before, `GENESIS_HASH` for index 0.
        key: the hospital's key.

    Returns:
        The sealed entry; `encode_line` renders it.

    Raises:
        LedgerError: the entry is larger than a line may be.
    """
    body = _body(entry, sequence=sequence, previous=previous_hash, public_hex=key.public_hex)
    signature = key.sign(body)
    line = _join(body, signature)
    if len(line) >= MAX_LINE_BYTES:
        raise LedgerError(f"an entry of {len(line)} bytes is too large; store a hash of it instead")
    return SealedEntry(
        entry=entry,
        sequence=sequence,
        previous_hash=previous_hash,
        public_hex=key.public_hex,
        signature_hex=signature,
        entry_hash=sha256_hex(line),
    )


def encode_line(sealed: SealedEntry) -> bytes:
    """Render a sealed entry as its line, newline included."""
    body = _body(
        sealed.entry,
        sequence=sealed.sequence,
        previous=sealed.previous_hash,
        public_hex=sealed.public_hex,
    )
    return _join(body, sealed.signature_hex) + b"\n"


def decode_line(line: bytes, *, index: int) -> SealedEntry:
    """Read one line; checks its form, not its signature nor its place.

    Args:
        line: bytes of one line, newline included.
        index: zero-based index, for the error.

    Returns:
        The sealed entry.

    Raises:
        LedgerTamperedError: the bytes are not exactly what `encode_line` would write.
    """
    return _decode(line, index)[0]


class ChainReader:
    """Accepts lines one after the other and refuses the first that cannot be right.

    Holds only the number and hash of the last line, so memory is flat.
    """

    def __init__(self, *, public_hex: str) -> None:
        self._public_hex = public_hex
        self.next_sequence = 0
        self.last_hash = GENESIS_HASH

    def accept(self, line: bytes) -> SealedEntry:
        """Check the next line and move past it.

        Args:
            line: bytes of one line, newline included.

        Returns:
            The sealed entry.

        Raises:
            LedgerTamperedError: the line is not the one that was signed for this place.
        """
        sealed = self.check(line)
        self.follow(sealed)
        return sealed

    def check(self, line: bytes) -> SealedEntry:
        """Check the next line without moving past it.

        Raises:
            LedgerTamperedError: the line is not the one that was signed for this place.
        """
        index = self.next_sequence
        sealed, body = _decode(line, index)
        if sealed.public_hex != self._public_hex:
            raise LedgerTamperedError(index, "signed by another key than the pinned one")
        if sealed.sequence != index:
            raise LedgerTamperedError(
                index,
                f"carries number {sealed.sequence}; entries are missing, doubled or reordered",
            )
        if sealed.previous_hash != self.last_hash:
            raise LedgerTamperedError(index, "does not continue the entry before it")
        try:
            verify(public_hex=sealed.public_hex, signature_hex=sealed.signature_hex, payload=body)
        except SignatureError as error:
            raise LedgerTamperedError(index, "its signature is wrong") from error
        return sealed

    def follow(self, sealed: SealedEntry) -> None:
        """Move past an entry that was checked, or sealed by ourselves."""
        self.next_sequence = sealed.sequence + 1
        self.last_hash = sealed.entry_hash


def verify_chain(
    lines: Iterable[bytes], *, public_hex: str, checkpoint: Checkpoint | None = None
) -> ChainSummary:
    """Verify a whole ledger, streaming.

    Args:
        lines: its lines in order, newlines included.
        public_hex: the key the ledger must be signed by, known from elsewhere (pairing).
        checkpoint: the last state somebody saw, if any.

    Returns:
        A summary of the intact ledger.

    Raises:
        LedgerTamperedError: names the first entry that is wrong, and why.
    """
    reader = ChainReader(public_hex=public_hex)
    first_time = last_time = ""
    for sealed in _checked(lines, reader, checkpoint):
        first_time = first_time or sealed.entry.time
        last_time = sealed.entry.time
    if reader.next_sequence == 0:
        raise LedgerTamperedError(0, "the ledger is empty; even a new one holds its opening")
    return ChainSummary(
        entries=reader.next_sequence,
        head=Checkpoint(sequence=reader.next_sequence - 1, entry_hash=reader.last_hash),
        public_hex=public_hex,
        first_time=first_time,
        last_time=last_time,
    )


def _checked(
    lines: Iterable[bytes], reader: ChainReader, checkpoint: Checkpoint | None
) -> Iterator[SealedEntry]:
    for line in lines:
        sealed = reader.accept(line)
        if checkpoint and sealed.sequence == checkpoint.sequence:
            if sealed.entry_hash != checkpoint.entry_hash:
                raise LedgerTamperedError(
                    sealed.sequence, "differs from what was seen earlier; the ledger was rewritten"
                )
            checkpoint = None
        yield sealed
    if checkpoint:
        raise LedgerTamperedError(
            reader.next_sequence,
            f"missing; entry {checkpoint.sequence} was seen earlier, so the ledger was truncated",
        )


def _body(entry: Entry, *, sequence: int, previous: str, public_hex: str) -> bytes:
    return canonical_bytes(
        {
            "entry": entry_to_json(entry),
            "format": FORMAT,
            "key": public_hex,
            "previous": previous,
            "sequence": sequence,
        }
    )


def _join(body: bytes, signature: str) -> bytes:
    return LINE_START + body + _MIDDLE + signature.encode("ascii") + _TAIL


def _decode(line: bytes, index: int) -> tuple[SealedEntry, bytes]:
    if not line.endswith(b"\n"):
        raise LedgerTamperedError(index, "its line is incomplete or too long")
    text = line[:-1]
    body, trailer = text[len(LINE_START) : -_TRAILER], text[-_TRAILER:]
    signature = trailer[len(_MIDDLE) : -len(_TAIL)].decode("ascii", "replace")
    framed = text.startswith(LINE_START) and trailer.startswith(_MIDDLE) and trailer.endswith(_TAIL)
    if not framed or not is_lower_hex(signature, SIGNATURE_HEX_DIGITS):
        raise LedgerTamperedError(index, "its line does not have the form of an entry")
    try:
        value = parse_json(body)
        if canonical_bytes(value) != body:
            raise LedgerTamperedError(index, "its bytes are not in canonical form")
        if not isinstance(value, dict) or set(value) != _BODY_FIELDS:
            raise LedgerTamperedError(
                index, f"its body must have the fields {sorted(_BODY_FIELDS)}"
            )
        fields = cast("dict[str, Any]", value)
        entry = entry_from_json(value["entry"])
    except LedgerTamperedError:
        raise
    except (CanonicalError, LedgerError) as error:
        raise LedgerTamperedError(index, "its content is not a valid entry") from error
    _check_frame(fields, index)
    sealed = SealedEntry(
        entry=entry,
        sequence=fields["sequence"],
        previous_hash=fields["previous"],
        public_hex=fields["key"],
        signature_hex=signature,
        entry_hash=sha256_hex(text),
    )
    return sealed, body


def _check_frame(fields: Mapping[str, object], index: int) -> None:
    if fields["format"] != FORMAT:
        raise LedgerTamperedError(index, f"its format is not {FORMAT}")
    if not is_lower_hex(fields["previous"], 64) or not is_lower_hex(
        fields["key"], PUBLIC_HEX_DIGITS
    ):
        raise LedgerTamperedError(index, "its hash or key is malformed")
    if not isinstance(fields["sequence"], int) or isinstance(fields["sequence"], bool):
        raise LedgerTamperedError(index, "its number is not an integer")

"""The hash chain: entries that name the line before them, in batches that end with a signed seal.

A ledger is lines of canonical JSON. An entry, and after one or more entries their seal::

    {"body":{"entry":{...},"previous":P,"sequence":N},"hash":X}
    {"seal":{"format":"dura.ledger/3","head":X,"key":K,"sequence":N},"signature":S}

X is the SHA-256 of the bytes of ``body``, so every line proves itself. P is what the line before
proves: after an entry its X, after a seal the SHA-256 of the whole line without its newline, and 64
zeros at the start. S is over the bytes of ``seal`` as a ledger seal
(`privacy.signing.envelope`): its head X vouches for every byte before it. An append
writes one entry and its seal; a reader takes a seal over several. Entries without a seal were never
acknowledged to anybody.

Because each seal vouches for all before it, seals included, the last signature is the only one that
a verifier must check to know that nothing was changed by anybody but the holder of the key. Against
the holder of the key signatures prove nothing: there a researcher's `Checkpoint`, kept from a
receipt, tells a ledger that was truncated or rewritten.

Pure: this module only makes and takes apart lines; `privacy.ledger.chain_reader` judges them.
"""

from dataclasses import dataclass
from typing import Any, cast

from privacy.errors import CanonicalError, LedgerError, LedgerTamperedError
from privacy.signing import (
    MAX_INTEGER,
    PUBLIC_HEX_DIGITS,
    SIGNATURE_HEX_DIGITS,
    Purpose,
    SigningKey,
    canonical_bytes,
    is_lower_hex,
    parse_json,
    sha256_hex,
    sign_canonical,
)
from privacy.spending import Entry, entry_from_json, entry_to_json

FORMAT = "dura.ledger/3"
GENESIS_HASH = "0" * 64
MAX_LINE_BYTES = 4 * 1024 * 1024
ENTRY_START = b'{"body":{"entry":'
SEAL_START = b'{"seal":'
"""How every line begins."""
_BODY = len(b'{"body":')
_PREVIOUS = b',"previous":"'
_SEQUENCE = b'","sequence":'
_HASH = b',"hash":"'
_SIGNATURE = b',"signature":"'
_END = b'"}\n'
_ENTRY_TRAILER = len(_HASH) + 64 + len(_END)
_SEAL_TRAILER = len(_SIGNATURE) + SIGNATURE_HEX_DIGITS + len(_END)
_SEAL_FIELDS = {"format", "head", "key", "sequence"}


@dataclass(frozen=True)
class Checkpoint:
    """The last state of a ledger that somebody saw.

    Attributes:
        sequence: zero-based index of the last entry.
        entry_hash: what that entry's line calls its ``hash``, 64 hex digits.
    """

    sequence: int
    entry_hash: str

    def __post_init__(self) -> None:
        if isinstance(self.sequence, bool) or not isinstance(self.sequence, int):
            raise LedgerError(f"a checkpoint's sequence is an integer, got {self.sequence!r}"[:200])
        if not 0 <= self.sequence <= MAX_INTEGER or not is_lower_hex(self.entry_hash, 64):
            raise LedgerError(
                f"a checkpoint is a sequence from 0 to {MAX_INTEGER} and 64 lower-case hex digits"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryLine:
    """An entry's line, taken apart; its hash is right, its place and meaning are not judged.

    Attributes:
        entry: what happened.
        sequence: the index it claims.
        previous: the hash it names as that of the line before.
        entry_hash: its own.
    """

    entry: Entry
    sequence: int
    previous: str
    entry_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SealLine:
    """A seal's line, taken apart; its signature is not judged.

    Attributes:
        sequence: index of the entry before it.
        head: that entry's hash.
        public_hex: the key that claims to have signed.
        signature_hex: the signature over `body`.
        body: the bytes that the signature is over, as a ledger seal.
        line_hash: hash of this line, what the next entry names.
    """

    sequence: int
    head: str
    public_hex: str
    signature_hex: str
    body: bytes
    line_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedEntry:
    """An entry in its place in the chain.

    Attributes:
        entry: what happened.
        sequence: zero-based index.
        entry_hash: its hash, which a checkpoint names.
    """

    entry: Entry
    sequence: int
    entry_hash: str

    @property
    def checkpoint(self) -> Checkpoint:
        """This entry as the last state seen."""
        return Checkpoint(sequence=self.sequence, entry_hash=self.entry_hash)


def entry_line(entry: Entry, *, sequence: int, previous: str) -> tuple[bytes, str]:
    """Write an entry into its place.

    Args:
        entry: what happened.
        sequence: zero-based index it will have.
        previous: hash that the line before proves, `GENESIS_HASH` for index 0.

    Returns:
        The line with its newline, and the entry's hash.

    Raises:
        LedgerError: the entry is larger than a line may be.
    """
    text = canonical_bytes(entry_to_json(entry))
    body = b'{"entry":%b%b%b%b%d}' % (text, _PREVIOUS, previous.encode(), _SEQUENCE, sequence)
    entry_hash = sha256_hex(body)
    line = b'{"body":%b%b%b%b' % (body, _HASH, entry_hash.encode(), _END)
    if len(line) > MAX_LINE_BYTES:
        raise LedgerError(f"an entry of {len(line)} bytes is too large; store a hash of it instead")
    return line, entry_hash


def seal_line(*, sequence: int, head: str, key: SigningKey) -> tuple[bytes, str]:
    """Seal everything up to an entry.

    Args:
        sequence: index of the last entry.
        head: its hash.
        key: the hospital's key.

    Returns:
        The line with its newline, and its hash.
    """
    body = canonical_bytes(
        {"format": FORMAT, "head": head, "key": key.public_hex, "sequence": sequence}
    )
    line = (
        SEAL_START
        + body
        + _SIGNATURE
        + sign_canonical(body, purpose=Purpose.LEDGER_SEAL, key=key).encode()
        + _END
    )
    return line, sha256_hex(line[:-1])


def read_line(line: bytes, *, index: int) -> EntryLine | SealLine:
    """Take a line apart; checks its form and its own hash, not its place nor its signature.

    Args:
        line: bytes of one line, newline included.
        index: zero-based index of the entry that it is or should seal, for the error.

    Returns:
        What it says.

    Raises:
        LedgerTamperedError: the bytes are not exactly what we would write.
    """
    if not line.endswith(b"\n"):
        raise LedgerTamperedError(index, "its line is incomplete or too long")
    if line.startswith(SEAL_START):
        return _read_seal(line, index)
    return _read_entry(line, index)


def entry_of(line: EntryLine) -> SealedEntry:
    """The entry that a checked line holds."""
    return SealedEntry(entry=line.entry, sequence=line.sequence, entry_hash=line.entry_hash)


def first_entry(line: bytes) -> Entry:
    """The entry of a ledger's first line; its form only, for finding out whose ledger it claims.

    Raises:
        LedgerTamperedError: the line does not hold an entry.
    """
    found = read_line(line, index=0)
    if isinstance(found, SealLine):
        raise LedgerTamperedError(0, "a seal stands before any entry")
    return found.entry


def _read_entry(line: bytes, index: int) -> EntryLine:
    body, trailer = line[_BODY:-_ENTRY_TRAILER], line[-_ENTRY_TRAILER:]
    told = trailer[len(_HASH) : -len(_END)]
    cut = body.rfind(_PREVIOUS)
    numbers = body[cut + len(_PREVIOUS) :]
    previous, digits = numbers[:64], numbers[64 + len(_SEQUENCE) : -1]
    framed = (
        line.startswith(ENTRY_START)
        and trailer == b"%b%b%b" % (_HASH, told, _END)
        and cut >= 0
        and numbers == b"%b%b%b}" % (previous, _SEQUENCE, digits)
    )
    if not framed:
        raise LedgerTamperedError(index, "its line does not have the form of an entry")
    entry_hash = sha256_hex(body)
    if told != entry_hash.encode():
        raise LedgerTamperedError(index, "its content does not give the hash that it states")
    linked = previous.decode("ascii", "replace")
    number = digits.decode("ascii", "replace")
    if not is_lower_hex(linked, 64) or not _is_number(number):
        raise LedgerTamperedError(index, "its hash or number is malformed")
    entry = _entry(body[len(b'{"entry":') : cut], index)
    return EntryLine(entry=entry, sequence=int(number), previous=linked, entry_hash=entry_hash)


def _entry(text: bytes, index: int) -> Entry:
    try:
        value = parse_json(text)
        if canonical_bytes(value) != text:
            raise LedgerTamperedError(index, "its bytes are not in canonical form")
        return entry_from_json(value)
    except LedgerTamperedError:
        raise
    except (CanonicalError, LedgerError) as error:
        raise LedgerTamperedError(index, "its content is not a valid entry") from error


def _read_seal(line: bytes, index: int) -> SealLine:
    body, trailer = line[len(SEAL_START) : -_SEAL_TRAILER], line[-_SEAL_TRAILER:]
    signature = trailer[len(_SIGNATURE) : -len(_END)].decode("ascii", "replace")
    framed = trailer.startswith(_SIGNATURE) and trailer.endswith(_END)
    if not framed or not is_lower_hex(signature, SIGNATURE_HEX_DIGITS):
        raise LedgerTamperedError(index, "its seal does not have the form of a seal")
    try:
        value = parse_json(body)
        if not isinstance(value, dict) or canonical_bytes(value) != body:
            raise LedgerTamperedError(index, "its seal is not in canonical form")
    except CanonicalError as error:
        raise LedgerTamperedError(index, "its seal is not valid JSON") from error
    fields = cast("dict[str, Any]", value)
    if set(fields) != _SEAL_FIELDS or fields["format"] != FORMAT:
        raise LedgerTamperedError(
            index,
            f"its seal is not of the format {FORMAT}, but {fields.get('format')!r:.40}; a ledger "
            "of an earlier Dura is read with that one, and goes on in a new site",
        )
    hexed = is_lower_hex(fields["head"], 64) and is_lower_hex(fields["key"], PUBLIC_HEX_DIGITS)
    if not hexed or not isinstance(fields["sequence"], int) or isinstance(fields["sequence"], bool):
        raise LedgerTamperedError(index, "its seal's hash, key or number is malformed")
    return SealLine(
        sequence=fields["sequence"],
        head=fields["head"],
        public_hex=fields["key"],
        signature_hex=signature,
        body=body,
        line_hash=sha256_hex(line[:-1]),
    )


def _is_number(digits: str) -> bool:
    plain = digits.isascii() and digits.isdigit() and len(digits) <= 15
    return plain and (digits == "0" or digits[0] != "0")

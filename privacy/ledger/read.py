"""Reading a ledger file without its private key, as auditors and reports do."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from privacy.errors import LedgerError, LedgerTamperedError
from privacy.ledger.chain import Checkpoint, SealedEntry, SealLine, read_line
from privacy.ledger.chain_reader import ChainSummary, sealed_entries, verify_chain
from privacy.ledger.file import read_lines
from privacy.spending import Entry, EntryKind


def read_file(path: Path, *, public_hex: str) -> Iterator[SealedEntry]:
    """Read a ledger without its private key, each entry given out once its seal was checked.

    Args:
        path: the ledger file.
        public_hex: the key it must be sealed by.

    Yields:
        Sealed entries, oldest first.

    Raises:
        LedgerError: the file cannot be read.
        LedgerTamperedError: a line is not what this key sealed, in this order.
    """
    yield from sealed_entries(_lines(path), public_hex=public_hex)


def verify_file(
    path: Path, *, public_hex: str, checkpoints: Iterable[Checkpoint] = ()
) -> ChainSummary:
    """Verify a ledger file offline, line by line; see `privacy.ledger.chain_reader`.

    Args:
        path: the ledger file.
        public_hex: the key it must be sealed by, known from elsewhere.
        checkpoints: states that somebody saw.

    Returns:
        A summary of the intact ledger.

    Raises:
        LedgerError: the file cannot be read.
        LedgerTamperedError: names the first entry that is wrong, and why.
    """
    return verify_chain(_lines(path), public_hex=public_hex, checkpoints=checkpoints)


def entries_of_kind(path: Path, *kinds: EntryKind) -> Iterator[tuple[int, Entry]]:
    """Number and entry of some kinds, unverified: a quick look at a file that `verify_file` judges.

    Args:
        path: the ledger file.
        kinds: which.

    Yields:
        What the lines of these kinds say. Lines that say nothing are left out.

    Raises:
        LedgerError: the file cannot be read.
    """
    marks = tuple(b'"kind":"%b"' % kind.encode() for kind in kinds)
    for line in _lines(path):
        if any(mark in line for mark in marks):
            with suppress(LedgerTamperedError):
                found = read_line(line, index=0)
                if not isinstance(found, SealLine) and found.entry.kind in kinds:
                    yield found.sequence, found.entry


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from read_lines(file)
    except OSError as error:
        raise LedgerError(f"cannot read the ledger {path}: {error.strerror}") from error

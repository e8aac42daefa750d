"""Finding one entry of a large ledger by its number, without reading the rest.

Lines carry their numbers, in order, so a search by halves reads some twenty lines of a million. A
line found so proves its own hash; that it is in its place in the chain was verified before, by
whoever asks.
"""

from collections.abc import Callable

from privacy.errors import LedgerTamperedError
from privacy.ledger.chain import MAX_LINE_BYTES, EntryLine, SealLine, read_line

ReadAt = Callable[[int, int], bytes]
_STEP = 64 * 1024


def entry_at(sequence: int, *, read_at: ReadAt, size: int) -> EntryLine | None:
    """The entry with a number.

    Args:
        sequence: zero-based number of the entry.
        read_at: gives up to so many bytes (second) from an offset (first).
        size: bytes of the ledger, all of them sealed.

    Returns:
        Its line; None if there is none.

    Raises:
        LedgerTamperedError: a line on the way is none.
    """
    low, high = 0, size  # offsets of lines; the wanted one begins within [low, high)
    while low < high:
        start = _line_from((low + high) // 2, read_at, size)
        if start >= high:
            start = low  # few lines are left: go through them from the first
        line, end = _line(start, read_at, size)
        found = read_line(line, index=sequence)
        if isinstance(found, SealLine):
            here = found.sequence + 0.5  # a seal stands between its entry and the next
        elif found.sequence == sequence:
            return found
        else:
            here = float(found.sequence)
        if here < sequence:
            low = end
        elif start == low:
            return None
        else:
            high = start
    return None


def _line_from(offset: int, read_at: ReadAt, size: int) -> int:
    """Offset of the first line that begins at `offset` or later; `size` if none does."""
    if offset == 0:
        return 0
    _, end = _line(offset - 1, read_at, size)
    return end


def _line(offset: int, read_at: ReadAt, size: int) -> tuple[bytes, int]:
    """What stands from `offset` to the end of its line, and where that is."""
    data = b""
    while offset + len(data) < size and len(data) <= MAX_LINE_BYTES:
        data += read_at(offset + len(data), min(_STEP, size - offset - len(data)))
        cut = data.find(b"\n")
        if cut >= 0:
            return data[: cut + 1], offset + cut + 1
    raise LedgerTamperedError(0, "has no end within the length of a line")

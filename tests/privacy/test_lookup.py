"""One entry by its number: the same as reading all of them, in few looks."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import LedgerTamperedError
from privacy.ledger.chain import GENESIS_HASH, Checkpoint, entry_line, seal_line
from privacy.ledger.ledger import Ledger
from privacy.ledger.lookup import entry_at
from privacy.signing.keys import SigningKey
from tests.privacy.ledgerkit import Note, batch


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=4), min_size=1, max_size=8)
)
def test_every_entry_is_found_and_no_other(
    key: SigningKey, note: Note, batches: list[list[int]]
) -> None:
    """Batches of different sizes, lines of different lengths."""
    data, link, hashes = b"", GENESIS_HASH, []
    for sizes in batches:
        for size in sizes:
            line, link = entry_line(note(reason="x" * size), sequence=len(hashes), previous=link)
            data += line
            hashes.append(link)
        sealed, link = seal_line(sequence=len(hashes) - 1, head=link, key=key)
        data += sealed

    def read_at(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    found = [entry_at(number, read_at=read_at, size=len(data)) for number in range(len(hashes))]
    assert [one.entry_hash if one else None for one in found] == hashes
    for number in (len(hashes), len(hashes) + 7, 2**52):
        assert entry_at(number, read_at=read_at, size=len(data)) is None


def test_few_lines_are_read(ledger: Ledger, key: SigningKey, note: Note) -> None:
    data = ledger.path.read_bytes() + batch(ledger, key, *(note() for _ in range(2000)))
    looks: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        looks.append(offset)
        return data[offset : offset + length]

    found = entry_at(1234, read_at=read_at, size=len(data))
    assert found is not None
    assert found.sequence == 1234
    assert len(looks) <= 4 * math.log2(2000)


def test_a_ledger_says_whether_it_holds_an_entry(ledger: Ledger, note: Note) -> None:
    points = [ledger.append(note(reason=str(number))).checkpoint for number in range(5)]
    assert all(ledger.holds(point) for point in points)
    assert not ledger.holds(Checkpoint(points[2].sequence, points[3].entry_hash))
    assert not ledger.holds(Checkpoint(points[4].sequence + 1, points[4].entry_hash))


def test_what_is_no_line_is_no_entry() -> None:
    data = b"not a ledger\n" * 20
    with pytest.raises(LedgerTamperedError):
        entry_at(3, read_at=lambda offset, length: data[offset : offset + length], size=len(data))

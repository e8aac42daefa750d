import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.canonical import canonical_bytes
from privacy.chain import (
    GENESIS_HASH,
    MAX_LINE_BYTES,
    ChainReader,
    Checkpoint,
    SealedEntry,
    decode_line,
    encode_line,
    seal,
    verify_chain,
)
from privacy.entries import Entry, EntryKind, entry_to_json
from privacy.errors import LedgerError, LedgerTamperedError
from privacy.signing import SigningKey

Note = Callable[..., Entry]
LENGTH = 5


def sealed_chain(key: SigningKey, note: Note, *, length: int = LENGTH) -> list[SealedEntry]:
    chain: list[SealedEntry] = []
    for i in range(length):
        entry = note(
            EntryKind.LEDGER_OPENED if i == 0 else EntryKind.PLAN_RECEIVED,
            resource=f"plan {i}",
            time=f"2026-11-23T12:00:0{i % 10}Z",
            detail={"number": i, "rate": 0.25, "text": "Ärztin"},
        )
        previous = chain[-1].entry_hash if chain else GENESIS_HASH
        chain.append(seal(entry, sequence=i, previous_hash=previous, key=key))
    return chain


@pytest.fixture(scope="module")
def chain(key: SigningKey) -> list[SealedEntry]:
    def make(kind: EntryKind, **changes: object) -> Entry:
        fields = {"actor": "agent", "action": "note", "reason": "a test"}
        return Entry(kind=kind, **fields, **changes)  # type: ignore[arg-type]

    return sealed_chain(key, make)


@pytest.fixture(scope="module")
def lines(chain: list[SealedEntry]) -> list[bytes]:
    return [encode_line(sealed) for sealed in chain]


def found(
    lines: list[bytes], key: SigningKey, checkpoint: Checkpoint | None = None
) -> tuple[int, str]:
    with pytest.raises(LedgerTamperedError) as caught:
        verify_chain(lines, public_hex=key.public_hex, checkpoint=checkpoint)
    assert f"ledger entry {caught.value.index}: {caught.value.reason}" in str(caught.value)
    return caught.value.index, caught.value.reason


def test_an_intact_chain(chain: list[SealedEntry], lines: list[bytes], key: SigningKey) -> None:
    summary = verify_chain(iter(lines), public_hex=key.public_hex)
    assert summary.entries == LENGTH
    assert summary.head == chain[-1].checkpoint
    assert (summary.first_time, summary.last_time) == (chain[0].entry.time, chain[-1].entry.time)
    for sealed in chain:
        verify_chain(lines, public_hex=key.public_hex, checkpoint=sealed.checkpoint)


def test_lines_round_trip(chain: list[SealedEntry], lines: list[bytes]) -> None:
    for index, (sealed, line) in enumerate(zip(chain, lines, strict=True)):
        assert decode_line(line, index=index) == sealed
        value = json.loads(line)
        assert line == canonical_bytes(value) + b"\n"  # a line is canonical JSON as a whole


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found_and_named(
    lines: list[bytes], key: SigningKey, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, LENGTH - 1))
    position = data.draw(st.integers(0, len(lines[index]) - 1))
    replacement = data.draw(st.integers(0, 255).filter(lambda b: b != lines[index][position]))
    changed = bytearray(b"".join(lines))
    changed[sum(map(len, lines[:index])) + position] = replacement
    assert found(bytes(changed).splitlines(keepends=True), key)[0] == index


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_added_or_removed_byte_is_found_and_named(
    lines: list[bytes], key: SigningKey, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, LENGTH - 1))
    position = data.draw(st.integers(0, len(lines[index]) - 1))
    line = lines[index]
    if data.draw(st.booleans()):
        line = line[:position] + line[position + 1 :]
    else:
        line = line[:position] + data.draw(st.sampled_from([b" ", b"0", b"\t"])) + line[position:]
    changed = b"".join([*lines[:index], line, *lines[index + 1 :]])
    assert found(changed.splitlines(keepends=True), key)[0] == index


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, LENGTH - 1), max_size=2 * LENGTH))
def test_any_other_sequence_of_lines_is_found(
    lines: list[bytes], key: SigningKey, chain: list[SealedEntry], order: list[int]
) -> None:
    prefix = order == list(range(len(order)))
    if prefix and len(order) == LENGTH:
        return
    index, _ = found([lines[i] for i in order], key, chain[-1].checkpoint)
    wrong = [n for n, i in enumerate(order) if n != i]
    assert index == (wrong[0] if wrong else len(order))


def test_truncation_needs_a_checkpoint(
    lines: list[bytes], key: SigningKey, chain: list[SealedEntry]
) -> None:
    verify_chain(lines[:3], public_hex=key.public_hex)  # a prefix alone looks like a ledger
    verify_chain(lines[:3], public_hex=key.public_hex, checkpoint=chain[2].checkpoint)
    index, reason = found(lines[:3], key, chain[3].checkpoint)
    assert index == 3
    assert "truncated" in reason


def test_a_fork_by_the_owner_of_the_key_is_found(
    lines: list[bytes], key: SigningKey, chain: list[SealedEntry], note: Note
) -> None:
    other = seal(note(resource="rewritten"), sequence=3, previous_hash=chain[2].entry_hash, key=key)
    after = seal(note(), sequence=4, previous_hash=other.entry_hash, key=key)
    forked = [*lines[:3], encode_line(other), encode_line(after)]
    verify_chain(forked, public_hex=key.public_hex)
    for seen in (chain[3], chain[4]):
        index, reason = found(forked, key, seen.checkpoint)
        assert index == seen.sequence
        assert "rewritten" in reason


def test_another_key_is_found(lines: list[bytes], key: SigningKey, note: Note) -> None:
    stranger = SigningKey.generate()
    assert found(lines, stranger) == (0, "signed by another key than the pinned one")
    forged = seal(
        note(EntryKind.LEDGER_OPENED), sequence=0, previous_hash=GENESIS_HASH, key=stranger
    )
    claimed = encode_line(forged).replace(stranger.public_hex.encode(), key.public_hex.encode())
    assert found([claimed], key) == (0, "its signature is wrong")


def test_a_well_signed_line_in_the_wrong_place_is_found(
    chain: list[SealedEntry], lines: list[bytes], key: SigningKey, note: Note
) -> None:
    right, wrong = chain[2].entry_hash, chain[1].entry_hash
    for sequence, previous, reason in (
        (4, right, "carries number 4"),
        (2, right, "carries number 2"),
        (3, wrong, "does not continue"),
        (3, GENESIS_HASH, "does not continue"),
    ):
        line = encode_line(seal(note(), sequence=sequence, previous_hash=previous, key=key))
        index, told = found([*lines[:3], line], key)
        assert index == 3
        assert reason in told


def test_an_empty_ledger_is_not_one(key: SigningKey) -> None:
    assert found([], key)[0] == 0


def test_a_last_line_without_newline_is_not_whole(lines: list[bytes], key: SigningKey) -> None:
    index, reason = found([*lines[:-1], lines[-1][:-1]], key)
    assert index == LENGTH - 1
    assert "incomplete" in reason


def signed_line(key: SigningKey, body: bytes) -> bytes:
    return b'{"body":' + body + b',"signature":"' + key.sign(body).encode() + b'"}\n'


def test_well_signed_nonsense_is_refused(key: SigningKey, note: Note) -> None:
    """The holder of the key cannot write what only some readers would accept."""
    good = {
        "entry": entry_to_json(note(EntryKind.LEDGER_OPENED)),
        "format": "dura.ledger/1",
        "key": key.public_hex,
        "previous": GENESIS_HASH,
        "sequence": 0,
    }
    plain = canonical_bytes(good)
    ChainReader(public_hex=key.public_hex).accept(signed_line(key, plain))
    for body in (
        json.dumps(good).encode(),
        plain.replace(b'"sequence":0', b'"sequence":0.0'),
        plain.replace(b'"sequence":0', b'"sequence":0,"sequence":0'),
        plain.replace(b'"sequence":0', b'"sequence":1e999'),
        plain.replace(b'"sequence":0', b'"sequence":NaN'),
        plain[:-1],
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        canonical_bytes({**good, "sequence": "0"}),
        canonical_bytes({**good, "sequence": True}),
        canonical_bytes({**good, "sequence": 0.5}),
        canonical_bytes({**good, "format": "dura.ledger/2"}),
        canonical_bytes({**good, "previous": "0"}),
        canonical_bytes({**good, "previous": None}),
        canonical_bytes({**good, "key": key.public_hex.upper()}),
        canonical_bytes({**good, "extra": 1}),
        canonical_bytes({**good, "entry": {}}),
        canonical_bytes({k: v for k, v in good.items() if k != "key"}),
    ):
        assert found([signed_line(key, body)], key)[0] == 0


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"body":{}}\n', b"\0" * 300 + b"\n"])
def test_lines_of_another_form(line: bytes, key: SigningKey) -> None:
    assert found([line], key) == (0, "its line does not have the form of an entry")


def test_checkpoints_are_well_formed() -> None:
    for sequence, entry_hash in ((-1, "0" * 64), (True, "0" * 64), (0, "0"), (0, "G" * 64)):
        with pytest.raises(LedgerError):
            Checkpoint(sequence=sequence, entry_hash=entry_hash)


def test_a_huge_entry_is_refused_before_it_is_signed_in(key: SigningKey, note: Note) -> None:
    with pytest.raises(LedgerError, match="too large"):
        seal(
            note(detail={"x": "y" * MAX_LINE_BYTES}),
            sequence=0,
            previous_hash=GENESIS_HASH,
            key=key,
        )

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import LedgerError, LedgerTamperedError
from privacy.ledger.chain import (
    GENESIS_HASH,
    MAX_LINE_BYTES,
    Checkpoint,
    EntryLine,
    entry_line,
    first_entry,
    read_line,
    seal_line,
)
from privacy.ledger.chain_reader import sealed_entries, verify_chain
from privacy.signing.canonical import JsonValue, canonical_bytes, sha256_hex
from privacy.signing.keys import SigningKey
from privacy.spending.entries import Entry, EntryKind, entry_to_json
from tests.privacy.ledgerkit import json_values

Note = Callable[..., Entry]
BATCHES = (1, 3, 1, 2)
"""Entries under each seal."""
LENGTH = sum(BATCHES)
SLOW = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


def numbered(i: int) -> Entry:
    return Entry(
        kind=EntryKind.LEDGER_OPENED if i == 0 else EntryKind.PLAN_RECEIVED,
        actor="agent",
        action="note",
        resource=f"plan {i}",
        reason="a test",
        time=f"2026-11-23T12:00:0{i % 10}Z",
        detail={"number": i, "rate": 0.25, "tiny": 1e-5, "text": "Ärztin"},
    )


class Chain:
    """Lines, and what each of them is."""

    def __init__(self, key: SigningKey, batches: tuple[int, ...] = BATCHES) -> None:
        self.key = key
        self.lines: list[bytes] = []
        self.owner: list[int] = []  # index of the entry that a line is, or seals
        self.hashes: list[str] = []
        self.link = GENESIS_HASH
        for count in batches:
            for _ in range(count):
                self.add(numbered(len(self.hashes)))
            self.seal()

    def add(self, entry: Entry) -> None:
        line, self.link = entry_line(entry, sequence=len(self.hashes), previous=self.link)
        self.owner.append(len(self.hashes))
        self.hashes.append(self.link)
        self.lines.append(line)

    def seal(self, key: SigningKey | None = None) -> None:
        last = len(self.hashes) - 1
        line, self.link = seal_line(sequence=last, head=self.hashes[-1], key=key or self.key)
        self.owner.append(last)
        self.lines.append(line)

    def checkpoint(self, i: int) -> Checkpoint:
        return Checkpoint(i, self.hashes[i])


@pytest.fixture(scope="module")
def chain(key: SigningKey) -> Chain:
    return Chain(key)


def found(
    lines: list[bytes], key: SigningKey, checkpoint: Checkpoint | None = None
) -> tuple[int, str]:
    with pytest.raises(LedgerTamperedError) as caught:
        verify_chain(
            lines, public_hex=key.public_hex, checkpoints=[checkpoint] if checkpoint else []
        )
    assert f"ledger entry {caught.value.index}: {caught.value.reason}" in str(caught.value)
    if checkpoint is None:
        with pytest.raises(LedgerTamperedError):
            list(sealed_entries(lines, public_hex=key.public_hex))
    return caught.value.index, caught.value.reason


def test_an_intact_chain(chain: Chain, key: SigningKey) -> None:
    summary = verify_chain(iter(chain.lines), public_hex=key.public_hex)
    assert (summary.entries, summary.seals) == (LENGTH, len(BATCHES))
    assert summary.head == chain.checkpoint(LENGTH - 1)
    assert (summary.first_time, summary.last_time) == (numbered(0).time, numbered(LENGTH - 1).time)
    for i in range(LENGTH):
        verify_chain(chain.lines, public_hex=key.public_hex, checkpoints=[chain.checkpoint(i)])
    read = list(sealed_entries(chain.lines, public_hex=key.public_hex))
    assert [one.entry for one in read] == [numbered(i) for i in range(LENGTH)]
    assert [one.checkpoint for one in read] == [chain.checkpoint(i) for i in range(LENGTH)]
    assert first_entry(chain.lines[0]) == numbered(0)


def test_lines_are_canonical_json_and_verify_without_us(chain: Chain, key: SigningKey) -> None:
    """What docs/ledger.md says: JSON, SHA-256 and one Ed25519 signature are all that is needed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    link = GENESIS_HASH
    for line in chain.lines:
        value = json.loads(line)
        assert line == canonical_bytes(value) + b"\n"
        if "body" in value:
            assert value["body"]["previous"] == link
            link = value["hash"]
            assert link == sha256_hex(canonical_bytes(value["body"]))
        else:
            assert value["seal"]["head"] == link
            link = sha256_hex(line[:-1])
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_hex))
    envelope = canonical_bytes({"body": value["seal"], "purpose": "ledger seal"})
    public.verify(bytes.fromhex(value["signature"]), b"dura signed document 1\n" + envelope)


@settings(**SLOW)
@given(detail=st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_a_line_is_what_rfc8785_writes(note: Note, detail: dict[str, JsonValue]) -> None:
    """Whatever an entry holds: the bytes that are hashed, signed and shown are those."""
    try:
        entry = note(detail=detail)
    except LedgerError:
        return  # a number that would change on the way, or broken text
    line, entry_hash = entry_line(entry, sequence=7, previous=GENESIS_HASH)
    body = {"entry": entry_to_json(entry), "previous": GENESIS_HASH, "sequence": 7}
    assert line == rfc8785.dumps({"body": body, "hash": entry_hash}) + b"\n"
    found = read_line(line, index=7)
    assert isinstance(found, EntryLine)
    assert found.entry == entry


@settings(max_examples=400, **SLOW)
@given(data=st.data())
def test_any_changed_byte_is_found_and_named(chain: Chain, data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(chain.lines) - 1))
    line = bytearray(chain.lines[which])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] = data.draw(st.integers(0, 255).filter(lambda b: b != line[position]))
    changed = b"".join([*chain.lines[:which], bytes(line), *chain.lines[which + 1 :]])
    index, _ = found(changed.splitlines(keepends=True), chain.key)
    # The first bytes of a seal say that it is one: without them it is no line of the next entry.
    late = chain.lines[which].startswith(b'{"seal') and position < 3
    assert index == chain.owner[which] + late


@settings(max_examples=100, **SLOW)
@given(data=st.data())
def test_any_added_or_removed_byte_is_found_and_named(chain: Chain, data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(chain.lines) - 1))
    line = chain.lines[which]
    position = data.draw(st.integers(3, len(line) - 1))
    if data.draw(st.booleans()):
        line = line[:position] + line[position + 1 :]
    else:
        line = line[:position] + data.draw(st.sampled_from([b" ", b"0", b"\t"])) + line[position:]
    changed = b"".join([*chain.lines[:which], line, *chain.lines[which + 1 :]])
    assert found(changed.splitlines(keepends=True), chain.key)[0] == chain.owner[which]


@settings(max_examples=150, **SLOW)
@given(order=st.lists(st.integers(0, len(BATCHES) + LENGTH - 1), max_size=2 * LENGTH))
def test_any_other_sequence_of_lines_is_found(chain: Chain, order: list[int]) -> None:
    if order == list(range(len(chain.lines))):
        return
    index, _ = found([chain.lines[i] for i in order], chain.key, chain.checkpoint(LENGTH - 1))
    wrong = next((n for n, i in enumerate(order) if n != i), len(order))
    due = chain.owner[wrong] if wrong < len(chain.lines) else LENGTH
    assert due - BATCHES[1] <= index <= due + 1


@pytest.mark.parametrize("which", range(LENGTH + len(BATCHES)))
def test_any_dropped_line_is_found_at_its_place(chain: Chain, which: int) -> None:
    rest = chain.lines[:which] + chain.lines[which + 1 :]
    index, _ = found(rest, chain.key)
    assert chain.owner[which] - BATCHES[1] < index <= chain.owner[which] + 1


def test_truncation_needs_a_checkpoint(chain: Chain, key: SigningKey) -> None:
    shorter = chain.lines[:6]  # two whole batches: alone it looks like a ledger
    summary = verify_chain(shorter, public_hex=key.public_hex)
    verify_chain(shorter, public_hex=key.public_hex, checkpoints=[chain.checkpoint(3)])
    index, reason = found(shorter, key, chain.checkpoint(4))
    assert index == summary.entries == 4
    assert "truncated" in reason


def test_a_batch_cut_short_is_not_sealed(chain: Chain, key: SigningKey) -> None:
    for cut in (3, 4, 5):
        index, reason = found(chain.lines[:cut], key)
        assert index == 1
        assert "not sealed" in reason


def test_a_fork_by_the_owner_of_the_key_is_found(key: SigningKey, chain: Chain, note: Note) -> None:
    fork = Chain(key, BATCHES[:2])
    for _ in range(3):
        fork.add(note(resource="rewritten"))
        fork.seal()
    verify_chain(fork.lines, public_hex=key.public_hex)
    for seen in range(4, LENGTH):
        index, reason = found(fork.lines, key, chain.checkpoint(seen))
        assert index == seen
        assert "rewritten" in reason


def test_another_key_is_found(chain: Chain, key: SigningKey, note: Note) -> None:
    stranger = SigningKey.generate()
    assert found(chain.lines, stranger) == (0, "sealed by another key than the pinned one")
    forged = Chain(key, (1,))
    forged.add(note())
    forged.seal(stranger)
    claimed = forged.lines[-1].replace(stranger.public_hex.encode(), key.public_hex.encode())
    assert found([*forged.lines[:-1], claimed], key) == (1, "its seal's signature is wrong")
    # In the middle as well, where the next entry vouches for another seal.
    assert found([*forged.lines[:-1], claimed, *chain.lines[2:]], key)[0] == 1


def test_a_well_written_line_in_the_wrong_place_is_found(key: SigningKey, note: Note) -> None:
    good = Chain(key, (1, 1))
    for sequence, previous, reason in (
        (3, good.link, "carries number 3"),
        (1, good.link, "carries number 1"),
        (2, good.hashes[-1], "does not continue"),
        (2, GENESIS_HASH, "does not continue"),
    ):
        line, head = entry_line(note(), sequence=sequence, previous=previous)
        closing, _ = seal_line(sequence=sequence, head=head, key=key)
        index, told = found([*good.lines, line, closing], key)
        assert index == 2
        assert reason in told


def test_seals_stand_where_they_belong(chain: Chain, key: SigningKey) -> None:
    assert found([chain.lines[1]], key)[0] == 0
    assert "seal stands where" in found([*chain.lines[:2], chain.lines[1]], key)[1]
    assert "another entry" in found([*chain.lines[:3], chain.lines[1]], key)[1]
    with pytest.raises(LedgerTamperedError, match="before any entry"):
        first_entry(chain.lines[1])


def test_an_empty_ledger_is_not_one(key: SigningKey) -> None:
    assert found([], key)[0] == 0


def test_well_sealed_nonsense_is_refused(key: SigningKey, note: Note) -> None:
    """The holder of the key cannot write what only some readers would accept."""

    def lines(body: bytes) -> list[bytes]:
        head = sha256_hex(body)
        line = b'{"body":' + body + b',"hash":"' + head.encode() + b'"}\n'
        return [line, seal_line(sequence=0, head=head, key=key)[0]]

    good = {"entry": entry_to_json(note()), "previous": GENESIS_HASH, "sequence": 0}
    plain = canonical_bytes(good)
    verify_chain(lines(plain), public_hex=key.public_hex)
    number = b'"sequence":0'
    for body in (
        json.dumps(good).encode(),
        plain.replace(number, b'"sequence":0.0'),
        plain.replace(number, b'"sequence":00'),
        plain.replace(number, b'"sequence":-0'),
        plain.replace(number, b'"sequence":0,"sequence":0'),
        plain.replace(b'"reason":', b'"reason":"other","reason":'),
        plain.replace(b'"detail":{}', b'"detail":{"n":1e999}'),
        plain.replace(b'"detail":{}', b'"detail":{"n":NaN}'),
        plain.replace(b'"detail":{}', b'"detail":{"n":9007199254740993}'),
        plain.replace(b'"detail":{}', b'"detail":{"n":1.0}'),
        plain.replace(b'"detail":{}', b'"detail":[]'),
        plain.replace(b'"plan_received"', b'"gossip"'),
        plain[:-1],
        b'{"entry":' + b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        canonical_bytes({**good, "sequence": "0"}),
        canonical_bytes({**good, "previous": "0"}),
        canonical_bytes({**good, "extra": 1}),
        canonical_bytes({**good, "entry": {}}),
    ):
        assert found(lines(body), key)[0] == 0


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"body":{}}\n', b"\0" * 300 + b"\n", b"x"])
def test_lines_of_another_form(line: bytes, key: SigningKey) -> None:
    assert found([line], key)[0] == 0


def test_checkpoints_are_well_formed() -> None:
    for sequence, entry_hash in ((-1, "0" * 64), (True, "0" * 64), (0, "0"), (0, "G" * 64)):
        with pytest.raises(LedgerError):
            Checkpoint(sequence=sequence, entry_hash=entry_hash)


def test_a_huge_entry_is_refused_before_it_is_written(note: Note) -> None:
    with pytest.raises(LedgerError, match="too large"):
        entry_line(note(detail={"x": "y" * MAX_LINE_BYTES}), sequence=0, previous=GENESIS_HASH)


def test_the_verifier_in_the_docs_finds_what_ours_finds(
    chain: Chain, key: SigningKey, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    program = (
        page.split("```python\n")[1]
        .split("```")[0]
        .replace('open(path, "rb")', "path.read_bytes().splitlines(keepends=True)")
    )
    verify = {}
    exec(program, verify)  # noqa: S102 - our own page
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(chain.lines))
    seen = {"sequence": LENGTH - 1, "entry_hash": chain.hashes[-1]}
    assert verify["verify"](path, key.public_hex, seen) == LENGTH
    for which in range(len(chain.lines)):
        rest = chain.lines[:which] + chain.lines[which + 1 :]
        path.write_bytes(b"".join(rest))
        with pytest.raises((AssertionError, KeyError)):
            verify["verify"](path, key.public_hex, seen)


def test_a_ledger_of_an_earlier_dura_is_refused_and_said_to_be_one(chain: Chain) -> None:
    line = next(line for line in chain.lines if line.startswith(b'{"seal"'))
    with pytest.raises(LedgerTamperedError, match=r"not of the format dura.ledger/3, but 'dura.le"):
        read_line(line.replace(b"dura.ledger/3", b"dura.ledger/2"), index=0)

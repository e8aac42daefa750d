"""What happens to a ledger's file: torn tails, full disks, flipped bytes, cuts, crashes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import (
    LedgerError,
    LedgerTamperedError,
    LedgerWriteError,
)
from privacy.ledger.ledger import Ledger
from privacy.ledger.read import read_file, verify_file
from privacy.signing.canonical import sha256_hex
from privacy.signing.key_file import create_key
from privacy.signing.keys import SigningKey
from privacy.spending.entries import EntryKind
from tests.privacy.ledgerkit import NOON, Note, asking, batch


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_torn_tail_is_cut_and_the_cut_recorded(
    tmp_path_factory: pytest.TempPathFactory, key: SigningKey, note: Note, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "ledger.jsonl"
    ledger = Ledger.create(path, key, time=NOON, actor="owner")
    ledger.append(note())
    whole = path.read_bytes()
    head = ledger.head()
    torn = batch(ledger, key, *[note(detail={"n": n}) for n in range(data.draw(st.integers(1, 4)))])
    tail = torn[: data.draw(st.integers(1, len(torn) - 2))]
    path.write_bytes(whole + tail)
    again = ledger if data.draw(st.booleans()) else Ledger.open(path, key)
    account = again.account()
    assert account.entries == 3
    repaired = list(again.entries())[-1].entry
    assert repaired.kind is EntryKind.LEDGER_REPAIRED
    assert repaired.detail == {"cut_bytes": len(tail), "cut_sha256": sha256_hex(tail)}
    assert path.read_bytes().startswith(whole)
    again.append(note())
    verify_file(path, public_hex=key.public_hex, checkpoints=[head])


def test_a_whole_seal_without_its_newline_is_kept(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    ledger.transact(asking("a"))
    path = ledger.path
    path.write_bytes(path.read_bytes()[:-1])
    again = Ledger.open(path, key)
    assert set(again.account().states) == {"a"}
    assert path.read_bytes().endswith(b"\n")
    again.append(note())
    verify_file(path, public_hex=key.public_hex)


def test_spent_budget_does_not_come_back_by_spoiling_the_last_newline(
    ledger: Ledger, key: SigningKey
) -> None:
    ledger.transact(asking("a"))
    whole = ledger.path.read_bytes()
    for spoilt in (whole[:-1] + b" ", whole[:-1] + b"\0", whole[:-1] + b"}", whole + b"x"):
        ledger.path.write_bytes(spoilt)
        with pytest.raises(LedgerTamperedError, match="no append writes"):
            Ledger.open(ledger.path, key)
        assert ledger.path.read_bytes() == spoilt
    ledger.path.write_bytes(whole + b"{")  # what a write that was interrupted leaves
    assert set(Ledger.open(ledger.path, key).account().states) == {"a"}


def test_a_forged_entry_without_newline_is_not_kept(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    forged = batch(ledger, key, note(), sealer=SigningKey.generate())
    spoilt = ledger.path.read_bytes() + forged[:-1]
    ledger.path.write_bytes(spoilt)
    with pytest.raises(LedgerTamperedError, match="another key"):
        ledger.account()
    assert ledger.path.read_bytes() == spoilt


def test_a_full_disk_records_nothing_and_spoils_nothing(
    ledger: Ledger, key: SigningKey, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ledger.path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(LedgerWriteError, match="No space left"):
        ledger.transact(asking("a"))
    monkeypatch.undo()
    assert ledger.path.read_bytes() == before
    assert ledger.account().states == {}
    ledger.transact(asking("a"))
    assert Ledger.open(ledger.path, key).account() == ledger.account()


def test_a_write_that_the_system_stops_half_way(ledger: Ledger, note: Note) -> None:
    """A write beyond RLIMIT_FSIZE stops within the line, as on a full disk."""
    code = """
import resource, signal, sys
from pathlib import Path
from privacy.spending import Entry, EntryKind
from privacy.errors import LedgerWriteError
from privacy.signing.key_file import load_key
from privacy.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
ledger = Ledger.open(path, load_key(Path(sys.argv[2])))
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
try:
    ledger.append(Entry(kind=EntryKind.PLAN_RECEIVED, actor="a", action="b", resource="c",
                        reason="", time="2026-11-23T12:00:00Z"))
except LedgerWriteError:
    print(path.stat().st_size == size)
"""
    folder = ledger.path.parent
    key = create_key(folder / "other.pem")
    path = folder / "other.jsonl"
    Ledger.create(path, key, time=NOON, actor="owner")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(folder / "other.pem")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "True\n"
    Ledger.open(path, key).append(note())


def test_what_happens_to_the_file_under_us_is_found(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    ledger.append(note())
    whole = ledger.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(LedgerTamperedError, match="shorter"):
        ledger.account()
    ledger.path.write_bytes(b"".join(lines[:-2]))
    rewritten = batch(ledger, key, note(reason="b test"))
    ledger.path.write_bytes(b"".join(lines[:-2]) + rewritten)
    with pytest.raises(LedgerTamperedError, match="changed since") as caught:
        ledger.account()
    assert caught.value.index == 2
    ledger.path.write_bytes(whole)
    assert ledger.account().entries == 3


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_byte_anywhere_is_found_on_opening(
    tmp_path_factory: pytest.TempPathFactory, key: SigningKey, note: Note, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "ledger.jsonl"
    ledger = Ledger.create(path, key, time=NOON, actor="owner")
    ledger.append(note())
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
    path.write_bytes(bytes(whole))
    for look in (
        lambda: Ledger.open(path, key),
        lambda: verify_file(path, public_hex=key.public_hex),
        lambda: list(read_file(path, public_hex=key.public_hex)),
    ):
        with pytest.raises(LedgerTamperedError):
            look()
    assert path.read_bytes() == bytes(whole)


def test_a_well_signed_impossible_story_is_refused(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    lie = note(EntryKind.SPEND_DESTROYED, detail={"reservation": "never"})
    ledger.path.write_bytes(ledger.path.read_bytes() + batch(ledger, key, lie))
    for _ in range(2):
        with pytest.raises(LedgerError, match="entry 2: there is no reservation never"):
            ledger.account()


def test_truncation_shows_against_a_receipt(ledger: Ledger, key: SigningKey, note: Note) -> None:
    seen = ledger.append(note()).checkpoint
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:-2]))
    Ledger.open(ledger.path, key)  # by itself it looks intact
    with pytest.raises(LedgerTamperedError, match="truncated"):
        verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[seen])


def test_not_a_ledger(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(LedgerError, match="cannot open"):
        Ledger.open(path, key)
    with pytest.raises(LedgerError, match="cannot read"):
        verify_file(path, public_hex=key.public_hex)
    for content in (b"", b"hello", b'{"body":{"entry":', json.dumps({"a": 1}).encode() + b"\n"):
        path.write_bytes(content)
        with pytest.raises(LedgerTamperedError) as caught:
            Ledger.open(path, key)
        assert caught.value.index == 0
        assert path.read_bytes() == content


def test_a_crash_after_any_byte_of_a_write_is_survived(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    """Whatever prefix of a write reached the disk: all of its spends count, or none."""
    before = ledger.path.read_bytes()
    written = batch(ledger, key, asking("a")(ledger.account()), note())
    for length in [*range(0, len(written), 97), *range(len(written) - 3, len(written) + 1)]:
        ledger.path.write_bytes(before + written[:length])
        account = Ledger.open(ledger.path, key).account()
        assert set(account.states) == ({"a"} if length >= len(written) - 1 else set())
        verify_file(ledger.path, public_hex=key.public_hex)

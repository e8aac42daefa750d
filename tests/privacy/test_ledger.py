import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.accounts import Account
from privacy.canonical import sha256_hex
from privacy.chain import Checkpoint, entry_line, seal_line
from privacy.details import Reservation
from privacy.entries import Entry, EntryKind
from privacy.errors import (
    BudgetExceededError,
    LedgerBusyError,
    LedgerError,
    LedgerTamperedError,
    LedgerWriteError,
)
from privacy.events import poisson_gaussian
from privacy.keyfile import create_key, load_key
from privacy.ledger import Ledger, read_file
from privacy.mechanisms import describe
from privacy.signing import SigningKey
from privacy.spend import commit, reserve
from privacy.verification import verify_file

Note = Callable[..., Entry]
NOON = "2026-11-23T12:00:00Z"
ROUND = poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=20)


def batch(
    ledger: Ledger, key: SigningKey, *entries: Entry, sealer: SigningKey | None = None
) -> bytes:
    """The bytes that appending these entries would write."""
    last = len(list(read_file(ledger.path, public_hex=key.public_hex)))
    link = sha256_hex(ledger.path.read_bytes().splitlines()[-1])
    lines = []
    for number, entry in enumerate(entries):
        line, link = entry_line(entry, sequence=last + number, previous=link)
        lines.append(line)
    sealed, _ = seal_line(sequence=last + len(entries) - 1, head=link, key=sealer or key)
    return b"".join([*lines, sealed])


def asking(name: str) -> Callable[[Account], Entry]:
    wanted = Reservation(
        reservation=name,
        event=ROUND,
        mechanisms=describe(ROUND, clip_norm=1.0, published_units=100.0),
        researcher="r@x.org",
        study="brain",
        dataset_version="data",
        code_sha256="code",
        request="train/1",
    )
    return lambda account: reserve(account, wanted, time=NOON, actor="agent")


def test_create_append_reopen_verify(ledger: Ledger, key: SigningKey, note: Note) -> None:
    sealed = ledger.append(note(detail={"n": 1}))
    assert sealed.sequence == 2
    again = Ledger.open(ledger.path, key)
    assert again.head() == ledger.head() == sealed.checkpoint
    assert again.account() == ledger.account()
    assert [s.entry.kind for s in again.entries()] == [
        EntryKind.LEDGER_OPENED,
        EntryKind.BUDGET_SET,
        EntryKind.PLAN_RECEIVED,
    ]
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoint=sealed.checkpoint)
    assert summary.head == sealed.checkpoint
    assert ledger.public_hex == key.public_hex
    assert list(read_file(ledger.path, public_hex=key.public_hex))[-1] == sealed


def test_creating_twice_is_refused(ledger: Ledger, key: SigningKey) -> None:
    with pytest.raises(LedgerError, match="exists already"):
        Ledger.create(ledger.path, key, time=NOON, actor="owner")


def test_reserve_commit_and_refuse(ledger: Ledger) -> None:
    ledger.transact(asking("a"))
    ledger.transact(
        lambda account: commit(account, reservation="a", event=ROUND, time=NOON, actor="agent")
    )
    for number in range(5):
        ledger.transact(asking(f"b{number}"))
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetExceededError):
        ledger.transact(asking("too-much"))
    assert ledger.path.read_bytes() == before
    assert ledger.account().epsilon() <= 8.0
    assert len(ledger.account().states) == 6


def test_an_impossible_entry_is_never_written(ledger: Ledger, note: Note) -> None:
    before = ledger.path.read_bytes()
    for bad in (
        note(EntryKind.SPEND_COMMITTED, detail={"reservation": "x"}),
        note(EntryKind.LEDGER_OPENED),
    ):
        with pytest.raises(LedgerError):
            ledger.append(bad)
    assert ledger.path.read_bytes() == before
    ledger.append(note())


def test_two_openers_see_each_other(ledger: Ledger, key: SigningKey, note: Note) -> None:
    other = Ledger.open(ledger.path, key)
    for turn in range(6):
        (ledger if turn % 2 else other).append(note(resource=f"plan {turn}"))
    assert ledger.head() == other.head()
    assert ledger.account().entries == 8
    assert [s.sequence for s in other.entries()] == list(range(8))


def test_threads_share_one_ledger(ledger: Ledger, note: Note) -> None:
    workers = [
        threading.Thread(target=lambda: [ledger.append(note()) for _ in range(10)])
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert ledger.account().entries == 42


def _compete(path: str, key_path: str, name: str, go: str) -> None:
    ledger = Ledger.open(Path(path), load_key(Path(key_path)))
    while not Path(go).exists():
        pass
    for number in range(12):
        try:
            ledger.transact(asking(f"{name}-{number}"))
        except BudgetExceededError:
            ledger.append(
                Entry(
                    kind=EntryKind.RUN_REFUSED,
                    actor=name,
                    action="refuse",
                    resource="run",
                    reason="budget",
                    time=NOON,
                )
            )


def test_processes_never_spend_the_last_of_a_budget_twice(tmp_path: Path) -> None:
    from privacy.budget import Budget
    from privacy.spend import set_budget

    key = create_key(tmp_path / "key.pem")
    ledger = Ledger.create(tmp_path / "ledger.jsonl", key, time=NOON, actor="owner")
    budget = Budget(epsilon=6.0, delta=1e-5)
    ledger.append(set_budget(budget, reason="board", time=NOON, actor="owner"))
    context = multiprocessing.get_context("spawn")
    go = tmp_path / "go"
    arguments = (str(ledger.path), str(tmp_path / "key.pem"))
    racers = [context.Process(target=_compete, args=(*arguments, name, str(go))) for name in "ab"]
    for racer in racers:
        racer.start()
    go.touch()
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0
    account = ledger.account()
    assert account.entries == 2 + 2 * 12
    assert account.epsilon() <= 6.0
    assert len(account.states) == 3
    verify_file(ledger.path, public_hex=key.public_hex, checkpoint=ledger.head())


APPENDER = """
import sys
from pathlib import Path
from privacy.entries import Entry, EntryKind
from privacy.keyfile import load_key
from privacy.ledger import Ledger

ledger = Ledger.open(Path(sys.argv[1]), load_key(Path(sys.argv[2])))
entry = Entry(kind=EntryKind.PLAN_RECEIVED, actor="a", action="b", resource="c", reason="",
              time="2026-11-23T12:00:00Z")
while True:
    print(ledger.append(entry).sequence, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    key = create_key(tmp_path / "key.pem")
    path = tmp_path / "ledger.jsonl"
    Ledger.create(path, key, time=NOON, actor="owner")
    last = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(path), str(tmp_path / "key.pem")],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            seen = [int(process.stdout.readline()) for _ in range(25)]
            process.send_signal(signal.SIGKILL)
            seen += [int(line) for line in process.stdout.read().split()]
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert seen[0] > last
        last = seen[-1]
        assert Ledger.open(path, key).head().sequence >= last
    verify_file(path, public_hex=key.public_hex)


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
    verify_file(path, public_hex=key.public_hex, checkpoint=head)


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
from privacy.entries import Entry, EntryKind
from privacy.errors import LedgerWriteError
from privacy.keyfile import load_key
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
        verify_file(ledger.path, public_hex=key.public_hex, checkpoint=seen)


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


def test_using_the_ledger_inside_a_decision_does_not_hang(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    def decide(_: Account) -> Entry:
        Ledger.open(ledger.path, key, lock_timeout_s=0.05).account()
        return note()

    with pytest.raises(LedgerBusyError):
        ledger.transact(decide)


def test_head_of_a_new_ledger(tmp_path: Path, key: SigningKey) -> None:
    ledger = Ledger.create(tmp_path / "new", key, time=NOON, actor="owner")
    head = ledger.head()
    opening = json.loads(ledger.path.read_bytes().splitlines()[0])
    assert head == Checkpoint(sequence=0, entry_hash=opening["hash"])


def test_many_entries_are_sealed_in_batches(ledger: Ledger, key: SigningKey, note: Note) -> None:
    head = ledger.append_many((note(detail={"n": n}) for n in range(25)), batch_entries=10)
    assert head == ledger.head()
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoint=head)
    assert (summary.entries, summary.seals) == (27, 2 + 3)
    assert Ledger.open(ledger.path, key).account() == ledger.account()
    assert ledger.append_many([]) == head
    for size in (0, 10_001):
        with pytest.raises(LedgerError, match="a batch is"):
            ledger.append_many([note()], batch_entries=size)


def test_a_batch_is_appended_whole_or_not_at_all(
    ledger: Ledger, key: SigningKey, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ledger.path.read_bytes()
    ask = asking("a")(ledger.account())
    with pytest.raises(LedgerError, match="exists already"):
        ledger.append_many([ask, note(), ask])
    assert ledger.path.read_bytes() == before
    assert ledger.account().states == {}

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(LedgerWriteError):
        ledger.append_many([ask, note()])
    monkeypatch.undo()
    assert ledger.account().states == {}
    ledger.append_many([ask, note()])
    assert set(Ledger.open(ledger.path, key).account().states) == {"a"}


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


@pytest.mark.parametrize("part_bytes", [700, 3000, 10**9])
def test_parts_verified_side_by_side_say_the_same(
    ledger: Ledger, key: SigningKey, note: Note, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    for _ in range(6):
        ledger.append_many([note() for _ in range(3)])
    whole, head = ledger.path.read_bytes(), ledger.head()
    known = {"public_hex": key.public_hex, "part_bytes": part_bytes}
    summary = verify_file(ledger.path, checkpoint=head, **known)  # type: ignore[arg-type]
    assert summary == verify_file(ledger.path, public_hex=key.public_hex)
    for place in (0.1, 0.5, 0.9, 0.999):
        spoilt = bytearray(whole)
        spoilt[int(len(whole) * place)] ^= 1
        ledger.path.write_bytes(bytes(spoilt))
        told = []
        for options in (known, {"public_hex": key.public_hex}):
            with pytest.raises(LedgerTamperedError) as caught:
                verify_file(ledger.path, **options)  # type: ignore[arg-type]
            told.append(str(caught.value))
        assert told[0] == told[1]
    ledger.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-4]))
    with pytest.raises(LedgerTamperedError, match="truncated"):
        verify_file(ledger.path, checkpoint=head, **known)  # type: ignore[arg-type]


def test_the_bench_measures_what_it_says(tmp_path: Path) -> None:
    from privacy.scripts.bench_ledger import measure

    figures = measure(tmp_path, 400)
    assert figures["entries"] == 402
    assert figures["seals"] == 3
    assert figures["lines_in_account"] == 1

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from privacy.errors import (
    BudgetExceededError,
    LedgerBusyError,
    LedgerError,
    LedgerTamperedError,
    LedgerWriteError,
)
from privacy.ledger.chain import Checkpoint
from privacy.ledger.ledger import Ledger
from privacy.ledger.read import read_file
from privacy.ledger.verify import verify_file
from privacy.signing.key_file import create_key, load_key
from privacy.signing.keys import SigningKey
from privacy.spending.account import Account
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.spend import commit
from tests.privacy.ledgerkit import NOON, ROUND, Note, asking


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
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[sealed.checkpoint])
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
    from privacy.spending.budget import Budget
    from privacy.spending.spend import set_budget

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
    verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[ledger.head()])


APPENDER = """
import sys
from pathlib import Path
from privacy.spending import Entry, EntryKind
from privacy.signing.key_file import load_key
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
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[head])
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


@pytest.mark.parametrize("part_bytes", [700, 3000, 10**9])
def test_parts_verified_side_by_side_say_the_same(
    ledger: Ledger, key: SigningKey, note: Note, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    for _ in range(6):
        ledger.append_many([note() for _ in range(3)])
    whole, head = ledger.path.read_bytes(), ledger.head()
    known = {"public_hex": key.public_hex, "part_bytes": part_bytes}
    summary = verify_file(ledger.path, checkpoints=[head], **known)  # type: ignore[arg-type]
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
        verify_file(ledger.path, checkpoints=[head], **known)  # type: ignore[arg-type]


def test_the_bench_measures_what_it_says(tmp_path: Path) -> None:
    from privacy.scripts.bench_ledger import measure

    figures = measure(tmp_path, 400)
    assert figures["entries"] == 402
    assert figures["seals"] == 3
    assert figures["lines_in_account"] == 1


def test_head_and_account_are_of_one_moment(ledger: Ledger, key: SigningKey, note: Note) -> None:
    """A receipt's total is that of the ledger up to exactly the entry that it names."""
    other = Ledger.open(ledger.path, key)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            other.append(note())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(60):
            head, account = ledger.standing()
            assert account.entries == head.sequence + 1
    finally:
        stop.set()
        writer.join()

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from privacy.errors import (
    BudgetExceededError,
    LedgerBusyError,
    LedgerError,
)
from privacy.ledger.chain import Checkpoint
from privacy.ledger.ledger import Ledger
from privacy.ledger.read import read_file, verify_file
from privacy.signing.key_file import create_key, load_key
from privacy.signing.keys import SigningKey
from privacy.spending.account import Account
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.spend import commit
from tests.privacy.ledgerkit import NOON, ROUND, Note, asking, batch


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


def test_several_entries_under_one_seal_are_read(
    ledger: Ledger, key: SigningKey, note: Note
) -> None:
    """No append writes such, but the format has them."""
    for size in (10, 1, 14):
        notes = [note(detail={"n": n}) for n in range(size)]
        ledger.path.write_bytes(ledger.path.read_bytes() + batch(ledger, key, *notes))
    head = ledger.head()
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[head])
    assert (summary.entries, summary.seals, summary.head) == (27, 2 + 3, head)
    assert Ledger.open(ledger.path, key).account() == ledger.account()


def test_verifying_holds_one_line_at_a_time(ledger: Ledger, key: SigningKey, note: Note) -> None:
    notes = [note(reason="x" * 4000) for _ in range(1000)]
    ledger.path.write_bytes(ledger.path.read_bytes() + batch(ledger, key, *notes))
    assert ledger.path.stat().st_size > 4_000_000
    tracemalloc.start()
    try:
        assert verify_file(ledger.path, public_hex=key.public_hex).entries == 1002
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_the_bench_measures_what_it_says(tmp_path: Path) -> None:
    from privacy.scripts.bench_ledger import measure, missed

    figures = measure(tmp_path, 400)
    assert figures["entries"] == 402
    assert figures["seals"] == 3
    good = figures | {"verify_s": 1.0, "rss_peak_mib": figures["rss_start_mib"]}
    assert missed(good) == []
    assert len(missed(good | {"verify_s": 6.1})) == 1
    assert len(missed(good | {"rss_peak_mib": figures["rss_start_mib"] + 65})) == 1
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

"""`make bench-ledger`: how long ten thousand ledger entries take to verify and to open.

The entries are what a hospital's ledger holds: runs of a reservation, a commit, an output held and
an output released, each with its event and mechanisms. Their lines are written here, 1,000 under a
seal, so that no disk is waited for; then the file is verified offline as `dura audit verify` does,
and opened as an agent does. What the agent's own appends cost, each with a seal and an fsync, is
timed on the last 200.

Exit code 1 when verifying took longer than `MAX_VERIFY_S` a million, or memory grew by more than
`MAX_GROWTH_MIB`. A busy machine misses the time honestly: the load at both ends and the CPU seconds
stand beside the wall clock's.
"""

import argparse
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from privacy.accounting.events import gaussian
from privacy.accounting.mechanisms import describe
from privacy.ledger.chain import Checkpoint, entry_line, seal_line
from privacy.ledger.ledger import Ledger
from privacy.ledger.read import verify_file
from privacy.signing.canonical import sha256_hex
from privacy.signing.keys import SigningKey
from privacy.spending.budget import Budget
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import Commit, Reservation
from privacy.spending.spend import set_budget

_ROUNDS = 60
_EVENT = gaussian(noise_multiplier=4.0)
_BLOCK = gaussian(noise_multiplier=4.0, count=_ROUNDS)
_MECHANISMS = describe(_EVENT, clip_norm=1.0)
MAX_VERIFY_S = 60.0
MAX_GROWTH_MIB = 64.0
_SEALED = 1000
_SINGLE = 200


def runs(count: int) -> Iterator[Entry]:
    """Entries of `count` runs, four each."""
    for number in range(count):
        plan = sha256_hex(b"plan %d" % (number // _ROUNDS))
        name, when = f"run-{number}", _time(number)
        reserved = Reservation(
            reservation=name,
            event=_EVENT,
            mechanisms=_MECHANISMS,
            researcher="ann@university.example",
            study=f"study-{number // (50 * _ROUNDS)}",
            dataset_version="d" * 64,
            code_sha256=plan,
            request=f"train/{number % _ROUNDS}",
            block=_BLOCK,
        )
        done = Commit(
            reservation=name,
            event=_EVENT,
            mechanisms=_MECHANISMS,
            dataset_version="d" * 64,
            code_sha256=plan,
        )
        held = {"kind": "weights", "plan_sha256": plan, "request": name}
        yield _entry(EntryKind.SPEND_RESERVED, "reserve", plan, when, reserved.to_json())
        yield _entry(EntryKind.SPEND_COMMITTED, "commit", plan, when, done.to_json())
        yield _entry(EntryKind.OUTPUT_HELD, "hold", name, when, held)
        yield _entry(EntryKind.OUTPUT_RELEASED, "release", name, when, held)


def _entry(kind: EntryKind, action: str, resource: str, when: str, detail: object) -> Entry:
    return Entry(
        kind=kind,
        actor="agent",
        action=action,
        resource=resource,
        reason="",
        time=when,
        detail=detail,  # type: ignore[arg-type]
    )


def _time(number: int) -> str:
    day, second = divmod(number, 86_400)
    return f"2026-01-{1 + day:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"


def _rss_mib() -> float:
    """Memory of this process now."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak_mib() -> float:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu_s() -> float:
    """CPU seconds of this process."""
    return time.process_time()


def _write(path: Path, key: SigningKey, head: Checkpoint, entries: Iterator[Entry]) -> Checkpoint:
    """Write entries after a ledger's last, `_SEALED` under a seal; returns the new last one."""
    sequence, entry_hash = head.sequence, head.entry_hash
    link = sha256_hex(path.read_bytes().splitlines()[-1])
    with path.open("ab") as file:
        while some := list(itertools.islice(entries, _SEALED)):
            for entry in some:
                sequence += 1
                line, link = entry_line(entry, sequence=sequence, previous=link)
                file.write(line)
            entry_hash = link
            line, link = seal_line(sequence=sequence, head=entry_hash, key=key)
            file.write(line)
    return Checkpoint(sequence=sequence, entry_hash=entry_hash)


def measure(folder: Path, entries: int) -> dict[str, float]:
    """Write, verify, open and append; the figures by name."""
    key = SigningKey.generate()
    ledger = Ledger.create(folder / "ledger.jsonl", key, time=_time(0), actor="owner")
    budget = Budget(epsilon=1e6, delta=1e-5)
    head = ledger.append(set_budget(budget, reason="bench", time=_time(0), actor="owner"))
    last = _write(ledger.path, key, head.checkpoint, runs(entries // 4))
    memory = _rss_mib()
    start, cpu = time.perf_counter(), _cpu_s()
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[last])
    verified, verify_cpu = time.perf_counter() - start, _cpu_s() - cpu
    start, cpu = time.perf_counter(), _cpu_s()
    account = Ledger.open(ledger.path, key).account()
    opened, open_cpu = time.perf_counter() - start, _cpu_s() - cpu
    ledger.account()  # catches up, so that what follows is appending alone
    note = _entry(EntryKind.PLAN_RECEIVED, "note", "plan", _time(0), {})
    start = time.perf_counter()
    for _ in range(_SINGLE):
        ledger.append(note)
    single = time.perf_counter() - start
    return {
        "entries": summary.entries,
        "seals": summary.seals,
        "verify_s": verified,
        "verify_cpu_s": verify_cpu,
        "open_s": opened,
        "open_cpu_s": open_cpu,
        "lines_in_account": len(account.lines),
        "appends_per_s": _SINGLE / single,
        "file_mib": ledger.path.stat().st_size / 2**20,
        "rss_start_mib": memory,
        "rss_end_mib": _rss_mib(),
        "rss_peak_mib": _peak_mib(),
    }


def missed(figures: dict[str, float]) -> list[str]:
    """What was to be reached and was not, in words."""
    allowed = MAX_VERIFY_S * max(figures["entries"] / 1_000_000, 0.1)
    growth = figures["rss_peak_mib"] - figures["rss_start_mib"]
    said = []
    if figures["verify_s"] > allowed:
        said.append(f"verifying took {figures['verify_s']:.1f} s; at most {allowed:.1f} are wanted")
    if growth > MAX_GROWTH_MIB:
        said.append(f"memory grew by {growth:.1f} MiB; at most {MAX_GROWTH_MIB:g} are wanted")
    return said


def main() -> int:
    """Measure and print one JSON document; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    entries = parser.parse_args().entries
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), entries)
    figures |= {"load_before": load, "load_after": os.getloadavg()[0]}
    rounded = {name: round(value, 3) for name, value in figures.items()}
    sys.stdout.write(json.dumps(rounded, indent=1) + "\n")
    failures = missed(figures)
    for failure in failures:
        sys.stderr.write(f"missed: {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench-ledger`: how long a million entries take to append durably and to verify.

The entries are what a hospital's ledger holds: runs of a reservation, a commit, an output held and
an output released, each with its event and mechanisms. They are appended in durable batches of
1,000 (one signed seal and one fsync each), then the file is verified offline on all cores. Making
the entries counts as part of appending them. A second figure is what one interactive append costs:
one entry, one seal, one fsync.

Exit code 1 when appending and verifying took longer than `MAX_TOTAL_S` a million, or memory grew by
more than `MAX_GROWTH_MIB`. A busy machine misses the time honestly: the load at both ends and the
CPU seconds stand beside the wall clock's.
"""

import argparse
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
from privacy.ledger.ledger import Ledger
from privacy.ledger.verify import verify_file
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
MAX_TOTAL_S = 60.0
MAX_GROWTH_MIB = 64.0
_LOOKS = 10


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
    """The most that this process or any of its own ever held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) / 1024


def _cpu_s() -> float:
    """CPU seconds of this process and of those it waited for."""
    return sum(os.times()[:4])


def _watched(entries: Iterator[Entry], total: int, seen: list[float]) -> Iterator[Entry]:
    """The same entries; memory is looked at and told at even distances."""
    for number, entry in enumerate(entries, start=1):
        yield entry
        if number % max(1, total // _LOOKS) == 0:
            seen.append(_rss_mib())
            sys.stderr.write(f"{number:>9,} entries appended, {seen[-1]:.1f} MiB\n")


def measure(folder: Path, entries: int) -> dict[str, float]:
    """Append and verify; the figures by name."""
    key = SigningKey.generate()
    ledger = Ledger.create(folder / "ledger.jsonl", key, time=_time(0), actor="owner")
    budget = Budget(epsilon=1e6, delta=1e-5)
    ledger.append(set_budget(budget, reason="bench", time=_time(0), actor="owner"))
    seen = [_rss_mib()]
    start, cpu = time.perf_counter(), _cpu_s()
    head = ledger.append_many(_watched(runs(entries // 4), entries, seen))
    appended, append_cpu = time.perf_counter() - start, _cpu_s() - cpu
    start, cpu = time.perf_counter(), _cpu_s()
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoints=[head])
    verified, verify_cpu = time.perf_counter() - start, _cpu_s() - cpu
    account = ledger.account()
    note = _entry(EntryKind.PLAN_RECEIVED, "note", "plan", _time(0), {})
    start = time.perf_counter()
    for _ in range(200):
        ledger.append(note)
    single = time.perf_counter() - start
    return {
        "entries": summary.entries,
        "seals": summary.seals,
        "append_s": appended,
        "append_cpu_s": append_cpu,
        "verify_s": verified,
        "verify_cpu_s": verify_cpu,
        "total_s": appended + verified,
        "total_cpu_s": append_cpu + verify_cpu,
        "lines_in_account": len(account.lines),
        "single_appends_per_s": 200 / single,
        "file_mib": ledger.path.stat().st_size / 2**20,
        "rss_start_mib": seen[0],
        "rss_end_mib": seen[-1],
        "rss_after_verify_mib": _rss_mib(),
        "rss_peak_mib": _peak_mib(),
    }


def missed(figures: dict[str, float]) -> list[str]:
    """What was to be reached and was not, in words."""
    share = figures["entries"] / 1_000_000
    growth = figures["rss_peak_mib"] - figures["rss_start_mib"]
    said = []
    if figures["total_s"] > MAX_TOTAL_S * max(share, 0.1):
        said.append(f"{figures['total_s']:.1f} s; at most {MAX_TOTAL_S:g} s a million are wanted")
    if growth > MAX_GROWTH_MIB:
        said.append(f"memory grew by {growth:.1f} MiB; at most {MAX_GROWTH_MIB:g} are wanted")
    return said


def main() -> int:
    """Measure and print one JSON document; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
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

"""`make bench-ledger`: how long a million entries take to append durably and to verify.

The entries are what a hospital's ledger holds: runs of a reservation, a commit, an output held and
an output released, each with its event and mechanisms. They are appended in durable batches of
1,000 (one signed seal and one fsync each), then the file is verified offline on all cores. A second
figure is what one interactive append costs: one entry, one seal, one fsync.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from privacy.budget import Budget
from privacy.canonical import sha256_hex
from privacy.details import Commit, Reservation
from privacy.entries import Entry, EntryKind
from privacy.events import poisson_gaussian
from privacy.ledger import Ledger
from privacy.mechanisms import describe
from privacy.signing import SigningKey
from privacy.spend import set_budget
from privacy.verification import verify_file

_EVENT = poisson_gaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=20)
_MECHANISMS = describe(_EVENT, clip_norm=1.0, published_units=500.0)
_ROUNDS = 60


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
        )
        done = Commit(
            reservation=name,
            event=_EVENT,
            mechanisms=_MECHANISMS,
            dataset_version="d" * 64,
            code_sha256=plan,
        )
        held = {"kind": "weights", "plan_sha256": plan}
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
    peak = max(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    )
    return peak / 1024


def measure(folder: Path, entries: int) -> dict[str, float]:
    """Append and verify; the figures by name."""
    key = SigningKey.generate()
    ledger = Ledger.create(folder / "ledger.jsonl", key, time=_time(0), actor="owner")
    budget = Budget(epsilon=1e6, delta=1e-5)
    ledger.append(set_budget(budget, reason="bench", time=_time(0), actor="owner"))
    before = _rss_mib()
    start = time.perf_counter()
    head = ledger.append_many(runs(entries // 4))
    appended = time.perf_counter() - start
    start = time.perf_counter()
    summary = verify_file(ledger.path, public_hex=key.public_hex, checkpoint=head)
    verified = time.perf_counter() - start
    start = time.perf_counter()
    account = ledger.account()
    looked = time.perf_counter() - start
    note = _entry(EntryKind.PLAN_RECEIVED, "note", "plan", _time(0), {})
    start = time.perf_counter()
    for _ in range(200):
        ledger.append(note)
    single = time.perf_counter() - start
    return {
        "entries": summary.entries,
        "seals": summary.seals,
        "append_s": appended,
        "append_per_s": entries / appended,
        "verify_s": verified,
        "verify_per_s": entries / verified,
        "total_s": appended + verified,
        "account_s": looked,
        "lines_in_account": len(account.lines),
        "single_appends_per_s": 200 / single,
        "file_mib": ledger.path.stat().st_size / 2**20,
        "rss_before_mib": before,
        "rss_peak_mib": _rss_mib(),
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), entries)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    sys.stdout.write(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()

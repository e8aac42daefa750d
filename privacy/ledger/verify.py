"""Verifying a ledger file offline, on as many cores as there are.

A large file is cut at entries into parts, each verified by a process of its own: within a part
every line must continue the one before it, and each part must begin where the one before it ended.
That is a fast way to say that all is well. Whatever is wrong, the file is then read once more from
its start by one reader, which names the first entry that cannot be right.

The other processes run this module (``python -m privacy.ledger.verify``): they import nothing
heavy, and take a path, two offsets and a key, and on their standard input what was seen earlier.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from privacy.errors import LedgerError, LedgerTamperedError
from privacy.ledger.chain import (
    ENTRY_START,
    GENESIS_HASH,
    Checkpoint,
    EntryLine,
    SealLine,
    read_line,
)
from privacy.ledger.chain_reader import (
    ChainReader,
    ChainSummary,
    check_against,
    seen_hashes,
    verify_chain,
)
from privacy.ledger.file import read_lines

PART_BYTES = 32 * 1024 * 1024
"""Smaller files are not worth a second process."""
MAX_PARTS = 8


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one part of a file proves about itself."""

    first_sequence: int
    first_previous: str
    next_sequence: int
    link: str
    head: str
    sealed: bool
    seals: int
    first_time: str
    last_time: str
    matched: int


def verify_file(
    path: Path,
    *,
    public_hex: str,
    checkpoints: Iterable[Checkpoint] = (),
    part_bytes: int = PART_BYTES,
) -> ChainSummary:
    """Verify a ledger file offline; see `privacy.ledger.chain_reader`.

    Args:
        path: the ledger file.
        public_hex: the key it must be sealed by, known from elsewhere.
        checkpoints: states that somebody saw.
        part_bytes: a file is cut into parts not smaller than this.

    Returns:
        A summary of the intact ledger.

    Raises:
        LedgerError: the file cannot be read.
        LedgerTamperedError: names the first entry that is wrong, and why.
    """
    seen = tuple(checkpoints)
    try:
        count = min(MAX_PARTS, os.cpu_count() or 1, path.stat().st_size // max(part_bytes, 1))
        if count > 1:
            summary = _in_parts(path, count, public_hex, seen_hashes(seen))
            if summary is not None:
                return summary
        with path.open("rb") as file:
            return verify_chain(read_lines(file), public_hex=public_hex, checkpoints=seen)
    except OSError as error:
        raise LedgerError(f"cannot read the ledger {path}: {error.strerror}") from error


def _in_parts(
    path: Path, count: int, public_hex: str, wanted: Mapping[int, str]
) -> ChainSummary | None:
    """A summary if every part holds and they fit together; None if anything is wrong."""
    cuts = _cuts(path, count)
    ranges = list(itertools.pairwise(cuts))
    with ExitStack() as stack:
        others = [
            stack.enter_context(_start(path, start, end, public_hex)) for start, end in ranges[1:]
        ]
        for process in others:
            stack.callback(process.kill)
        try:
            for process in others:
                _tell(process, wanted)
            parts = [verify_part(path, *ranges[0], public_hex=public_hex, wanted=wanted)]
            for process in others:
                output, _ = process.communicate()
                parts.append(_Part(**json.loads(output)))
        except (LedgerTamperedError, BrokenPipeError, ValueError, TypeError):
            return None  # a process that found something wrong wrote nothing
    return _joined(parts, public_hex, len(wanted))


def _joined(parts: list[_Part], public_hex: str, wanted: int) -> ChainSummary | None:
    sequence, link = 0, GENESIS_HASH
    for part in parts:
        if (part.first_sequence, part.first_previous) != (sequence, link):
            return None
        sequence, link = part.next_sequence, part.link
    last = parts[-1]
    if not last.sealed or sum(part.matched for part in parts) != wanted:
        return None
    return ChainSummary(
        entries=sequence,
        seals=sum(part.seals for part in parts),
        head=Checkpoint(sequence=sequence - 1, entry_hash=last.head),
        public_hex=public_hex,
        first_time=parts[0].first_time,
        last_time=last.last_time,
    )


def verify_part(
    path: Path, start: int, end: int, *, public_hex: str, wanted: Mapping[int, str]
) -> _Part:
    """Verify the lines from one offset to another, whatever came before.

    Args:
        path: the ledger file.
        start: offset of an entry's line.
        end: offset of a later entry's line, or the end of the file.
        public_hex: the key it must be sealed by.
        wanted: number to hash of entries that were seen earlier.

    Returns:
        Where the part begins and ends, and how many of the wanted entries are in it.

    Raises:
        LedgerTamperedError: the lines do not continue each other, or were others earlier.
    """
    reader: ChainReader | None = None
    first: EntryLine | None = None
    matched, last_time = 0, ""
    for line in _lines_between(path, start, end):
        if reader is None or first is None:
            first = _first(line)
            reader = ChainReader(
                public_hex=public_hex, sequence=first.sequence, link=first.previous
            )
        found = reader.accept(line)
        if isinstance(found, SealLine):
            continue
        last_time = found.value["time"]
        matched += check_against(wanted, found)
    if reader is None or first is None:
        raise LedgerTamperedError(0, "missing")
    sealed = not reader.unsealed
    if sealed:
        reader.finish()
    return _Part(
        first_sequence=first.sequence,
        first_previous=first.previous,
        next_sequence=reader.next_sequence,
        link=reader.link,
        head=reader.head,
        sealed=sealed,
        seals=reader.seals,
        first_time=first.value["time"],
        last_time=last_time,
        matched=matched,
    )


def _first(line: bytes) -> EntryLine:
    found = read_line(line, index=0)
    if isinstance(found, SealLine):
        raise LedgerTamperedError(0, "a part begins with a seal")
    return found


def _cuts(path: Path, count: int) -> list[int]:
    """Offsets of entries that divide the file, its start and its end."""
    size = path.stat().st_size
    cuts = [0]
    with path.open("rb") as file:
        for part in range(1, count):
            file.seek(size * part // count)
            file.readline()
            position = file.tell()
            while (line := file.readline()) and not line.startswith(ENTRY_START):
                position = file.tell()
            if line and position > cuts[-1]:
                cuts.append(position)
    return [*cuts, size]


def _lines_between(path: Path, start: int, end: int) -> Iterator[bytes]:
    position = start
    with path.open("rb") as file:
        file.seek(start)
        for line in read_lines(file):
            if position >= end:
                return
            position += len(line)
            yield line


def _start(path: Path, start: int, end: int, public_hex: str) -> "subprocess.Popen[bytes]":
    words = [str(path.absolute()), str(start), str(end), public_hex]
    return subprocess.Popen(
        [sys.executable, "-m", "privacy.ledger.verify", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _tell(process: "subprocess.Popen[bytes]", wanted: Mapping[int, str]) -> None:
    if process.stdin is not None:
        process.stdin.write(json.dumps(list(wanted.items())).encode())
        process.stdin.close()
        process.stdin = None  # or `communicate` would flush it


def _main(path: str, start: str, end: str, public_hex: str) -> int:
    wanted = dict(json.load(sys.stdin))
    try:
        part = verify_part(Path(path), int(start), int(end), public_hex=public_hex, wanted=wanted)
    except (LedgerError, OSError):
        return 1
    sys.stdout.write(json.dumps(asdict(part)))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import LedgerBusyError, LedgerError, LedgerWriteError
from privacy.ledger.chain import GENESIS_HASH, MAX_LINE_BYTES, entry_line, seal_line
from privacy.ledger.file import TailKind, classify_tail, create_file, locked_file, read_lines
from privacy.signing.keys import SigningKey
from privacy.spending.entries import Entry, EntryKind

OPENING = Entry(
    kind=EntryKind.LEDGER_OPENED,
    actor="owner",
    action="open",
    resource="key",
    reason="",
    time="2026-11-23T12:00:00Z",
    detail={"nested": {"text": "Ärztin }{"}},
)
LINE = entry_line(OPENING, sequence=0, previous=GENESIS_HASH)[0].rstrip(b"\n")
SEAL = seal_line(sequence=0, head=GENESIS_HASH, key=SigningKey.generate())[0].rstrip(b"\n")


@pytest.mark.parametrize("line", [LINE, SEAL])
@given(data=st.data(), zeros=st.integers(0, 50))
def test_every_beginning_of_a_line_is_torn(line: bytes, data: st.DataObject, zeros: int) -> None:
    length = data.draw(st.integers(1, len(line) - 1))
    assert classify_tail(line[:length] + b"\0" * zeros) is TailKind.TORN


def test_other_tails() -> None:
    assert classify_tail(LINE) is classify_tail(SEAL) is TailKind.COMPLETE
    assert classify_tail(b"\0" * 9) is TailKind.TORN
    for foreign in (
        LINE + b"X",
        LINE + b"\0",
        b"X",
        b"hello",
        b" " + LINE,
        LINE[:9] + b"x" * MAX_LINE_BYTES,
    ):
        assert classify_tail(foreign) is TailKind.FOREIGN


def test_lines_are_bounded() -> None:
    file = io.BytesIO(b"a\n" + b"b" * (2 * MAX_LINE_BYTES) + b"\nc")
    lines = list(read_lines(file))
    assert lines[0] == b"a\n"
    assert max(map(len, lines)) == MAX_LINE_BYTES + 1
    assert b"".join(lines) == file.getvalue()


def test_create_is_whole_private_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    create_file(path, b"first\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LedgerError, match="exists already"):
        create_file(path, b"second\n")
    assert path.read_bytes() == b"first\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_create_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LedgerWriteError, match="No such file"):
        create_file(tmp_path / "missing" / "ledger", b"x")
    monkeypatch.setattr(os, "fsync", _disk_full)
    with pytest.raises(LedgerWriteError, match="No space left"):
        create_file(tmp_path / "ledger", b"x")
    assert list(tmp_path.iterdir()) == []


def _disk_full(*_: object) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_failed_append_restores_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "ledger"
    create_file(path, b"first\n")
    real = getattr(os, call)
    calls = 0

    def second_half_fails(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1 and call == "pwrite":
            return real(arguments[0], arguments[1][:3], *arguments[2:])  # type: ignore[index]
        fails_now = calls == (2 if call == "pwrite" else 1)
        return _disk_full() if fails_now else real(*arguments)

    with locked_file(path, timeout_s=1) as file:
        monkeypatch.setattr(os, call, second_half_fails)
        with pytest.raises(LedgerWriteError, match="nothing was recorded"):
            file.append(b"second\n", offset=6)
        monkeypatch.undo()
        assert file.size() == 6
    assert path.read_bytes() == b"first\n"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger"
    create_file(path, b"first\n")
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:2], at))
    with locked_file(path, timeout_s=1) as file:
        file.append(b"second\n", offset=6)
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_disk_that_cannot_even_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger"
    create_file(path, b"first\n")
    monkeypatch.setattr(os, "ftruncate", _disk_full)
    with (
        locked_file(path, timeout_s=1) as file,
        pytest.raises(LedgerWriteError, match="cannot cut"),
    ):
        file.cut(0)


def test_missing_files_and_links(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with pytest.raises(LedgerError, match="cannot open"), locked_file(path, timeout_s=1):
        pass
    create_file(path, b"first\n")
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(LedgerError, match="cannot open"), locked_file(link, timeout_s=1):
        pass


@pytest.mark.parametrize("held", ["LOCK_EX", "LOCK_SH"])
def test_a_lock_held_elsewhere_is_waited_for_and_then_given_up(tmp_path: Path, held: str) -> None:
    path = tmp_path / "ledger"
    create_file(path, b"first\n")
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'rb+');"
        "fcntl.flock(f, getattr(fcntl, sys.argv[2])); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(path), held],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        busy = pytest.raises(LedgerBusyError, match=r"for 0\.05 s")
        with busy, locked_file(path, timeout_s=0.05):
            pass
        threading.Timer(0.2, process.stdin.close).start()
        with locked_file(path, timeout_s=30) as file:
            assert file.read_at(0, 5) == b"first"

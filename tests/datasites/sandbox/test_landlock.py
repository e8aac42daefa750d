"""What each version of Landlock can refuse; that it holds is in `tests/hostile/test_inside.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

from datasites.sandbox import landlock
from datasites.sandbox.landlock import confine, handled, landlock_version

MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = 1 << 12, 1 << 13, 1 << 14, 1 << 15


def test_a_version_is_asked_for_what_it_knows_and_never_for_reading():
    assert handled(1) == (0x1FF2, 0, 0)
    for version in range(1, 9):
        files, ports, scopes = handled(version)
        assert files & 0b1101 == 0  # executing, reading files and folders
        assert files & MAKE_SYM
        assert [bool(files & bit) for bit in (REFER, TRUNCATE, IOCTL_DEV)] == [
            version >= 2,
            version >= 3,
            version >= 5,
        ]
        assert (ports == 3, scopes == 3) == (version >= 4, version >= 6)


def test_a_kernel_without_it_changes_nothing(monkeypatch):
    monkeypatch.setattr(landlock, "_call", lambda *_: -1)
    assert landlock_version() == 0
    assert confine() is False


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
def test_a_process_that_confined_itself_writes_nowhere_else_for_good(tmp_path):
    code = (
        "import sys; from pathlib import Path; from datasites.sandbox import landlock;"
        f"landlock._PLACES = {{{str(tmp_path / 'out')!r}: landlock._FILES}};"
        "assert landlock.confine();"
        f"Path({str(tmp_path / 'out' / 'x')!r}).write_text('x');"
        f"Path({str(tmp_path / 'y')!r}).write_text('y')"
    )
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert "PermissionError" in done.stderr
    assert (tmp_path / "out" / "x").read_text() == "x"
    assert not (tmp_path / "y").exists()

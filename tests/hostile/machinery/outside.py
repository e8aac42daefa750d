"""What the process under test writes, and its death between two writes.

Python tells an audit hook before a file is opened for writing, renamed, removed, linked, or a
folder is made. While `Boundary.watching` each such place must lie, links resolved, in a folder that
is allowed; and at the write with a drawn number the process is killed: `Killed` passes every
handler of `Exception`, as SIGKILL does. (Unlike a kill it runs `finally`; `tests/crash` kills real
processes.)
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PLACES = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
}


class Killed(BaseException):
    """The process died here."""


class Boundary:
    """The hook of this process; there is one, because none can be taken away."""

    _installed: Boundary | None = None

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.found: list[str] = []
        self.kill_at = 0
        self.writes = 0
        self._on = False
        sys.addaudithook(self._hook)

    @classmethod
    def here(cls) -> Boundary:
        """The one of this process."""
        if cls._installed is None:
            cls._installed = cls()
        return cls._installed

    @contextlib.contextmanager
    def watching(self, *folders: Path, kill_at: int = 0) -> Iterator[None]:
        """Note what is written elsewhere; `kill_at`: die before that write, 0 for not."""
        self.allowed = tuple(os.path.realpath(folder) for folder in folders)
        self.found, self.kill_at, self.writes, self._on = [], kill_at, 0, True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, args: tuple) -> None:
        if not self._on:
            return
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & _WRITING and isinstance(path, str | bytes):
                self._write(os.fsdecode(path))
        elif event in _PLACES:
            for place in _PLACES[event]:
                if isinstance(args[place], str | bytes | os.PathLike):
                    self._write(os.fsdecode(args[place]))

    def _write(self, path: str) -> None:
        # Names below an open folder (removing a tree) come without it; it was looked at before.
        if not path.startswith("/") or path.startswith(("/dev/", "/proc/self/fd/")):
            return
        self._on = False
        try:
            folder = os.path.realpath(os.path.dirname(path))  # noqa: PTH120
            if not any(folder == one or folder.startswith(one + "/") for one in self.allowed):
                self.found.append(path)
            self.writes += 1
            if self.writes == self.kill_at:
                raise Killed(path)
        finally:
            self._on = True

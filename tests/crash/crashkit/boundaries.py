"""Step boundaries of a process, seen from outside, and death at one of them.

Python tells an audit hook before it renames, removes or creates a file, makes a folder, or starts a
program; `os.fsync`, and `os.open` below an open folder, are wrapped to be told of as well. Each
such event below the world's folder is a boundary. Its label is the event and the path without what
differs between runs; with its ordinal in the process it names a point at which a process is killed
with SIGKILL, by itself, before the event takes place. The product knows nothing of this.

With `power` the machine dies as well: what was not synced is lost. Every name that was made,
renamed or removed since its folder was last synced is undone, and every file that was written and
not synced is emptied, at the moment of death. That is the worst that a file system may do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_VARIES = re.compile(r"\d{9,}\.\d+_[0-9a-f-]{8,}|[0-9a-f]{8,}(?:-[0-9a-f]{4,})*")
_WRITING = os.O_WRONLY | os.O_RDWR
# Opened over and over: a lock, and a file that is only ever appended to under its lock.
_QUIET = (".lock", "agent.lock", "ledger.jsonl")


def label(event: str, path: str, root: str) -> str:
    """The name of a boundary: the same in every run of the same scenario."""
    inside = os.path.relpath(path, root)
    parts = [_VARIES.sub("#", part) for part in Path(inside).parts]
    return f"{event} {'/'.join(parts)}"


@dataclass
class PowerCut:
    """What would be lost if the power went now; only below `folders`."""

    folders: tuple[str, ...]
    store: Path
    kept: int = 0
    unsynced: set[str] = field(default_factory=set)
    undo: list[Step] = field(default_factory=list)

    def _keep(self, path: Path) -> str:
        """A second name for a file that is about to lose its own."""
        if not path.is_file() or path.is_symlink():
            return ""
        self.store.mkdir(parents=True, exist_ok=True)
        self.kept += 1
        kept = self.store / str(self.kept)
        kept.hardlink_to(path)
        return str(kept)

    def before(self, event: str, path: str, other: str) -> None:
        """Told what is about to happen to `path` (from `other`), or that it was synced."""
        if event != "fsync" and not path.startswith(self.folders):
            return
        place = Path(path)
        parent = str(place.parent)
        if event == "rename":
            self.undo.append(Step(parent, event, path, other, self._keep(place)))
            if other in self.unsynced:
                self.unsynced.discard(other)
                self.unsynced.add(path)
        elif event == "remove":
            self.undo.append(Step(parent, event, path, "", self._keep(place)))
            self.unsynced.discard(path)
        elif event in ("open", "mkdir"):
            if not place.exists():
                self.undo.append(Step(parent, "make", path))
            if event == "open":
                self.unsynced.add(path)
        elif event == "fsync":
            if place.is_dir():
                self.undo = [step for step in self.undo if step.folder != path]
            self.unsynced.discard(path)

    def happen(self) -> None:
        """Lose it."""
        for path in self.unsynced:
            if Path(path).is_file() and not path.endswith(_QUIET):
                os.truncate(path, 0)
        for step in reversed(self.undo):
            step.take_back()


@dataclass(frozen=True)
class Step:
    """A change of a name in `folder` that was not synced: how to take it back."""

    folder: str
    event: str
    path: str
    source: str = ""
    kept: str = ""

    def take_back(self) -> None:
        """Undo it, as far as what came before it was not undone already."""
        place = Path(self.path)
        if self.event == "rename":
            if place.exists():
                Path(self.source).parent.mkdir(parents=True, exist_ok=True)
                place.rename(self.source)
            if self.kept:
                Path(self.kept).rename(place)
        elif self.event == "remove":
            if self.kept and place.parent.is_dir():
                Path(self.kept).rename(place)
        elif place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        elif self.event == "make":
            place.unlink(missing_ok=True)


class Boundaries:
    """Watches this process; install once, in the process that is to die."""

    def __init__(
        self,
        root: Path,
        *,
        record: Path | None = None,
        kill: tuple[str, int] | None = None,
        power: PowerCut | None = None,
    ) -> None:
        self._root = str(root)
        self._record = None if record is None else record.open("a", buffering=1)
        self._kill = kill
        self._power = power
        self._seen: Counter[str] = Counter()
        self._inside = False

    def install(self) -> None:
        """From now on."""
        fsync = os.fsync

        def told_fsync(descriptor: int) -> None:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            self._tell("fsync", path)
            fsync(descriptor)
            self._after_sync(path)

        os.fsync = told_fsync
        opened = os.open

        def told_open(
            path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
        ) -> int:
            if dir_fd is not None and flags & _WRITING:  # of which the audit hook gets a bare name
                self._tell("open", self._at(path, dir_fd))
            return opened(path, flags, mode, dir_fd=dir_fd)

        os.open = told_open
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple) -> None:
        if self._inside:
            return
        if event == "open":
            path, _, flags = args
            writing = isinstance(flags, int) and flags & _WRITING and not flags & os.O_DIRECTORY
            if writing and isinstance(path, str) and not path.endswith(_QUIET):
                self._tell("open", path)
        elif event == "os.rename":
            # Names may be below open folders: the relay's are.
            self._tell("rename", self._at(args[1], args[3]), self._at(args[0], args[2]))
        elif event in ("os.remove", "os.mkdir", "os.rmdir"):
            self._tell(event[3:], self._at(args[0], args[-1]))
        elif event == "subprocess.Popen":
            self._tell("spawn", f"{self._root}/{Path(str(args[0])).name}")

    @staticmethod
    def _at(name: object, folder: object) -> str:
        """The path of a name, which may be one in an open folder."""
        path = str(name)
        if isinstance(folder, int) and folder >= 0 and not path.startswith("/"):
            return f"{Path(f'/proc/self/fd/{folder}').readlink()}/{path}"
        return path

    def _after_sync(self, path: str) -> None:
        if self._power is not None:
            self._power.before("fsync", path, "")

    def _tell(self, event: str, path: str, other: str = "") -> None:
        if self._inside or not path.startswith(self._root):
            return
        self._inside = True
        try:
            name = label(event, path, self._root)
            self._seen[name] += 1
            if self._record is not None:
                self._record.write(f"{name}\t{self._seen[name]}\n")
            if self._kill == (name, self._seen[name]):
                if self._power is not None:
                    self._power.happen()
                os.kill(os.getpid(), signal.SIGKILL)
            if self._power is not None and event != "fsync":
                self._power.before(event, path, other)
        finally:
            self._inside = False

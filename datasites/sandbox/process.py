"""One sandbox, one job: started ahead of time, given its job once, ended for good.

A sandbox is started without any job (it imports the libraries its profile needs, says that it is
ready and then waits), is handed exactly one job, and never a second. Its standard output and error
go to a file in the job's folder on local disk, which no one but the owner reads. What it leaves
lies in memory, in folders that the agent holds open (`launch`): the kernel counts files and bytes
there, and too many of either end the job. `discard` ends it, lets go of what it left, and removes
its folder on disk; what cannot be removed is a `CleanUpError`.

`UnsafeNoSandbox` in place of an installation runs the job as an ordinary process with `prlimit`'s
limits alone; then its outputs lie on disk, and must be plain files. Whoever passes it logs each
use.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from datasites.errors import SandboxError
from datasites.sandbox.cgroup import remove_group
from datasites.sandbox.cleaning import remove_tree
from datasites.sandbox.command import READY_FILE, Limits
from datasites.sandbox.gpu import Gpu
from datasites.sandbox.jobuser import lend
from datasites.sandbox.launch import Launch
from datasites.sandbox.machine import Installation
from datasites.sandbox.unsafe import UnsafeNoSandbox

WORKER = "datasites.worker"
MOST_SCRATCH_FILES: Final = 4096
"""Files and folders in a job's /tmp."""


class Ending(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OVER_LIMITS = "over_limits"


@dataclass(frozen=True)
class JobFolder:
    """A job's folder on local disk, private to the owner: `in`, `log`, and `out` if it is there.

    Attributes:
        root: the folder.
        held: the open folder in which a sandbox leaves its outputs; None for `out`.
    """

    root: Path
    held: int | None = None

    @property
    def inputs(self) -> Path:
        """What the job is given."""
        return self.root / "in"

    @property
    def outputs(self) -> Path:
        """What the job leaves."""
        return self.root / "out" if self.held is None else Path(f"/proc/self/fd/{self.held}")

    @property
    def log(self) -> Path:
        """What the job printed; stays here."""
        return self.root / "log.txt"

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.root, self.inputs, self.outputs):
            folder.mkdir(parents=True, mode=0o700)


class SandboxProcess:
    """A started sandbox that waits for its one job.

    Raises:
        SandboxError: it cannot be started.
    """

    def __init__(
        self,
        profile: str,
        *,
        folder: JobFolder,
        data: Mapping[str, Path],
        installation: Installation | UnsafeNoSandbox,
        limits: Limits,
        gpu: Gpu | None = None,
    ) -> None:
        self.profile = profile
        self.folder = folder
        self._limits = limits
        self._deadline: float | None = None
        folder.create()
        launch = Launch(
            ("-I", "-m", WORKER, profile),
            inputs=folder.inputs,
            root=folder.root,
            data=data,
            limits=limits,
            gpu=gpu,
        )
        with open(folder.log, "wb", opener=_for_the_owner) as log:
            try:
                started = launch.start(installation, log)
            except (OSError, SandboxError) as error:
                said = folder.log.read_bytes()[-500:].decode(errors="replace")
                raise SandboxError(f"the sandbox did not start: {error} {said}".strip()) from error
        self._process, self._stdin, self._group = started.process, started.stdin, started.group
        self._held = (started.outputs, started.scratch)
        self.folder = replace(folder, held=started.outputs)

    @property
    def alive(self) -> bool:
        """Whether the sandbox still runs."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has warmed up: a job that it is handed now starts at once."""
        return (self.folder.outputs / READY_FILE).exists()

    def dispatch(self, inputs: Mapping[str, bytes], *, within_s: float | None = None) -> None:
        """Hand over the job: write its inputs, then say go.

        Args:
            inputs: name to bytes.
            within_s: seconds until it is ended, where that is sooner than its limits say.

        Raises:
            SandboxError: the sandbox died before it got its job, or had one already.
        """
        if self._deadline is not None:
            raise SandboxError("this sandbox had its one job already")
        for name, data in inputs.items():
            (self.folder.inputs / name).write_bytes(data)
            if self.folder.held is not None:
                lend(self.folder.inputs / name)
        allowed_s = min(self._limits.wall_s, within_s or self._limits.wall_s)
        self._deadline = time.monotonic() + allowed_s
        try:
            self._stdin.sendall(b"go\n")
            self._stdin.close()
        except OSError as error:
            raise SandboxError(f"the sandbox ended before its job came: {error}") from error

    def poll(self) -> Ending | None:
        """How the job ended, None while it runs. A job over its time is ended."""
        code = self._process.poll()
        if not self._fits():
            self.end()
            return Ending.OVER_LIMITS
        if code is not None:
            self._leave_group()
            return Ending.DONE if code == 0 else Ending.FAILED
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.end()
            return Ending.TIMED_OUT
        return None

    def wait(self, *, every_s: float = 0.02) -> Ending:
        """Wait for the job's end."""
        while (ending := self.poll()) is None:
            time.sleep(every_s)
        return ending

    def end(self) -> None:
        """End the sandbox and everything in it."""
        if self._process.poll() is None:
            # The whole session: prlimit and the interpreter are children of bubblewrap.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)
        self._leave_group()
        self._stdin.close()

    def discard(self) -> None:
        """End it, let go of what it left, and remove its folder. Nothing of it stays.

        Raises:
            CleanUpError: something stays on disk; says what, and what to do.
        """
        self.end()
        held, self._held = self._held, (None, None)
        for descriptor in held:
            if descriptor is not None:
                os.close(descriptor)
        remove_tree(self.folder.root)

    def _fits(self) -> bool:
        outputs, scratch = self._held
        if outputs is None or scratch is None:
            return _flat(self.folder.outputs, self._limits)
        return _holds(outputs, files=self._limits.files) and _holds(
            scratch, files=MOST_SCRATCH_FILES
        )

    def _leave_group(self) -> None:
        if self._group is not None:
            remove_group(self._group)


def _holds(folder: int, *, files: int) -> bool:
    """Whether a file system in memory is not full, and holds no more than so many files."""
    state = os.fstatvfs(folder)
    # Its own root is counted too. The kernel counts what has no name, or no readable one.
    return state.f_bfree > 0 and state.f_files - state.f_ffree - 1 <= files


def _for_the_owner(path: str, flags: int) -> int:
    """Open a job's log: what it printed may hold figures of a case, for this account alone."""
    return os.open(path, flags, 0o600)


def _flat(folder: Path, limits: Limits) -> bool:
    """Whether a folder on disk holds plain files alone, of bounded number and bytes."""
    files = size_bytes = 0
    try:
        with os.scandir(folder) as entries:
            states = [entry.stat(follow_symlinks=False) for entry in entries]
    except FileNotFoundError:
        return True  # gone since: asked again
    except OSError:
        return False  # its owner may not look into it
    for state in states:
        files, size_bytes = files + 1, size_bytes + state.st_blocks * 512
        plain = stat.S_ISREG(state.st_mode) and state.st_nlink == 1
        if not plain or files > limits.files or size_bytes > limits.output_bytes:
            return False
    return True

"""One sandbox, one job: started ahead of time, given its job once, ended for good.

A sandbox is started without any job (it imports the libraries its profile needs and then waits),
is handed exactly one job, and never a second. Its standard output and error go to files in the
job's folder on local disk, which no one but the owner reads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from datasites.errors import SandboxError
from datasites.sandbox.command import Limits, Mounts, sandbox_argv
from datasites.sandbox.machine import Installation

WORKER = "datasites.worker"


class Ending(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True)
class JobFolder:
    """A job's folder on local disk: `in`, `out` and `log`, all private to the owner."""

    root: Path

    @property
    def inputs(self) -> Path:
        """What the job is given."""
        return self.root / "in"

    @property
    def outputs(self) -> Path:
        """The only place the job may write."""
        return self.root / "out"

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
        installation: Installation,
        limits: Limits,
    ) -> None:
        self.profile = profile
        self.folder = folder
        self._limits = limits
        self._deadline: float | None = None
        folder.create()
        mounts = Mounts(installation.code, data, folder.inputs, folder.outputs)
        program = [str(installation.python), "-I", "-m", WORKER, profile]
        argv = sandbox_argv(program, bwrap=installation.bwrap, mounts=mounts, limits=limits)
        with folder.log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise SandboxError(f"the sandbox did not start: {error}") from error

    @property
    def alive(self) -> bool:
        """Whether the sandbox still runs."""
        return self._process.poll() is None

    def dispatch(self, inputs: Mapping[str, bytes]) -> None:
        """Hand over the job: write its inputs, then say go.

        Raises:
            SandboxError: the sandbox died before it got its job, or had one already.
        """
        if self._deadline is not None or self._process.stdin is None:
            raise SandboxError("this sandbox had its one job already")
        for name, data in inputs.items():
            (self.folder.inputs / name).write_bytes(data)
        self._deadline = time.monotonic() + self._limits.wall_s
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
        except OSError as error:
            raise SandboxError(f"the sandbox ended before its job came: {error}") from error

    def poll(self) -> Ending | None:
        """How the job ended, None while it runs. A job over its time is ended."""
        code = self._process.poll()
        if code is not None:
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
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return

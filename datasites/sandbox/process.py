"""One sandbox, one job: started ahead of time, given its job once, ended for good.

A sandbox is started without any job (it imports the libraries its profile needs, says that it is
ready and then waits), is handed exactly one job, and never a second. Its standard output and error
go to files in the job's folder on local disk, which no one but the owner reads. While it runs its
output folder is looked at: too many files or bytes in it end the job.

`UnsafeNoSandbox` in place of an installation runs the job as an ordinary process with `prlimit`'s
limits alone. Whoever passes it logs each use.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from datasites.errors import SandboxError
from datasites.sandbox.cgroup import OWN, ROOT, entered, find_parent, make_group, remove_group
from datasites.sandbox.command import (
    READY_FILE,
    Limits,
    Mounts,
    environment,
    limited,
    sandbox_argv,
)
from datasites.sandbox.gpu import Gpu
from datasites.sandbox.machine import Installation
from datasites.sandbox.seccomp import seccomp_filter
from datasites.sandbox.unsafe import UnsafeNoSandbox, unsafe_root

WORKER = "datasites.worker"


class Ending(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OVER_LIMITS = "over_limits"


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
        installation: Installation | UnsafeNoSandbox,
        limits: Limits,
        gpu: Gpu | None = None,
    ) -> None:
        self.profile = profile
        self.folder = folder
        self._limits = limits
        self._deadline: float | None = None
        folder.create()
        launch = _Launch(profile, folder=folder, data=data, limits=limits, gpu=gpu)
        with open(folder.log, "wb", opener=_for_the_owner) as log:
            try:
                self._process, self._group = launch.start(installation, log)
            except OSError as error:
                raise SandboxError(f"the sandbox did not start: {error}") from error

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
        if self._deadline is not None or self._process.stdin is None:
            raise SandboxError("this sandbox had its one job already")
        for name, data in inputs.items():
            (self.folder.inputs / name).write_bytes(data)
        allowed_s = min(self._limits.wall_s, within_s or self._limits.wall_s)
        self._deadline = time.monotonic() + allowed_s
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
        except OSError as error:
            raise SandboxError(f"the sandbox ended before its job came: {error}") from error

    def poll(self) -> Ending | None:
        """How the job ended, None while it runs. A job over its time is ended."""
        code = self._process.poll()
        if not _fits(self.folder.outputs, self._limits):
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
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return

    def _leave_group(self) -> None:
        if self._group is not None:
            remove_group(self._group)


@dataclass(frozen=True)
class _Launch:
    """How a job's process is started."""

    profile: str
    folder: JobFolder
    data: Mapping[str, Path]
    limits: Limits
    gpu: Gpu | None

    def start(
        self, installation: Installation | UnsafeNoSandbox, log: BinaryIO
    ) -> tuple[subprocess.Popen[bytes], Path | None]:
        """Start it; returns the process and its cgroup, if the host has one for it."""
        worker = [str(installation.python), "-I", "-m", WORKER, self.profile]
        if isinstance(installation, UnsafeNoSandbox):
            outside = [*worker, str(unsafe_root(self.folder.root, self.data))]
            argv = limited(outside, self.limits, gpu=self.gpu)
            return self._open(argv, log, env=self._environment()), None
        mounts = Mounts(
            installation.code, self.data, self.folder.inputs, self.folder.outputs, self.gpu
        )
        parent = find_parent(ROOT, OWN.read_text()) if OWN.exists() else None
        group = None if parent is None else make_group(parent, self.limits)
        rules = os.memfd_create("seccomp")
        try:
            os.write(rules, seccomp_filter(platform.machine(), may_fork=self.limits.may_fork))
            os.lseek(rules, 0, os.SEEK_SET)
            argv = sandbox_argv(
                worker,
                bwrap=installation.bwrap,
                mounts=mounts,
                limits=self.limits,
                sizes_tmpfs=installation.sizes_tmpfs,
                seccomp_fd=rules,
            )
            argv = argv if group is None else entered(argv, group)
            return self._open(argv, log, pass_fds=(rules,)), group
        finally:
            os.close(rules)

    def _environment(self) -> dict[str, str]:
        """Of a job without a sandbox, which sees every GPU unless it is told of none or one."""
        seen = "" if self.gpu is None else str(self.gpu.number)
        return {**environment(self.limits), "CUDA_VISIBLE_DEVICES": seen}

    def _open(
        self,
        argv: list[str],
        log: BinaryIO,
        *,
        env: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=env,
            pass_fds=pass_fds,
            start_new_session=True,
        )


def _for_the_owner(path: str, flags: int) -> int:
    """Open a job's log: what it printed may hold figures of a case, for this account alone."""
    return os.open(path, flags, 0o600)


def _fits(folder: Path, limits: Limits) -> bool:
    """Whether an output folder keeps to its number of files and bytes; looks no further."""
    files = size_bytes = 0
    waiting = [folder]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue  # gone since, or its owner may not look into it: it is counted already
        with entries:
            for entry in entries:
                files += 1
                with suppress(OSError):
                    size_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                if files > limits.files or size_bytes > limits.output_bytes:
                    return False
    return True

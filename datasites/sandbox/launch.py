"""Starting what runs in a sandbox: the filter, the user namespace, and hold of its outputs.

The process that builds the sandbox gets an environment of its own, which is empty: bubblewrap stays
as the first process inside, and whatever its environment held could be read there.

`Launch` starts a job. Its outputs lie in a file system in memory that only the sandbox has mounted,
so the agent takes hold of it before the job begins: what starts inside first says so over its
standard input (a socket, by which the kernel tells its process number), waits until the folders
are opened from outside, and then becomes the job. The open folders stay when the job is gone, and
with the last of them so does everything in it. `run_inside` runs a program that leaves nothing.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from datasites.errors import SandboxError
from datasites.sandbox.cgroup import OWN, ROOT, entered, find_parent, make_group, remove_group
from datasites.sandbox.command import (
    JOB_OUT,
    Limits,
    Mounts,
    environment,
    limited,
    sandbox_argv,
)
from datasites.sandbox.gpu import Gpu
from datasites.sandbox.jobuser import JobUser, job_user, lend
from datasites.sandbox.machine import Installation
from datasites.sandbox.seccomp import seccomp_filter
from datasites.sandbox.unsafe import UnsafeNoSandbox, unsafe_root

SCRATCH: Final = "/tmp"  # noqa: S108  inside the sandbox
_HELLO: Final = b"set up\n"
_FIRST: Final = ("/bin/sh", "-c", 'echo set up >&0 && read -r go && exec "$@"', "sh")
_SET_UP_S: Final = 60.0
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: process, user, group


@dataclass(frozen=True)
class Started:
    """A job that was started.

    Attributes:
        process: the outermost process; its own session.
        stdin: the agent's end of the job's standard input.
        outputs: open folder of its outputs; None without a sandbox.
        scratch: open folder of its /tmp; None without a sandbox.
        group: its cgroup, if the host has one for it.
    """

    process: subprocess.Popen[bytes]
    stdin: socket.socket
    outputs: int | None = None
    scratch: int | None = None
    group: Path | None = None


@dataclass(frozen=True)
class Launch:
    """How a job's process is started.

    Attributes:
        worker: the program and its arguments, after the interpreter.
        inputs: host folder of the job's inputs.
        root: host folder of the job.
        data: name below /data to host folder.
        limits: what it may use.
        gpu: the GPU it may use, if any.
    """

    worker: tuple[str, ...]
    inputs: Path
    root: Path
    data: Mapping[str, Path]
    limits: Limits
    gpu: Gpu | None

    def start(self, installation: Installation | UnsafeNoSandbox, log: BinaryIO) -> Started:
        """Start it; what it prints goes to `log`.

        Raises:
            SandboxError: the sandbox could not be built, or a job may not have what it needs.
            OSError: the program cannot be started.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs:
            undo.callback(ours.close)
            worker = [str(installation.python), *self.worker]
            if isinstance(installation, UnsafeNoSandbox):
                outside = [*worker, str(unsafe_root(self.root, self.data))]
                argv = limited(outside, self.limits, gpu=self.gpu)
                started = Started(_open(argv, theirs, log, env=self._environment()), ours)
            else:
                started = self._confined(worker, installation, ours, theirs, log)
            undo.pop_all()
        return started

    def _confined(
        self,
        worker: list[str],
        installation: Installation,
        ours: socket.socket,
        theirs: socket.socket,
        log: BinaryIO,
    ) -> Started:
        for path in (*self.data.values(), self.inputs):
            lend(path)
        parent = find_parent(ROOT, OWN.read_text()) if OWN.exists() else None
        group = None if parent is None else make_group(parent, self.limits)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with job_user() as user, filter_file(may_fork=self.limits.may_fork) as rules:
            argv = sandbox_argv(
                worker,
                bwrap=installation.bwrap,
                mounts=Mounts(installation.code, self.data, self.inputs, self.gpu),
                limits=self.limits,
                user=user,
                seccomp_fd=rules,
                first=_FIRST,
            )
            argv = argv if group is None else entered(argv, group)
            process = _open(argv, theirs, log, env={}, pass_fds=_given(user, rules))
        theirs.close()
        try:
            outputs, scratch = _take_hold(ours)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if group is not None:
                remove_group(group)
            raise
        return Started(process, ours, outputs, scratch, group)

    def _environment(self) -> dict[str, str]:
        """Of a job without a sandbox, which sees every GPU unless it is told of none or one."""
        seen = "" if self.gpu is None else str(self.gpu.number)
        return {**environment(self.limits), "CUDA_VISIBLE_DEVICES": seen}


def run_inside(
    program: list[str],
    *,
    installation: Installation,
    limits: Limits,
    gpu: Gpu | None = None,
    data: Mapping[str, Path] | None = None,
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program in a sandbox of its own, as jobs run, and give what it printed.

    Raises:
        SandboxError: root may not have a job's user here, or a folder cannot be given to it.
        subprocess.TimeoutExpired: it took longer than `timeout_s`.
    """
    with TemporaryDirectory() as given, job_user() as user:
        inputs = Path(given)
        for path in (*(data or {}).values(), inputs):
            lend(path)
        with filter_file(may_fork=limits.may_fork) as rules:
            argv = sandbox_argv(
                program,
                bwrap=installation.bwrap,
                mounts=Mounts(installation.code, data or {}, inputs, gpu),
                limits=limits,
                user=user,
                seccomp_fd=rules,
            )
            return subprocess.run(
                argv,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
                env={},
                pass_fds=_given(user, rules),
            )


@contextmanager
def filter_file(*, may_fork: bool = False) -> Iterator[int]:
    """The system call filter as an open file."""
    rules = os.memfd_create("seccomp")
    try:
        os.write(rules, seccomp_filter(platform.machine(), may_fork=may_fork))
        os.lseek(rules, 0, os.SEEK_SET)
        yield rules
    finally:
        os.close(rules)


def _given(user: JobUser | None, rules: int) -> tuple[int, ...]:
    return (rules,) if user is None else (rules, user.namespace_fd)


def _take_hold(ours: socket.socket) -> tuple[int, int]:
    """Wait until the sandbox is built, open its two writable folders, and let the job begin."""
    ours.settimeout(_SET_UP_S)
    room = socket.CMSG_SPACE(_CREDENTIALS.size)
    try:
        said, extra, _, _ = ours.recvmsg(len(_HELLO), room)
        told = [data for _, kind, data in extra if kind == socket.SCM_CREDENTIALS]
        if said != _HELLO or not told:
            raise SandboxError("the sandbox could not be built; its log says why")
        number, _, _ = _CREDENTIALS.unpack(told[0][: _CREDENTIALS.size])
        outputs = _open_folder(number, JOB_OUT)
        try:
            scratch = _open_folder(number, SCRATCH)
        except OSError:
            os.close(outputs)
            raise
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        ours.sendall(b"\n")
        ours.shutdown(socket.SHUT_RD)
    except TimeoutError as error:
        raise SandboxError(f"the sandbox was not built in {_SET_UP_S} s") from error
    ours.settimeout(None)
    return outputs, scratch


def _open_folder(process: int, place: str) -> int:
    """A folder of the sandbox, by the eyes of a process in it."""
    return os.open(f"/proc/{process}/root{place}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _open(
    argv: list[str],
    stdin: socket.socket,
    log: BinaryIO,
    *,
    env: dict[str, str],
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=stdin.fileno(),
        stdout=log,
        stderr=log,
        env=env,
        pass_fds=pass_fds,
        start_new_session=True,
    )

"""How a sandbox is built: the command line of bubblewrap, as a pure function.

Inside there is: no network, no host process, no host environment, no capability; the system's
libraries, the interpreter and Dura's own code read-only; the data the job is for, read-only; the
job's inputs, read-only; one writable output folder and a private /tmp of bounded size. Nothing
else of the host's file system exists. A seccomp filter (`seccomp`) refuses what no job needs.
`prlimit` bounds CPU seconds, memory, file size, open files and processes; the agent bounds the
wall time and what lies in the output folder, and a cgroup (`cgroup`) memory and processes
together, where the host has it.

A job that shows a GPU (`gpu`) is the one exception to "nothing else of the host": it gets the named
device nodes and the driver's libraries. A driver reserves addresses by the hundred gigabytes, which
it never fills, so there it is the writable memory that is bounded and not the address space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasites.sandbox.gpu import Gpu

DATA = "/data"
JOB_IN = "/job/in"
JOB_OUT = "/job/out"
READY_FILE = "_ready"
"""Lies among the outputs once the program in a sandbox has warmed up and waits for its job."""


@dataclass(frozen=True)
class Limits:
    """What a job may use.

    Attributes:
        wall_s: seconds from dispatch to the end.
        cpu_s: CPU seconds.
        memory_bytes: address space; with a GPU, private writable memory.
        file_bytes: size of any one file it writes.
        threads: threads for numeric libraries.
        processes: processes and threads at once. As root, `prlimit` does not bind them.
        scratch_bytes: what may lie in its /tmp, which is memory.
        files: files and folders in its output folder.
        output_bytes: bytes in its output folder.
        may_fork: whether it may make processes; Dura's own jobs make threads only.
    """

    wall_s: float = 3600.0
    cpu_s: int = 7200
    memory_bytes: int = 16 * 1024**3
    file_bytes: int = 512 * 1024**2
    threads: int = 1
    processes: int = 512
    scratch_bytes: int = 2 * 1024**3
    files: int = 256
    output_bytes: int = 2 * 1024**3
    may_fork: bool = False


@dataclass(frozen=True)
class Mounts:
    """What a job sees of the host.

    Attributes:
        code: host folders mounted read-only at their own path (interpreter, libraries, Dura).
        data: name below /data to host folder, read-only.
        job_in: host folder of the job's inputs, read-only.
        job_out: host folder of its outputs, the only writable one.
        gpu: the GPU it may use, if any.
    """

    code: tuple[Path, ...]
    data: Mapping[str, Path]
    job_in: Path
    job_out: Path
    gpu: Gpu | None = None


def sandbox_argv(
    program: list[str],
    *,
    bwrap: Path,
    mounts: Mounts,
    limits: Limits,
    sizes_tmpfs: bool = False,
    seccomp_fd: int | None = None,
) -> list[str]:
    """The argument list that runs `program` inside a fresh sandbox.

    Args:
        program: what runs inside.
        bwrap: the bubblewrap program.
        mounts: what it sees of the host.
        limits: what it may use.
        sizes_tmpfs: whether this bubblewrap can bound the size of /tmp.
        seccomp_fd: an open file that holds the system call filter.
    """
    argv = [str(bwrap), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    argv += ["--clearenv", *_environment(limits)]
    argv += ["--ro-bind", "/usr", "/usr"]
    for link in ("lib", "lib64", "bin", "sbin"):
        argv += ["--symlink", f"usr/{link}", f"/{link}"]
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    argv += ["--proc", "/proc", "--dev", "/dev", *_gpu(mounts.gpu)]
    argv += ["--size", str(limits.scratch_bytes)] if sizes_tmpfs else []
    argv += ["--tmpfs", "/tmp"]  # noqa: S108  inside the sandbox
    for folder in mounts.code:
        argv += ["--ro-bind", str(folder), str(folder)]
    for name, folder in sorted(mounts.data.items()):
        argv += ["--ro-bind", str(folder), f"{DATA}/{name}"]
    argv += ["--ro-bind", str(mounts.job_in), JOB_IN, "--bind", str(mounts.job_out), JOB_OUT]
    argv += [] if seccomp_fd is None else ["--seccomp", str(seccomp_fd)]
    argv += ["--chdir", "/tmp", "--", *limited(program, limits, gpu=mounts.gpu)]  # noqa: S108
    return argv


def _gpu(gpu: Gpu | None) -> list[str]:
    if gpu is None:
        return []
    nodes = [["--dev-bind", str(node), f"/dev/{name}"] for name, node in gpu.nodes.items()]
    files = [["--ro-bind", str(file), str(place)] for place, file in gpu.libraries.items()]
    return [part for parts in (*nodes, *files) for part in parts]


def _environment(limits: Limits) -> list[str]:
    values = environment(limits)
    return [part for name, value in values.items() for part in ("--setenv", name, value)]


def environment(limits: Limits) -> dict[str, str]:
    """A job's whole environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(limits.threads),
        "MKL_NUM_THREADS": str(limits.threads),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def limited(program: list[str], limits: Limits, *, gpu: Gpu | None = None) -> list[str]:
    """`program` under the limits that `prlimit` sets."""
    memory = "--as" if gpu is None else "--data"
    return [
        "/usr/bin/prlimit",
        f"{memory}={limits.memory_bytes}",
        f"--cpu={limits.cpu_s}",
        f"--fsize={limits.file_bytes}",
        "--nofile=1024",
        f"--nproc={limits.processes}",
        "--core=0",
        "--",
        *program,
    ]

"""How a sandbox is built: the command line of bubblewrap, as a pure function.

Inside there is: no network, no host process, no host environment, no capability; the system's
libraries, the interpreter and Dura's own code read-only; the data the job is for, read-only; the
job's inputs, read-only; one writable output folder and a private /tmp. Nothing else of the
host's file system exists. `prlimit` bounds CPU seconds, memory, file size and open files; the
agent bounds the wall time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "/data"
JOB_IN = "/job/in"
JOB_OUT = "/job/out"


@dataclass(frozen=True)
class Limits:
    """What a job may use.

    Attributes:
        wall_s: seconds from dispatch to the end.
        cpu_s: CPU seconds.
        memory_bytes: address space.
        file_bytes: size of any one file it writes.
        threads: threads for numeric libraries.
    """

    wall_s: float = 3600.0
    cpu_s: int = 7200
    memory_bytes: int = 16 * 1024**3
    file_bytes: int = 512 * 1024**2
    threads: int = 1


@dataclass(frozen=True)
class Mounts:
    """What a job sees of the host.

    Attributes:
        code: host folders mounted read-only at their own path (interpreter, libraries, Dura).
        data: name below /data to host folder, read-only.
        job_in: host folder of the job's inputs, read-only.
        job_out: host folder of its outputs, the only writable one.
    """

    code: tuple[Path, ...]
    data: Mapping[str, Path]
    job_in: Path
    job_out: Path


def sandbox_argv(program: list[str], *, bwrap: Path, mounts: Mounts, limits: Limits) -> list[str]:
    """The argument list that runs `program` inside a fresh sandbox."""
    argv = [str(bwrap), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    argv += ["--clearenv", *_environment(limits)]
    argv += ["--ro-bind", "/usr", "/usr"]
    for link in ("lib", "lib64", "bin", "sbin"):
        argv += ["--symlink", f"usr/{link}", f"/{link}"]
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108  inside the sandbox
    for folder in mounts.code:
        argv += ["--ro-bind", str(folder), str(folder)]
    for name, folder in sorted(mounts.data.items()):
        argv += ["--ro-bind", str(folder), f"{DATA}/{name}"]
    argv += ["--ro-bind", str(mounts.job_in), JOB_IN, "--bind", str(mounts.job_out), JOB_OUT]
    argv += ["--chdir", "/tmp", "--", *_prlimit(limits), *program]  # noqa: S108
    return argv


def _environment(limits: Limits) -> list[str]:
    values = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(limits.threads),
        "MKL_NUM_THREADS": str(limits.threads),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return [part for name, value in values.items() for part in ("--setenv", name, value)]


def _prlimit(limits: Limits) -> list[str]:
    return [
        "/usr/bin/prlimit",
        f"--as={limits.memory_bytes}",
        f"--cpu={limits.cpu_s}",
        f"--fsize={limits.file_bytes}",
        "--nofile=1024",
        "--core=0",
        "--",
    ]

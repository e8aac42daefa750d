"""How a sandbox is built: the command line of bubblewrap, as a pure function.

Inside there is: no network, no host process, no host environment, no capability and no root
(`jobuser`); the system's libraries, the interpreter and Dura's own code, the data the job is for
and its inputs. Nothing else of the host's file system exists. After set-up all of it is read-only,
/proc and /dev included, but for two places: the output folder and /tmp. Both are file systems in
memory with a size, so that the kernel counts what a job leaves (deep, hidden or deleted while open)
and takes it away with the job. A seccomp filter (`seccomp`) refuses what no job needs, other
memory objects included. Address space, /tmp and outputs together are the job's memory.
`prlimit` bounds CPU seconds, address space, file size, open files and processes; the agent bounds
the wall time and the number of files, and a cgroup (`cgroup`) memory and processes together, where
the host has it.

A job that shows a GPU (`gpu`) is the one exception to "nothing else of the host": it gets the named
device nodes and the driver's libraries. A driver reserves addresses by the hundred gigabytes, which
it never fills, so there it is the writable memory that is bounded and not the address space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasites.sandbox.gpu import Gpu
from datasites.sandbox.jobuser import JobUser

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
        memory_bytes: all its memory: address space (with a GPU, private writable memory), /tmp
            and outputs.
        file_bytes: size of any one file it writes.
        threads: threads for numeric libraries.
        processes: processes and threads at once.
        scratch_bytes: what may lie in its /tmp; no more than an eighth of its memory.
        files: files and folders in its output folder.
        output_bytes: bytes in its output folder; no more than a quarter of its memory.
        may_fork: whether it may make processes; Dura's own jobs make threads only.
    """

    wall_s: float = 3600.0
    cpu_s: int = 7200
    memory_bytes: int = 16 * 1024**3
    file_bytes: int = 512 * 1024**2
    threads: int = 1
    processes: int = 512
    scratch_bytes: int = 256 * 1024**2
    files: int = 256
    output_bytes: int = 2 * 1024**3
    may_fork: bool = False

    @property
    def scratch_size(self) -> int:
        """Bytes of /tmp."""
        return min(self.scratch_bytes, self.memory_bytes // 8)

    @property
    def output_size(self) -> int:
        """Bytes of the output folder."""
        return min(self.output_bytes, self.memory_bytes // 4)

    @property
    def address_bytes(self) -> int:
        """Address space: what /tmp and outputs leave of the memory."""
        return self.memory_bytes - self.scratch_size - self.output_size


@dataclass(frozen=True)
class Mounts:
    """What a job sees of the host.

    Attributes:
        code: host folders mounted read-only at their own path (interpreter, libraries, Dura).
        data: name below /data to host folder, read-only.
        job_in: host folder of the job's inputs, read-only.
        gpu: the GPU it may use, if any.
    """

    code: tuple[Path, ...]
    data: Mapping[str, Path]
    job_in: Path
    gpu: Gpu | None = None


def sandbox_argv(
    program: list[str],
    *,
    bwrap: Path,
    mounts: Mounts,
    limits: Limits,
    user: JobUser | None = None,
    seccomp_fd: int | None = None,
    first: tuple[str, ...] = (),
) -> list[str]:
    """The argument list that runs `program` inside a fresh sandbox.

    Args:
        program: what runs inside.
        bwrap: the bubblewrap program.
        mounts: what it sees of the host.
        limits: what it may use.
        user: whom root's job becomes; None where it keeps the agent's own id.
        seccomp_fd: an open file that holds the system call filter.
        first: what starts inside before all else and then becomes the rest.
    """
    argv = [str(bwrap), *_namespaces(user), "--die-with-parent", "--new-session"]
    argv += ["--clearenv", *_environment(limits)]
    argv += ["--ro-bind", "/usr", "/usr"]
    for link in ("lib", "lib64", "bin", "sbin"):
        argv += ["--symlink", f"usr/{link}", f"/{link}"]
    for place, size_bytes in (("/tmp", limits.scratch_size), (JOB_OUT, limits.output_size)):  # noqa: S108
        argv += ["--perms", "1777", "--size", str(size_bytes), "--tmpfs", place]
    argv += _above(mounts)
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    argv += ["--proc", "/proc", "--dev", "/dev", *_gpu(mounts.gpu)]
    for folder in mounts.code:
        argv += ["--ro-bind", str(folder), str(folder)]
    for name, folder in sorted(mounts.data.items()):
        argv += ["--ro-bind", str(folder), f"{DATA}/{name}"]
    argv += ["--ro-bind", str(mounts.job_in), JOB_IN]
    for place in ("/dev", "/proc", "/"):  # the last covers /etc, /job and /data
        argv += ["--remount-ro", place]
    argv += [] if seccomp_fd is None else ["--seccomp", str(seccomp_fd)]
    inner = limited(program, limits, gpu=mounts.gpu)
    switch = [] if user is None else user.switch
    argv += ["--chdir", "/tmp", "--", *first, *switch, *inner]  # noqa: S108
    return argv


def _namespaces(user: JobUser | None) -> list[str]:
    """Namespaces of its own, and no capability but those with which root becomes another user."""
    if user is None:
        return ["--unshare-all", "--cap-drop", "ALL"]
    argv = ["--userns", str(user.namespace_fd), "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    argv += ["--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    for power in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
        argv += ["--cap-add", power]
    return argv


def _above(mounts: Mounts) -> list[str]:
    """The folders above the mounts, for everybody.

    Bubblewrap would make them for their owner alone; where root builds the sandbox that is not the
    job.
    """
    places = [*mounts.code, *(() if mounts.gpu is None else mounts.gpu.libraries)]
    above = {parent for place in places for parent in place.parents if parent.name}
    made = sorted({*above, Path("/etc"), Path(DATA)})
    return [part for folder in made for part in ("--perms", "0755", "--dir", str(folder))]


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
        f"{memory}={limits.address_bytes}",
        f"--cpu={limits.cpu_s}",
        f"--fsize={limits.file_bytes}",
        "--nofile=1024",
        f"--nproc={limits.processes}",
        "--core=0",
        "--",
        *program,
    ]

"""Runs inside a sandbox as a job would, tries every wall once, and leaves what happened.

Standard library only. Each probe is harmless where it succeeds: a setting gets its own value back,
a system call gets arguments that mean nothing, a process gets signal 0. An answer is "" for a probe
that got through, else why it did not.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
GIB = 1024**3


def main(facts):
    """Every probe's answer, and what memory could be had.

    Args:
        facts: what the host has: names to `secret` (file), `port`, `abstract`, `process`, `word`.
    """
    answers = {name: answer(probe) for name, probe in probes(facts).items()}
    return {"answers": answers, "memory": memory()}


def answer(probe):
    """Why a probe did not get through; empty if it did."""
    try:
        probe()
    except (OSError, ValueError, Refused) as error:
        return str(error) or type(error).__name__
    return ""


class Refused(Exception):
    """A probe found nothing to take."""


def call(number, *arguments):
    """A system call; one that complains of its arguments got through."""
    ctypes.set_errno(0)
    made = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    if made < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def written(place):
    path = Path(place)
    path.write_bytes(b"")
    path.unlink()


def same(place):
    """Write a setting's own value into it."""
    value = Path(place).read_text()
    with open(place, "r+") as file:
        file.write(value)


def environ(word):
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if word.encode() in (process / "environ").read_bytes():
                    return
            except OSError:
                continue
    if any(word in value for value in os.environ.values()):
        return
    raise Refused("in no environment")


def connected(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(2)
        link.connect(address)


def forked():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def interfaces():
    names = [line.split(":")[0].strip() for line in open("/proc/net/dev")][2:]
    if set(names) <= {"lo"}:
        raise Refused(f"only {names}")


def more(kind):
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, hard + 1))


def endless(place, size):
    """A file larger than any one may be."""
    with open(place, "wb") as file:
        os.truncate(file.fileno(), size)
    Path(place).unlink()


def gained():
    status = Path("/proc/self/status").read_text()
    kinds = ("CapInh", "CapPrm", "CapEff", "CapAmb")
    held = [line for line in status.splitlines() if line.split(":")[0] in kinds]
    if all(int(line.split()[1], 16) == 0 for line in held):
        raise Refused("no capability")


def is_root():
    if 0 not in (*os.getresuid(), *os.getresgid()):
        raise Refused("no root")


def processes(host):
    seen = [int(name.name) for name in Path("/proc").iterdir() if name.name.isdigit()]
    if host not in seen and len(seen) < 8:
        raise Refused(f"{len(seen)} processes, none of the host")


def terminal():
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")


def answered():
    """Write where the agent only reads, and keep on: nobody is listening."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.write(0, b"x")


def probes(facts):
    """Name to probe, in the order of the matrix."""
    numbers = facts["calls"]
    found = {
        "environment: the agent's word": lambda: environ(facts["word"]),
        "files: read the host's secret": Path(facts["secret"]).read_bytes,
        "files: read it through process 1": lambda: Path(
            f"/proc/1/root{facts['secret']}"
        ).read_bytes(),
        "files: read the accounts": Path("/etc/passwd").read_bytes,
        "files: a second name": lambda: os.link("/job/in/task", "/tmp/second"),
        "files: take away an input": lambda: Path("/job/in/task").unlink(),
        "files: open an input to all": lambda: Path("/job/in/task").chmod(0o777),
        "files: write an input": lambda: Path("/job/in/task").open("ab").close(),
        "files: take away the shard": lambda: Path("/data/train/shard").unlink(),
        "files: a device": lambda: os.mknod("/tmp/node", 0o20666, os.makedev(1, 3)),
        "processes: see the host's": lambda: processes(facts["process"]),
        "processes: fork": forked,
        "processes: look into process 1": lambda: Path("/proc/1/mem").open("rb").read(1),
        "signals: reach the host's": lambda: os.kill(facts["process"], 0),
        "network: interfaces": interfaces,
        "network: the host's loopback": lambda: connected(
            socket.AF_INET, ("127.0.0.1", facts["port"])
        ),
        "sockets: the host's abstract one": lambda: connected(
            socket.AF_UNIX, "\0" + facts["abstract"]
        ),
        "sockets: the host's on disk": lambda: connected(socket.AF_UNIX, facts["socket"]),
        "sockets: answer the agent": answered,
        "sockets: type into a terminal": terminal,
        "powers: be root": is_root,
        "powers: capabilities": gained,
        "powers: become root": lambda: os.setresuid(0, 0, 0),
        "powers: join groups": lambda: os.setgroups([0]),
        "powers: another name for the host": lambda: socket.sethostname("mine"),
        "powers: go first": lambda: os.nice(-20),
        "memory: more address space": lambda: more(resource.RLIMIT_AS),
        "memory: more files open": lambda: more(resource.RLIMIT_NOFILE),
        "memory: more than all": lambda: mmap.mmap(-1, facts["memory"]).close(),
        "disk: a file without end": lambda: endless("/job/out/endless", 4 * GIB),
        "disk: no limit on files": lambda: more(resource.RLIMIT_FSIZE),
    }
    for place in (
        "/",
        "/etc",
        "/dev",
        "/dev/shm",
        "/job",
        "/job/in",
        "/data",
        "/data/train",
        "/usr",
    ):
        found[f"files: write in {place}"] = lambda place=place: written(f"{place}/new")
    for place in ("/proc/sys/vm/swappiness", "/proc/sys/kernel/panic", "/proc/self/oom_score_adj"):
        found[f"settings: {place}"] = lambda place=place: same(place)
    for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"):
        number = getattr(socket, family)
        found[f"sockets: {family}"] = lambda number=number: socket.socket(number).close()
    for kind, name in (
        ("mounts", "mount umount2 pivot_root chroot fsopen fsmount open_tree move_mount"),
        ("mounts", "mount_setattr statmount listmount"),
        ("processes", "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp"),
        ("time", "clock_settime settimeofday clock_adjtime adjtimex"),
        ("keys", "add_key keyctl request_key"),
        ("memory", "memfd_create memfd_secret shmget shmat semget msgget mq_open userfaultfd"),
        ("nesting", "unshare setns clone3"),
        ("kernel", "bpf perf_event_open init_module kexec_load io_uring_setup reboot swapon acct"),
    ):
        for each in name.split():
            if each in numbers:
                found[f"{kind}: {each}"] = lambda each=each: call(numbers[each], *[-1] * 6)
    for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("process", 0x20000000)):
        found[f"nesting: a {name} namespace"] = lambda flag=flag: call(
            numbers["clone"], flag | 17, 0, 0, 0, 0
        )
    if facts["landlock"]:
        found["landlock: a folder among the outputs"] = lambda: Path("/job/out/new").mkdir()
        found["landlock: a link"] = lambda: Path("/tmp/link").symlink_to("/usr")
        found["landlock: a pipe"] = lambda: os.mkfifo("/job/out/pipe")
    return found


def memory():
    """Bytes that could be had: of address space, of /tmp, of outputs."""
    had = {"address": mapped()}
    for name, place in (("scratch", "/tmp"), ("outputs", "/job/out")):
        had[name] = filled(f"{place}/fill")
    return had


def mapped():
    most, step, held = 0, 64 * 1024**2, []
    try:
        while True:
            held.append(mmap.mmap(-1, step))
            most += step
    except (OSError, MemoryError):
        return most


def filled(place):
    """Fill up, in files that are deleted while open."""
    block, size, files = b"x" * 1024**2, 0, []
    try:
        while True:
            files.append(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
            os.unlink(place)
            for _ in range(64):
                size += os.write(files[-1], block)
    except OSError:
        for each in files:
            os.close(each)
        return size


if __name__ == "__main__":
    told = json.loads(Path("/job/in/task").read_text())
    if told["landlock"]:
        sys.path.insert(0, told["code"])
        from datasites.sandbox.landlock import confine

        assert confine()
    Path("/job/out/told.json").write_text(json.dumps(main(told)))

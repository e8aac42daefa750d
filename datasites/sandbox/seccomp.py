"""Which system calls a job may not make: a seccomp filter as classic BPF. Pure.

What a numerical job has no use for, and kernels have had holes in, is refused with EPERM:
tracing and reading other processes, mounts and namespaces, kernel keys, memory that no limit of a
process counts (memfd, System V and POSIX objects), BPF, userfaultfd, perf,
io_uring, modules, clocks, quotas, file handles, memory policy of others, and every socket family
but AF_UNIX. Processes cannot be made (threads can), unless `may_fork`. `clone3`, whose flags a
filter cannot see, answers ENOSYS, on which libraries fall back to `clone`. Another architecture
than the machine's own (32-bit entry points) kills the process, x32 numbers are refused.

The numbers are the kernel's (asm/unistd.h) and were compared with libseccomp's table; a test runs
every call in a real sandbox. A call that an architecture lacks is left out of its table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from datasites.errors import SandboxError

EPERM, ENOSYS = 1, 38

_DENIED: dict[str, tuple[int | None, int | None]] = {
    # name: (x86_64, aarch64)
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}

_AF_UNIX = 1
_CLONE_THREAD = 0x0001_0000
# NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_NAMESPACES = 0x7E02_0080
_TERMINAL_IOCTLS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into somebody's terminal

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_NUMBER, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in seccomp_data, little-endian


@dataclass(frozen=True)
class Arch:
    """What differs from one machine to another.

    Attributes:
        name: as `platform.machine()` says it.
        audit: the kernel's AUDIT_ARCH number.
        column: of the table above.
        clone, clone3, ioctl, socket: system call numbers.
        forks: numbers of calls that only make processes.
        x32: whether numbers from 0x40000000 are another calling convention.
    """

    name: str
    audit: int
    column: int
    clone: int
    clone3: int
    ioctl: int
    socket: int
    forks: tuple[int, ...]
    x32: bool


ARCHES = {
    arch.name: arch
    for arch in (
        Arch("x86_64", 0xC000_003E, 0, 56, 435, 16, 41, (57, 58), x32=True),
        Arch("aarch64", 0xC000_00B7, 1, 220, 435, 29, 198, (), x32=False),
    )
}


def denied(machine: str) -> dict[str, int]:
    """Name to number of every system call that is refused whatever its arguments."""
    column = _arch(machine).column
    return {name: row[column] for name, row in _DENIED.items() if row[column] is not None}  # type: ignore[misc]


def seccomp_filter(machine: str, *, may_fork: bool = False) -> bytes:
    """The filter for `machine` as an array of `struct sock_filter`.

    Raises:
        SandboxError: there is no table for this kind of machine.
    """
    arch = _arch(machine)
    code: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCH, "", ""),
        (_EQUAL, arch.audit, "", "kill"),
        (_LOAD, _NUMBER, "", ""),
    ]
    if arch.x32:
        code.append((_AT_LEAST, 0x4000_0000, "deny", ""))
    numbers = [*denied(machine).values(), *(() if may_fork else arch.forks)]
    code += [(_EQUAL, number, "deny", "") for number in sorted(numbers)]
    code.append((_EQUAL, arch.clone3, "absent", ""))
    parts = [
        (arch.socket, [(_LOAD, _ARG0, "", ""), (_EQUAL, _AF_UNIX, "allow", "deny")]),
        (arch.clone, _clone_rules(may_fork=may_fork)),
        (arch.ioctl, [(_LOAD, _ARG1, "", ""), *_ioctl_rules()]),
    ]
    for place, (number, _) in enumerate(parts):
        code.append((_EQUAL, number, f"part{place}", ""))
    code.append((_EQUAL, arch.socket, "allow", "allow"))
    return _assemble(code, [rules for _, rules in parts])


def _clone_rules(*, may_fork: bool) -> list[tuple[int, int, str, str]]:
    thread = "allow" if may_fork else "deny"
    return [
        (_LOAD, _ARG0, "", ""),
        (_ANY_BIT, _CLONE_NAMESPACES, "deny", ""),
        (_ANY_BIT, _CLONE_THREAD, "allow", thread),
    ]


def _ioctl_rules() -> list[tuple[int, int, str, str]]:
    first, last = _TERMINAL_IOCTLS
    return [(_EQUAL, first, "deny", ""), (_EQUAL, last, "deny", "allow")]


def _arch(machine: str) -> Arch:
    if machine not in ARCHES:
        raise SandboxError(
            f"there is no system call table for {machine!r}; jobs run on {', '.join(ARCHES)}"
        )
    return ARCHES[machine]


def _assemble(
    code: list[tuple[int, int, str, str]], parts: list[list[tuple[int, int, str, str]]]
) -> bytes:
    """Resolve labels to jump offsets; an empty label means the next instruction."""
    labels: dict[str, int] = {}
    whole = list(code)
    for place, rules in enumerate(parts):
        labels[f"part{place}"] = len(whole)
        whole += rules
    for label, value in (
        ("allow", _ALLOW),
        ("deny", _ERRNO | EPERM),
        ("absent", _ERRNO | ENOSYS),
        ("kill", _KILL),
    ):
        labels[label] = len(whole)
        whole.append((_RETURN, value, "", ""))
    packed = []
    for place, (operation, value, yes, no) in enumerate(whole):
        jumps = [labels[label] - place - 1 if label else 0 for label in (yes, no)]
        packed.append(struct.pack("<HBBI", operation, *jumps, value))
    return b"".join(packed)

"""A second wall inside the first: the job's own process gives up what it will not need.

Landlock (Linux 5.13) lets a process without privileges confine itself and all it starts, for good.
So should a hole in the set-up of mounts leave something writable, or a network reachable, it is
still refused. Reading is left to the mounts. What may be written is plain files, in the output
folder and in /tmp (there folders too), and the device nodes that are there; no TCP port may be
bound or connected to, and processes and abstract sockets outside are out of reach. Older versions
of Landlock know less of this; a kernel without it changes nothing, and `dura site doctor` names it.

Numbers and structures: linux/landlock.h; the system call numbers are the same on all machines.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from datasites.errors import SandboxError
from datasites.sandbox.command import JOB_OUT

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _BENEATH = 1, 1
_NO_NEW_PRIVS: Final = 38
_WRITE_FILE, _REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = (
    1 << 1,
    1 << 4,
    1 << 5,
    1 << 7,
    1 << 8,
)
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_WRITES: Final = 0b1_1111_1111_0010  # writing, removing and making of every kind; version 1
_FILES: Final = _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
_PLACES: Final = {
    JOB_OUT: _FILES,
    "/tmp": _FILES | _MAKE_DIR | _REMOVE_DIR,  # noqa: S108  inside the sandbox
    "/dev": _WRITE_FILE | _TRUNCATE | _IOCTL_DEV,
}


def landlock_version() -> int:
    """The version of Landlock that this kernel has; 0 for none."""
    return max(0, _call(_CREATE, 0, 0, _VERSION_FLAG))


def handled(version: int) -> tuple[int, int, int]:
    """What a version can refuse: rights on files, on TCP ports, and scopes. Pure."""
    files = _WRITES
    for since, right in ((2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL_DEV)):  # the first: REFER
        files |= right if version >= since else 0
    return files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0


def confine() -> bool:
    """Confine this thread and all that come of it; returns whether the kernel has Landlock.

    Raises:
        SandboxError: the kernel has it, and refuses.
    """
    version = landlock_version()
    if version == 0:
        return False
    files, ports, scopes = handled(version)
    # An older kernel takes the longer structure too where what it does not know is zero.
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", files, ports, scopes))
    rules = _must(_CREATE, ctypes.addressof(attributes), 24, 0)
    try:
        for place, allowed in _PLACES.items():
            _allow(rules, place, allowed & files)
        _must_not_gain()
        _must(_RESTRICT, rules, 0)
    finally:
        os.close(rules)
    return True


def _allow(rules: int, place: str, allowed: int) -> None:
    folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, folder))
        _must(_ADD, rules, _BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(folder)


def _must_not_gain() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SandboxError("this process cannot give up new privileges")


def _call(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    answer: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return answer


def _must(number: int, *arguments: int) -> int:
    answer = _call(number, *arguments)
    if answer < 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxError(f"Landlock is here and refuses call {number}: {reason}")
    return answer

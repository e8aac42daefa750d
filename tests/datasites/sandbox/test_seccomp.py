"""The system call filter: each refused call is tried in a real sandbox; what a job needs works.

The calls are made by number from a small Python program, so that no library stands in between.
"""

import json
import platform
import struct
import subprocess

import pytest

from datasites.errors import SandboxError
from datasites.sandbox import (
    JobFolder,
    Limits,
    Mounts,
    SandboxProcess,
    require_sandbox,
    sandbox_argv,
)
from datasites.sandbox.jobuser import job_user
from datasites.sandbox.launch import filter_file
from datasites.sandbox.seccomp import ARCHES, denied, seccomp_filter

EPERM, ENOSYS = 1, 38
HERE = platform.machine()

PROBE = """
import ctypes, json, os, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args])
    return ctypes.get_errno()
numbers = json.loads(sys.argv[1])
said = {name: call(number, *[-1] * 6) for name, number in numbers.items()}
said["clone3"] = call(435, 0, 0)
said["clone new user"] = call(CLONE, 0x10000000, 0, 0, 0, 0)
said["clone a process"] = call(CLONE, 17, 0, 0, 0, 0)
said["TIOCSTI"] = call(IOCTL, 0, 0x5412, 0)
for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK"):
    said[family] = call(SOCKET, getattr(socket, family), 1, 0)
try:
    subprocess.run(["/usr/bin/true"])
    said["fork"] = 0
except OSError as error:
    said["fork"] = error.errno
one, other = socket.socketpair()
one.sendall(b"x")
said["AF_UNIX"] = 0 if other.recv(1) == b"x" else -1
thread = threading.Thread(target=lambda: said.update(thread=0))
thread.start()
thread.join()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each call answered inside a sandbox."""
    arch = ARCHES[HERE]
    script = (
        PROBE.replace("CLONE", str(arch.clone))
        .replace("IOCTL", str(arch.ioctl))
        .replace("SOCKET", str(arch.socket))
    )
    done = _run(tmp_path_factory.mktemp("probe"), script, json.dumps(denied(HERE)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _run(folder, script, *args, limits=None, filtered=True):
    limits, installation = limits or Limits(), require_sandbox()
    (folder / "in").mkdir()
    with filter_file(may_fork=limits.may_fork) as rules, job_user() as user:
        argv = sandbox_argv(
            [str(installation.python), "-I", "-c", script, *args],
            bwrap=installation.bwrap,
            mounts=Mounts(installation.code, {}, folder / "in"),
            limits=limits,
            user=user,
            seccomp_fd=rules if filtered else None,
        )
        given = (rules,) if user is None else (rules, user.namespace_fd)
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=60, pass_fds=given
        )


def test_without_the_filter_much_of_it_is_open(tmp_path):
    """What the filter adds to a sandbox without capabilities; else these tests show nothing."""
    arch = ARCHES[HERE]
    script = (
        PROBE.replace("CLONE", str(arch.clone))
        .replace("IOCTL", str(arch.ioctl))
        .replace("SOCKET", str(arch.socket))
    )
    harmless = {name: denied(HERE)[name] for name in ("keyctl", "ptrace", "kcmp", "userfaultfd")}
    done = _run(tmp_path, script, json.dumps(harmless), filtered=False)
    open_here = json.loads(done.stdout.splitlines()[-1])
    assert (open_here["AF_INET"], open_here["fork"]) == (0, 0)
    assert any(open_here[name] != EPERM for name in harmless)


def test_every_call_of_the_table_is_refused(said):
    assert {name: said[name] for name in denied(HERE)} == dict.fromkeys(denied(HERE), EPERM)


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("clone3", ENOSYS),
        ("clone new user", EPERM),
        ("clone a process", EPERM),
        ("fork", EPERM),
        ("TIOCSTI", EPERM),
        *((family, EPERM) for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET")),
        ("AF_ALG", EPERM),
        ("AF_VSOCK", EPERM),
        ("AF_UNIX", 0),
        ("thread", 0),
    ],
)
def test_what_else_is_refused_and_what_a_job_needs(said, what, answer):
    assert said[what] == answer


def test_the_scratch_folder_is_bounded(tmp_path):
    script = "open('/tmp/x', 'wb').write(b'x' * 3_000_000)"
    done = _run(tmp_path, script, limits=Limits(scratch_bytes=1_000_000))
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("machine", sorted(ARCHES))
@pytest.mark.parametrize("may_fork", [False, True])
def test_the_filter_is_well_formed_on_every_machine(machine, may_fork):
    """Interpreted here: a refused, an allowed and a foreign call end where they should."""
    code = list(struct.iter_unpack("<HBBI", seccomp_filter(machine, may_fork=may_fork)))
    arch = ARCHES[machine]
    for number in denied(machine).values():
        assert _decide(code, arch.audit, number) == 0x0005_0001
    assert _decide(code, arch.audit, 0) == 0x7FFF_0000
    assert _decide(code, arch.audit + 1, 0) == 0x8000_0000
    assert _decide(code, arch.audit, arch.socket, 1) == 0x7FFF_0000
    assert _decide(code, arch.audit, arch.socket, 2) == 0x0005_0001
    assert _decide(code, arch.audit, arch.clone3) == 0x0005_0000 | ENOSYS
    forked = 0x7FFF_0000 if may_fork else 0x0005_0001
    assert _decide(code, arch.audit, arch.clone, 17) == forked
    assert _decide(code, arch.audit, arch.clone, 0x0001_0F00) == 0x7FFF_0000
    assert _decide(code, arch.audit, arch.clone, 0x0001_0F00 | 0x1000_0000) == 0x0005_0001
    if arch.x32:
        assert _decide(code, arch.audit, 0x4000_0000) == 0x0005_0001


def _decide(code, audit, number, arg0=0, arg1=0):
    data = {0: number, 4: audit, 16: arg0, 24: arg1}
    place, value = 0, 0
    for _ in range(len(code)):
        operation, yes, no, k = code[place]
        place += 1
        match operation:
            case 0x20:
                value = data[k]
            case 0x15:
                place += yes if value == k else no
            case 0x35:
                place += yes if value >= k else no
            case 0x45:
                place += yes if value & k else no
            case 0x06:
                return k
    raise AssertionError("the filter does not end")


def test_a_machine_without_a_table_gets_no_job():
    with pytest.raises(SandboxError, match="no system call table for 'riscv64'"):
        seccomp_filter("riscv64")


def test_a_started_sandbox_has_the_filter_and_no_new_privileges(tmp_path):
    import dataclasses

    code = tmp_path / "code"
    code.mkdir()
    script = code / "job.sh"
    script.write_text("#!/bin/sh\nread line; cat /proc/self/status > /job/out/status\n")
    script.chmod(0o755)
    here = dataclasses.replace(require_sandbox(), python=script, code=(code,))
    sandbox = SandboxProcess(
        "train",
        folder=JobFolder(tmp_path / "job"),
        data={},
        installation=here,
        limits=Limits(wall_s=30, may_fork=True),
    )
    sandbox.dispatch({})
    sandbox.wait()
    status = (sandbox.folder.outputs / "status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status

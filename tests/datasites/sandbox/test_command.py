"""What a program finds inside a real bubblewrap sandbox, and what it cannot find or do there.

No network, no host file, no host process, an environment of Dura's making, its data and inputs
read-only, one writable folder, and limits that hold.
"""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from datasites.sandbox import Limits, Mounts, sandbox_argv

BWRAP = Path("/usr/bin/bwrap")
GIB = 1024**3


@pytest.fixture(scope="module")
def bwrap():
    from datasites.sandbox import require_sandbox

    return require_sandbox().bwrap


@pytest.fixture
def mounts(tmp_path):
    folders = {}
    for name in ("code", "data", "in", "out"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "here").write_text(name)
    (tmp_path / "secret").write_text("a secret of the host")
    return Mounts((folders["code"],), {"train": folders["data"]}, folders["in"], folders["out"])


@pytest.fixture
def inside(bwrap, mounts):
    """Run a shell script, or Python of the system's, in a sandbox."""

    def run(script, *, limits=None, program=None, **options):
        argv = sandbox_argv(
            program or ["/bin/sh", "-c", script],
            bwrap=bwrap,
            mounts=mounts,
            limits=limits or Limits(memory_bytes=4 * GIB),
        )
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=30, check=False, **options
        )

    return run


def test_the_root_holds_nothing_of_the_host(inside):
    names = set(inside("ls -A /").stdout.split())
    assert {"usr", "proc", "dev", "tmp", "job", "data"} <= names
    assert not names & {"home", "root", "var", "srv", "mnt", "run", "boot", "sys", "opt", "media"}
    assert set(inside("ls -A /etc 2>/dev/null").stdout.split()) <= {"ld.so.cache"}


def test_a_file_beside_the_mounted_ones_is_not_there(inside, mounts):
    secret = mounts.job_out.parent / "secret"
    assert secret.exists()
    done = inside(f"cat {secret}")
    assert done.returncode != 0
    assert "a secret" not in done.stdout
    assert inside(f"ls -A {secret.parent}").stdout.split() == ["code"]
    assert inside("cat /proc/1/root/etc/passwd || cat /etc/passwd").stdout == ""


def test_the_environment_is_duras_only(inside):
    env = {**os.environ, "AWS_SECRET_ACCESS_KEY": "a secret", "LD_PRELOAD": "", "PYTHONPATH": "/x"}
    lines = inside("env", env=env).stdout.splitlines()
    values = dict(line.split("=", 1) for line in lines)
    values = {name: values[name] for name in values if name not in ("PWD", "SHLVL", "_", "OLDPWD")}
    assert values == {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108  inside the sandbox
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_there_is_no_network_not_even_the_hosts_loopback(inside):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            server.accept()[0].close()
        bash = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        done = inside("", program=["/bin/bash", "-c", bash])
        assert done.returncode != 0
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    interfaces = inside("cat /proc/net/dev").stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] in ([], ["lo"])


def test_no_process_of_the_host_is_seen(inside):
    pids = [int(name) for name in inside("ls /proc").stdout.split() if name.isdigit()]
    assert 0 < len(pids) < 6
    assert max(pids) < 20


@pytest.mark.parametrize("path", ["/job/in", "/data/train", "/usr", "{code}", "/job", "/data"])
def test_everything_but_the_output_folder_and_tmp_is_read_only(inside, mounts, path):
    path = path.format(code=mounts.code[0])
    if path in ("/job", "/data"):  # of the sandbox's own making: gone with it
        assert inside(f"echo x > {path}/new").returncode in (0, 1, 2)
        assert not (mounts.job_in.parent / "new").exists()
        return
    done = inside(f"echo x > {path}/new; rm -f {path}/here; echo x > {path}/here; ls {path}")
    assert "Read-only file system" in done.stderr
    assert "new" not in done.stdout.split()
    for folder in (mounts.job_in, mounts.code[0], mounts.data["train"]):
        assert [file.name for file in folder.iterdir()] == ["here"]
        assert (folder / "here").read_text() in ("in", "code", "data")


def test_the_inputs_and_the_data_are_there_and_the_output_comes_out(inside, mounts):
    done = inside("cat /job/in/here /data/train/here > /job/out/both; echo x > /tmp/mark-of-a-job")
    assert done.returncode == 0
    assert (mounts.job_out / "both").read_text() == "indata"
    assert not Path("/tmp/mark-of-a-job").exists()  # noqa: S108  the host's


def test_the_read_only_mounts_cannot_be_made_writable(inside):
    done = inside("mount -o remount,rw,bind /job/in; umount /job/in; echo x > /job/in/new")
    assert done.returncode != 0
    assert "CapEff:\t0000000000000000" in inside("cat /proc/self/status").stdout


def test_a_file_larger_than_allowed_is_cut_off(inside, mounts):
    done = inside("head -c 3000000 /dev/zero > /job/out/big", limits=Limits(file_bytes=1_000_000))
    assert done.returncode != 0
    assert (mounts.job_out / "big").stat().st_size <= 1_000_000


def test_memory_is_bounded(inside):
    hungry = ["/bin/sh", "-c", "head -c 600000000 /dev/zero | tail"]
    limited = inside("", program=hungry, limits=Limits(memory_bytes=256 * 1024**2))
    assert limited.stdout == ""
    assert "memory exhausted" in limited.stderr or limited.returncode != 0


def test_cpu_time_is_bounded(inside):
    done = inside("while :; do :; done", limits=Limits(cpu_s=1, memory_bytes=4 * GIB))
    assert done.returncode != 0


def test_every_limit_is_set_on_the_program(inside):
    limits = Limits(memory_bytes=3 * GIB, cpu_s=77, file_bytes=4096, threads=3)
    text = inside("cat /proc/self/limits; echo $OMP_NUM_THREADS", limits=limits).stdout
    rows = {line[:25].strip(): line[25:].split()[:2] for line in text.splitlines()}
    assert rows["Max address space"] == [str(3 * GIB)] * 2
    assert rows["Max cpu time"] == ["77", "77"]
    assert rows["Max file size"] == ["4096", "4096"]
    assert rows["Max open files"] == ["1024", "1024"]
    assert rows["Max core file size"] == ["0", "0"]
    assert text.splitlines()[-1] == "3"


def test_the_command_line_is_a_list_and_no_name_becomes_an_option(tmp_path):
    odd = tmp_path / "--bind"
    mounts = Mounts((), {"a b;c": odd}, odd, odd)
    argv = sandbox_argv(["prog", "x; y"], bwrap=BWRAP, mounts=mounts, limits=Limits())
    assert argv[-2:] == ["prog", "x; y"]
    assert str(odd).startswith("/")
    assert argv.index("/data/a b;c") == argv.index(str(odd)) + 1
    assert json.dumps(argv) == json.dumps(
        sandbox_argv(["prog", "x; y"], bwrap=BWRAP, mounts=mounts, limits=Limits())
    )

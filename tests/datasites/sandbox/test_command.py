"""What a program finds inside a real bubblewrap sandbox, and what it cannot find or do there.

No network, no host file, no host process, an environment of Dura's making, its data and inputs
read-only, one writable folder, and limits that hold.
"""

import dataclasses
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from datasites.sandbox import Limits, Mounts, find_installation, run_inside, sandbox_argv
from datasites.sandbox.jobuser import job_user

BWRAP = Path("/usr/bin/bwrap")
GIB = 1024**3


@pytest.fixture(scope="module")
def bwrap():
    from datasites.sandbox import require_sandbox

    return require_sandbox().bwrap


@pytest.fixture
def mounts(tmp_path):
    folders = {}
    for name in ("code", "data", "in"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "here").write_text(name)
    (tmp_path / "secret").write_text("a secret of the host")
    return Mounts((folders["code"],), {"train": folders["data"]}, folders["in"])


@pytest.fixture
def inside(bwrap, mounts):
    """Run a shell script, or Python of the system's, in a sandbox."""

    def run(script, *, limits=None, program=None, **options):
        with job_user() as user:
            argv = sandbox_argv(
                program or ["/bin/sh", "-c", script],
                bwrap=bwrap,
                mounts=mounts,
                limits=limits or Limits(memory_bytes=4 * GIB),
                user=user,
            )
            given = () if user is None else (user.namespace_fd,)
            return subprocess.run(
                argv,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                pass_fds=given,
                **options,
            )

    return run


def test_the_root_holds_nothing_of_the_host(inside):
    names = set(inside("ls -A /").stdout.split())
    assert {"usr", "proc", "dev", "tmp", "job", "data"} <= names
    assert not names & {"home", "root", "var", "srv", "mnt", "run", "boot", "sys", "opt", "media"}
    assert set(inside("ls -A /etc 2>/dev/null").stdout.split()) <= {"ld.so.cache"}


def test_a_file_beside_the_mounted_ones_is_not_there(inside, mounts):
    secret = mounts.job_in.parent / "secret"
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


def test_no_environment_of_any_process_inside_holds_the_agents(bwrap, tmp_path, monkeypatch):
    """Bubblewrap stays inside as process 1, and what it was started with could be read there."""
    monkeypatch.setenv("DURA_RELAY_PASSWORD", "a secret of the relay")
    look = "cat /proc/1/environ /proc/self/environ /proc/[0-9]*/environ 2>/dev/null; true"
    installation = dataclasses.replace(find_installation(), code=())
    for program in (["/bin/sh", "-c", look], ["/usr/bin/env"]):
        done = run_inside(program, installation=installation, limits=Limits(may_fork=True))
        assert "a secret" not in done.stdout
        assert "RELAY" not in done.stdout
        assert "PATH=" in done.stdout


def test_a_job_is_no_root_and_has_no_power(inside):
    status = inside("cat /proc/self/status; id -u; cat /proc/self/uid_map").stdout
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        assert f"Cap{kind}:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert status.splitlines()[-2 if os.geteuid() else -3] != "0"
    own = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in own


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


PLACES = [
    "/job/in",
    "/data/train",
    "/usr",
    "{code}",
    "/job",
    "/data",
    "/",
    "/etc",
    "/dev",
    "/dev/shm",  # noqa: S108  inside the sandbox
]


@pytest.mark.parametrize("path", PLACES)
def test_everything_but_the_output_folder_and_tmp_is_read_only(inside, mounts, path):
    path = path.format(code=mounts.code[0])
    done = inside(f"echo x > {path}/new; rm -f {path}/here; echo x > {path}/here; ls {path}")
    assert done.stderr.count("Read-only file system") >= 2
    assert "new" not in done.stdout.split()
    for folder in (mounts.job_in, mounts.code[0], mounts.data["train"]):
        assert [file.name for file in folder.iterdir()] == ["here"]
        assert (folder / "here").read_text() in ("in", "code", "data")


@pytest.mark.parametrize("setting", ["sys/vm/swappiness", "sys/kernel/panic", "self/oom_score_adj"])
def test_no_setting_of_the_kernel_can_be_written(inside, setting):
    """Its own value is written, so that nothing changes where the wall is down."""
    done = inside(f"x=$(cat /proc/{setting}); echo $x > /proc/{setting} && echo written")
    assert "written" not in done.stdout
    assert "Read-only file system" in done.stderr


def test_only_two_mounts_can_be_written_and_both_have_a_size(inside):
    rows = [line.split() for line in inside("cat /proc/mounts").stdout.splitlines()]
    nodes = ("/dev/", "/proc/")  # device nodes, and what covers parts of /proc
    writable = {row[1]: row for row in rows if "rw" in row[3].split(",")}
    assert {place for place in writable if not place.startswith(nodes)} == {"/tmp", "/job/out"}  # noqa: S108
    for place in ("/tmp", "/job/out"):  # noqa: S108
        assert writable[place][2] == "tmpfs"
        assert "size=" in writable[place][3]


def test_the_inputs_and_the_data_are_there_and_two_folders_can_be_written(inside):
    script = "cat /job/in/here /data/train/here > /job/out/both && echo x > /tmp/mark-of-a-job"
    done = inside(f"{script} && cat /job/out/both")
    assert (done.returncode, done.stdout) == (0, "indata")
    assert not Path("/tmp/mark-of-a-job").exists()  # noqa: S108  the host's


def test_the_read_only_mounts_cannot_be_made_writable(inside):
    done = inside("mount -o remount,rw,bind /job/in; umount /job/in; echo x > /job/in/new")
    assert done.returncode != 0
    assert "CapEff:\t0000000000000000" in inside("cat /proc/self/status").stdout


def test_a_file_larger_than_allowed_is_cut_off(inside):
    script = "head -c 3000000 /dev/zero > /job/out/big; stat -c %s /job/out/big"
    done = inside(script, limits=Limits(file_bytes=1_000_000))
    assert 0 < int(done.stdout) <= 1_000_000


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
    assert rows["Max address space"] == [str(limits.address_bytes)] * 2
    assert limits.address_bytes + limits.scratch_size + limits.output_size == 3 * GIB
    assert rows["Max cpu time"] == ["77", "77"]
    assert rows["Max file size"] == ["4096", "4096"]
    assert rows["Max open files"] == ["1024", "1024"]
    assert rows["Max core file size"] == ["0", "0"]
    assert text.splitlines()[-1] == "3"


def test_the_command_line_is_a_list_and_no_name_becomes_an_option(tmp_path):
    odd = tmp_path / "--bind"
    mounts = Mounts((), {"a b;c": odd}, odd)
    argv = sandbox_argv(["prog", "x; y"], bwrap=BWRAP, mounts=mounts, limits=Limits())
    assert argv[-2:] == ["prog", "x; y"]
    assert str(odd).startswith("/")
    assert argv.index("/data/a b;c") == argv.index(str(odd)) + 1
    assert json.dumps(argv) == json.dumps(
        sandbox_argv(["prog", "x; y"], bwrap=BWRAP, mounts=mounts, limits=Limits())
    )

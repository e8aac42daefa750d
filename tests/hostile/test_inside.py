"""The matrix: what a program inside a real sandbox tries, and that all of it is refused.

The same program runs as a job of an agent that is root and of one that is an ordinary user, with
Landlock and without: neither wall leans on the other. What it finds open outside a sandbox is
shown as well, else these tests would show nothing.
"""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import lazy_loader
import packaging
import pytest

from datasites.sandbox.landlock import landlock_version
from datasites.sandbox.seccomp import denied

HERE = Path(__file__).parent / "inside"
CODE = Path(__file__).parents[2]
ORDINARY = 64_999
WORD = "a password of the relay"
KINDS = {
    "environment",
    "files",
    "settings",
    "mounts",
    "processes",
    "signals",
    "network",
    "sockets",
    "time",
    "keys",
    "memory",
    "disk",
    "nesting",
    "powers",
    "kernel",
}


def interpreter():
    """A Python that an ordinary user may read as well: this one, or the system's."""
    ours = Path(sys.executable).resolve()
    if all(folder.stat().st_mode & 0o001 for folder in ours.parents):
        return str(ours)
    found = [shutil.which(f"python3.{minor}", path="/usr/bin") for minor in (13, 12, 11)]
    if not any(found):
        pytest.skip("no Python here that an ordinary user may read")
    return next(name for name in found if name)


def run_as(user, wall, work):
    """The matrix as one user, in one set of walls."""
    work.mkdir(mode=0o700)
    lib = work / "lib"
    lib.mkdir()
    shutil.copytree(CODE / "datasites", lib / "datasites")
    for needed in (lazy_loader, packaging):  # what a face needs
        shutil.copytree(Path(needed.__file__).parent, lib / needed.__name__)
    for program in HERE.glob("*.py"):
        shutil.copy(program, lib)
    command = [interpreter()]
    if user == "ordinary" and os.geteuid() == 0:
        for folder in work.parents:  # where pytest makes them for root alone
            if not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o001)
        for path in (work, *work.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)
        ids = [f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
        command = ["/usr/bin/setpriv", *ids, "--", *command]
    done = subprocess.run(
        [*command, str(lib / "agent.py"), str(lib), str(work), wall],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "DURA_RELAY_PASSWORD": WORD},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(
    scope="module", params=["root/mounts", "root/landlock", "ordinary/mounts", "ordinary/landlock"]
)
def matrix(request, tmp_path_factory):
    user, wall = request.param.split("/")
    if user == "root" and os.geteuid() != 0:
        pytest.skip("not run by root")
    if wall == "landlock" and landlock_version() == 0:
        pytest.skip("this kernel has no Landlock")
    return run_as(user, wall, tmp_path_factory.mktemp("matrix") / "work")


def test_nothing_that_was_tried_inside_got_through(matrix):
    answers = matrix["answers"]
    assert {name.split(":")[0] for name in answers} - {"landlock"} == KINDS, matrix["said"]
    assert len(answers) > 80
    assert [name for name, why in answers.items() if not why] == []


def test_all_memory_that_could_be_had_is_within_the_limit(matrix):
    had = matrix["memory"]
    assert min(had.values()) > 0
    assert sum(had.values()) <= matrix["limit"]


def test_nothing_of_it_is_left(matrix):
    assert matrix["left"] == ["code", "lib", "secret", "shard", "socket"]


def test_outside_a_sandbox_much_of_it_gets_through(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("probe", HERE / "probe.py")
    probe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(probe)
    (tmp_path / "secret").write_text("x")
    monkeypatch.setenv("DURA_RELAY_PASSWORD", WORD)
    facts = {
        "word": WORD,
        "secret": str(tmp_path / "secret"),
        "process": os.getppid(),
        "memory": 2**30,
        "port": 1,
        "abstract": "x",
        "socket": "x",
        "landlock": False,
        "calls": {**denied(platform.machine()), "clone": 0, "clone3": 0},
    }
    found = probe.probes(facts)
    for name in (
        "environment: the agent's word",
        "files: read the host's secret",
        "files: read the accounts",
        "processes: see the host's",
        "signals: reach the host's",
        "sockets: AF_INET",
        "memory: more than all",
        "memory: memfd_create",
        "memory: shmget",
        "files: write in /dev/shm",
    ):
        assert probe.answer(found[name]) == "", name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused so")
def test_root_without_another_id_to_give_is_refused_and_told_what_to_do():
    """A container whose root is the one id it has: `unshare -r` makes such a one."""
    code = "from datasites.sandbox import require_sandbox; require_sandbox()"
    done = subprocess.run(
        ["/usr/bin/unshare", "--map-root-user", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=CODE,
    )
    if "unshare failed" in done.stderr:
        pytest.skip("no user namespace may be made here")
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert "SandboxError" in last
    assert "useradd --system dura" in last

"""One sandbox, one job: waits, gets its job once, ends for good, and leaves no process behind.

The sandboxes are real; the interpreter is replaced by shell scripts that behave as a job might.
The last tests run Dura's own worker with this installation's interpreter.
"""

import dataclasses
import os
import stat
import time
from pathlib import Path

import pytest

from datasites.errors import CleanUpError, OutputError, SandboxError
from datasites.sandbox import (
    Ending,
    Installation,
    JobFolder,
    Limits,
    SandboxProcess,
    UnsafeNoSandbox,
    require_sandbox,
    take_output,
)

MEMORY = 4 * 1024**3


@pytest.fixture
def start(tmp_path):
    """Start a sandbox whose interpreter is a shell script; all are ended after the test."""
    started = []

    def begin(script, *, name="job", wall_s=30.0, program=None, **limits):
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        python = code / f"{name}.sh"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        real = require_sandbox()
        sandbox = SandboxProcess(
            "train",
            folder=JobFolder(tmp_path / name),
            data={},
            installation=program or Installation(real.bwrap, python, (code,)),
            limits=Limits(wall_s=wall_s, memory_bytes=MEMORY, may_fork=True, **limits),
        )
        started.append(sandbox)
        return sandbox

    yield begin
    for sandbox in started:
        sandbox.discard()


WORK = 'read line; test "$line" = go || exit 1; cat /job/in/task > /job/out/answer'


def test_what_a_job_prints_is_for_this_account_alone(start):
    sandbox = start("echo image 7 scored 0.9 >&2; read line")
    assert stat.S_IMODE(sandbox.folder.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(sandbox.folder.root.stat().st_mode) == 0o700


def test_a_job_gets_its_inputs_and_its_output_comes_out(start):
    sandbox = start(WORK)
    assert sandbox.alive
    assert sandbox.poll() is None
    sandbox.dispatch({"task": b"what to do"})
    assert sandbox.wait() is Ending.DONE
    assert not sandbox.alive
    assert (sandbox.folder.outputs / "answer").read_bytes() == b"what to do"
    assert sandbox.profile == "train"


def test_the_worker_is_asked_for_its_profile_in_isolated_mode(start):
    sandbox = start('echo "$@"; read line')
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.DONE
    assert sandbox.folder.log.read_text() == "-I -m datasites.worker train\n"


def test_a_second_job_is_refused(start):
    sandbox = start(WORK)
    sandbox.dispatch({"task": b"first"})
    with pytest.raises(SandboxError, match="one job already"):
        sandbox.dispatch({"task": b"second"})
    sandbox.wait()
    with pytest.raises(SandboxError, match="one job already"):
        sandbox.dispatch({"task": b"third"})
    assert (sandbox.folder.outputs / "answer").read_bytes() == b"first"


def test_a_job_that_fails_says_so_and_its_words_stay_in_its_log(start):
    sandbox = start("read line; echo said; echo complained >&2; exit 3")
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.FAILED
    assert sandbox.folder.log.read_text() == "said\ncomplained\n"


def test_a_job_over_its_time_is_ended(start):
    sandbox = start("read line; sleep 60", wall_s=0.3)
    began = time.monotonic()
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.TIMED_OUT
    assert time.monotonic() - began < 10
    assert not sandbox.alive


def test_waiting_without_a_job_costs_none_of_its_time(start):
    sandbox = start(WORK, wall_s=5.0)
    time.sleep(0.1)
    assert sandbox.poll() is None
    sandbox.dispatch({"task": b""})
    assert sandbox.wait() is Ending.DONE


def test_a_sandbox_that_died_before_its_job_takes_none(start):
    sandbox = start("exec <&-; exit 1")
    until(lambda: not sandbox.alive)
    with pytest.raises(SandboxError, match="ended before its job came"):
        sandbox.dispatch({"task": b"x"})
    assert sandbox.poll() is Ending.FAILED
    sandbox.end()


def test_end_without_a_job_ends_it_and_may_be_called_twice(start):
    sandbox = start("read line; sleep 60")
    sandbox.end()
    sandbox.end()
    assert not sandbox.alive
    assert sandbox.poll() is Ending.FAILED


FAMILY = """
beat() { while :; do echo x >> /job/out/$1; sleep 0.02; done; }
trap '' TERM HUP INT
setsid /bin/sh -c 'while :; do echo x >> /job/out/orphan; sleep 0.02; done' &
(beat child &)
beat parent
"""


def test_a_killed_sandbox_leaves_no_child_not_even_a_detached_one(start):
    sandbox = start(FAMILY)
    out = sandbox.folder.outputs
    until(lambda: all((out / name).exists() for name in ("parent", "child", "orphan")))
    assert processes_of(sandbox)
    sandbox.end()
    until(lambda: not processes_of(sandbox))
    sizes = [path.stat().st_size for path in sorted(out.iterdir())]
    time.sleep(0.2)
    assert [path.stat().st_size for path in sorted(out.iterdir())] == sizes


def test_a_job_that_ends_takes_its_children_with_it(start):
    sandbox = start("setsid sh -c 'while :; do sleep 0.05; done' & read line; exit 0")
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.DONE
    until(lambda: not processes_of(sandbox))


def processes_of(sandbox):
    """Host processes whose file system holds this job's folder (a mount of it), or name it."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes() + (process / "mountinfo").read_bytes()
        except OSError:
            continue
        inside = process.name.isdigit() and f"{sandbox.folder.root.name}/in ".encode() in words
        if inside and str(sandbox.folder.root.parent.name).encode() in words:
            found.append(process.name)
    return found


def until(check, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_jobs_folder_is_private_and_new(start):
    sandbox = start(WORK)
    for folder in (sandbox.folder.root, sandbox.folder.inputs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        start(WORK)


def test_outputs_stay_with_the_agent_when_the_job_is_gone_and_are_never_on_disk(start):
    sandbox = start("read line; echo kept > /job/out/answer; mkdir /tmp/x")
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.DONE
    until(lambda: not processes_of(sandbox))
    assert take_output(sandbox.folder.outputs, "answer", max_bytes=9) == b"kept\n"
    assert {path.name for path in sandbox.folder.root.rglob("*")} == {"in", "out", "log.txt"}
    held, root = sandbox.folder.outputs, sandbox.folder.root
    sandbox.discard()
    assert not held.exists()
    assert not root.exists()
    sandbox.discard()


def test_an_output_that_its_job_made_unreadable_or_a_link_is_not_taken(start):
    sandbox = start("read line; cd /job/out; ln -s /usr/bin/id link; mkfifo pipe; exit 0")
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.DONE
    for name in ("link", "pipe"):
        with pytest.raises(OutputError):
            take_output(sandbox.folder.outputs, name, max_bytes=1000)


def test_what_cannot_be_removed_is_named(start, monkeypatch):
    sandbox = start("exit 0")
    sandbox.wait()

    def refuse(name, **_where):
        raise OSError(16, "busy", name)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", refuse)
        with pytest.raises(CleanUpError, match=r"busy.*rm -r"):
            sandbox.discard()


def test_a_sandbox_that_cannot_be_built_is_an_error_with_its_words(start, tmp_path):
    code = dataclasses.replace(require_sandbox(), code=(tmp_path / "not-there",))
    with pytest.raises(SandboxError, match=r"did not start: .*not-there"):
        start("", program=code)


def test_a_program_that_cannot_be_started_is_a_sandbox_error(start, tmp_path):
    missing = Installation(tmp_path / "no-bwrap", Path("/bin/sh"), ())
    with pytest.raises(SandboxError, match="did not start"):
        start("", program=missing)


def test_an_interpreter_that_the_sandbox_cannot_see_fails_and_is_logged(start, tmp_path):
    hidden = dataclasses.replace(require_sandbox(), code=())
    sandbox = start("", program=dataclasses.replace(hidden, python=tmp_path / "code" / "job.sh"))
    assert sandbox.wait() is Ending.FAILED
    assert "No such file" in sandbox.folder.log.read_text()


def test_duras_own_worker_starts_inside_and_refuses_an_unknown_profile(tmp_path):
    sandbox = SandboxProcess(
        "nonsense",
        folder=JobFolder(tmp_path / "job"),
        data={},
        installation=require_sandbox(),
        limits=Limits(wall_s=60),
    )
    assert sandbox.wait() is Ending.FAILED
    assert "'nonsense' is not a valid Profile" in sandbox.folder.log.read_text()
    sandbox.end()


DEEP = """
name=$(head -c 200 /dev/zero | tr '\\0' a); cd /job/out
i=0; while [ $i -lt 30 ]; do mkdir $name; cd $name; i=$((i+1)); done
"""


@pytest.mark.parametrize(
    "script",
    [
        "i=0; while [ $i -lt 50 ]; do : > /job/out/$i; i=$((i+1)); done; exit 0",
        "mkdir -p /job/out/a/b/c/d/e/f/g/h/i/j/k/l; exit 0",
        "head -c 3000000 /dev/zero > /job/out/big; exit 0",
        "exec 3> /job/out/x; rm /job/out/x; head -c 3000000 /dev/zero >&3; exec sleep 30",
        "cd /job/out; mkdir a; cd a; head -c 3000000 /dev/zero > x; chmod 0 .; exit 0",
        DEEP + "exit 0",
        "i=0; while [ $i -lt 5000 ]; do : > /tmp/$i; i=$((i+1)); done; exit 0",
    ],
    ids=["files", "folders", "bytes", "deleted", "unreadable", "deep", "scratch"],
)
def test_a_job_that_leaves_too_much_is_ended(start, script):
    sandbox = start(f"read line; {script}", files=10, output_bytes=2_000_000)
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.OVER_LIMITS


def test_a_job_that_goes_on_leaving_files_is_ended_while_it_runs(start):
    sandbox = start("read line; while :; do : > /job/out/$((i=i+1)); done", files=100)
    sandbox.dispatch({})
    assert sandbox.wait() is Ending.OVER_LIMITS
    assert not sandbox.alive


def test_without_a_sandbox_the_job_runs_with_its_limits_and_an_empty_environment(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    shard = tmp_path / "shard"
    shard.mkdir()
    (shard / "x").write_text("data")
    script = tmp_path / "job.sh"
    script.write_text(
        "#!/bin/sh\nread line\n"
        'cat "$5/job/in/task" "$5/data/train/x" > "$5/job/out/answer"\n'
        'env > "$5/job/out/env"; ulimit -n > "$5/job/out/files"\n'
    )
    script.chmod(0o755)
    sandbox = SandboxProcess(
        "train",
        folder=JobFolder(tmp_path / "job"),
        data={"train": shard},
        installation=UnsafeNoSandbox(script),
        limits=Limits(wall_s=30, memory_bytes=MEMORY),
    )
    sandbox.dispatch({"task": b"do "})
    assert sandbox.wait() is Ending.DONE
    out = sandbox.folder.outputs
    assert (out / "answer").read_text() == "do data"
    assert "secret" not in (out / "env").read_text()
    assert (out / "files").read_text().strip() == "1024"

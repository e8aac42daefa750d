"""One real study that all tests here look at: three hospitals as processes, one stopped run.

Hospitals A and B approve the plan, C rejects it. `dura study run` is stopped with Ctrl-C in a
process of its own after its first round, and `dura study resume` takes it to its end. Then A
releases its cohort report and withholds the others, and B decides on nothing.
"""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.demo import write_phantoms

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    import datasites.syftnet  # noqa: F401

RESEARCHER = "researcher@university.example"
HOSPITALS = ("A", "B", "C")
PROGRAM = [sys.executable, "-m", "orchestrator.cli"]
SMALL = {
    ("", "round_timeout_s"): 240.0,
    ("train", "steps"): 2,
    ("train", "sampling_rate"): 0.5,
    ("train", "momentum"): 0.0,
    ("generator", "steps"): 1,
    ("generator", "sampling_rate"): 0.2,
    ("generator", "draws"): 1,
    ("generator", "pooled"): "true",
    ("generator", "images_per_class"): 2,
    ("generator", "sampling_steps"): 2,
    ("reports", "cases"): 1,
    ("slots", "first_train_s"): 12.0,
    ("slots", "train_s"): 8.0,
    ("slots", "generate_s"): 12.0,
    ("slots", "pool_s"): 12.0,
    ("slots", "report_s"): 20.0,
    ("strategy", "name"): '"scaffold"',
}


def edited(text, settings):
    """A study.toml with some settings changed by hand, its comments kept."""
    lines, section, left = [], "", dict(settings)
    for line in text.splitlines():
        if heading := re.match(r"\[(\w+)\]", line):
            section = heading[1]
        key = line.split("=")[0].strip()
        lines.append(f"{key} = {left.pop((section, key))}" if (section, key) in left else line)
    assert not left, f"the template has no {sorted(left)}"
    return "\n".join(lines) + "\n"


@dataclass
class Done:
    code: int
    out: str
    err: str


def dura(*words):
    """The command line's own entry point, in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    before, code = sys.argv, 0
    sys.argv = ["dura", *(str(word) for word in words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


def must(*words):
    done = dura(*words)
    assert done.code == 0, f"dura {' '.join(map(str, words))}: {done.err or done.out}"
    return done.out


def mail(name):
    return f"owner@hospital-{name.lower()}.example"


def until(what, check, timeout_s=240.0):
    """Wait for something that another process does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s} s in vain for {what}")


@dataclass
class Shared:
    """The finished study and what was said on the way."""

    root: Path
    agents: dict = field(default_factory=dict)
    said: dict = field(default_factory=dict)
    plan: str = ""
    summary_before_decisions: dict = field(default_factory=dict)

    @property
    def study(self):
        return self.root / "study"

    @property
    def out(self):
        """The run's folder; like a demonstration's, it holds the sites that take part."""
        return self.root / "run"

    @property
    def relay(self):
        return self.root / "relay"

    @property
    def holdout(self):
        return self.root / "data" / "researcher_test"

    @property
    def summary(self):
        return json.loads((self.out / "summary.json").read_text())

    def site(self, name):
        # C takes no part, and an audit of the run would not know its key.
        return (self.root if name == "C" else self.out) / "sites" / name

    def desk(self, name):
        """Rows of a hospital's release desk: item, kind, ..., state."""
        lines = must("site", "releases", "list", self.site(name), "--all").splitlines()[1:]
        return [line.split() for line in lines]


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    study = Shared(tmp_path_factory.mktemp("study"))
    try:
        for step in (_prepare, _serve, _pair, _approve, _run_with_ctrl_c, _decide, _ask_again):
            started = time.monotonic()
            step(study)
            print(f"{step.__name__[1:]}: {time.monotonic() - started:.1f} s")
    finally:
        for agent in study.agents.values():
            agent.send_signal(signal.SIGTERM)
        study.said["agents"] = [agent.wait(timeout=60) for agent in study.agents.values()]
    return study


def _prepare(study):
    write_phantoms(study.root / "phantoms", per_class=68, seed=3)
    must(
        "data", "split", study.root / "phantoms", "--out", study.root / "data",
        "--clients", len(HOSPITALS), "--test", 0.25, "--holdout", 0.1,
    )  # fmt: skip
    study.relay.mkdir()
    for name in HOSPITALS:
        must(
            "site", "init", study.site(name), "--name", name, "--email", mail(name),
            "--relay", study.relay, "--epsilon", 8.0, "--delta", 1e-5, "--image-size", 64,
        )  # fmt: skip
        data = study.root / "data"
        must(
            "site", "ingest", study.site(name), data / f"client_{name}_train",
            "--test", data / f"client_{name}_test",
        )  # fmt: skip


def _serve(study):
    for name in HOSPITALS:
        with (study.root / f"{name}.log").open("wb") as log:
            study.agents[name] = subprocess.Popen(
                [*PROGRAM, "site", "serve", str(study.site(name))],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _pair(study):
    init = (
        "study", "init", study.study, "--name", "tumours", "--email", RESEARCHER,
        "--relay", study.relay, "--hospitals", ",".join(mail(name) for name in HOSPITALS),
        "--rounds", 2, "--model", "small_cnn",
    )  # fmt: skip
    study.said["init"] = must(*init)
    study.said["init again"] = dura(*init)
    path = study.study / "study.toml"
    path.write_text(edited(path.read_text(), SMALL))
    study.said["run before submit"] = dura("study", "run", study.study, "--test", study.root)
    study.said["resume before run"] = dura("study", "resume", study.study)
    study.said["status before"] = must("study", "status", study.study)
    study.said["pair asked"] = must("study", "pair", study.study)
    own = study.said["pair asked"].splitlines()[0].rsplit(" ", 1)[-1]
    pins = []
    for name in HOSPITALS:
        mark = must("site", "fingerprint", study.site(name)).split()[-1]
        until(f"{name} to hear of the researcher", lambda n=name: RESEARCHER in must(
            "site", "peers", study.site(n)
        ))  # fmt: skip
        study.said[f"wrong fingerprint {name}"] = dura(
            "site", "pair", study.site(name), RESEARCHER, mark, "--as", "owner"
        )
        must("site", "pair", study.site(name), RESEARCHER, own, "--as", f"owner-{name}")
        pins += ["--pin", f"{mail(name)}={mark}"]
    crossed = pins[1].split("=")[0] + "=" + pins[3].split("=")[1]
    study.said["crossed pin"] = dura("study", "pair", study.study, "--pin", crossed)
    study.said["half pin"] = dura("study", "pair", study.study, "--pin", mail("A"))
    study.said["pair answered"] = must("study", "pair", study.study)
    study.said["pinned"] = must("study", "pair", study.study, *pins)


def _approve(study):
    study.said["check"] = must("study", "check", study.study)
    study.said["submit"] = must("study", "submit", study.study)
    study.plan = study.said["submit"].split()[1]
    for name in HOSPITALS:
        until(f"the plan at {name}", lambda n=name: study.plan[:12] in must(
            "site", "requests", study.site(n)
        ))  # fmt: skip
    study.said["run undecided"] = dura(
        "study", "run", study.study, "--test", study.holdout, "--out", study.root / "undecided"
    )
    must(
        "site", "reject", study.site("C"), study.plan[:12], "--as", "owner-C",
        "--reason", "secret-reason-of-C",
    )  # fmt: skip
    # A gives leave for one run more than the plan has rounds, B does not.
    for name, leave in (("A", ("--max-rounds", 3)), ("B", ())):
        must(
            "site", "approve", study.site(name), study.plan[:12], "--as", f"owner-{name}",
            "--reason", "read", "--standing-release", "--accept-synthetic", *leave,
        )  # fmt: skip


def _run_with_ctrl_c(study):
    study.said["run on no test set"] = dura(
        "study", "run", study.study, "--test", study.root / "nowhere", "--out", study.out,
        "--wait-s", 60,
    )  # fmt: skip
    # A shell may have told this process to ignore Ctrl-C; what it starts must not inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(
        [
            *PROGRAM, "study", "run", str(study.study), "--test", str(study.holdout),
            "--out", str(study.out), "--wait-s", "120",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    state = study.out / "state.json"

    def generator_released(name):
        """The run waits for the owners of the generators."""
        assert run.poll() is None, run.communicate()
        for item, kind, *_ in study.desk(name):
            if kind == "generator":
                return must(
                    "site", "releases", "release", study.site(name), item,
                    "--as", f"owner-{name}", "--reason", "its images were looked at",
                )  # fmt: skip
        return ""

    def first_round_kept():
        assert run.poll() is None, run.communicate()
        return state.exists() and json.loads(state.read_text())["rounds_done"] == 1

    try:
        for name in ("A", "B"):
            study.said[f"generator of {name}"] = until(
                f"the generator of {name}", lambda n=name: generator_released(n)
            )
        until("the first round", first_round_kept)
    finally:
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    study.said["interrupted"] = Done(run.returncode, out, err)
    study.said["state at interruption"] = json.loads(state.read_text())
    study.said["reports too early"] = dura("study", "reports", study.study)
    study.said["run again"] = dura(
        "study", "run", study.study, "--test", study.holdout, "--out", study.out
    )
    study.said["resume"] = must("study", "resume", study.study)
    study.summary_before_decisions = study.summary


def _decide(study):
    for item, kind, *_ in study.desk("A"):
        if kind == "hospital":
            desk = ("site", "releases", "release", study.site("A"), item)
            must(*desk, "--as", "owner-A", "--reason", "noised")
        elif kind in ("case", "global"):
            must(
                "site", "releases", "withhold", study.site("A"), item, "--as", "owner-A",
                "--reason", "secret-reason-of-A",
            )  # fmt: skip

    def arrived():
        study.said["reports"] = must("study", "reports", study.study)
        reports = study.summary["reports"]
        return reports["released"] and reports["withheld"]

    if any(row[1] == "hospital" for row in study.desk("A")):
        until("A's decisions to arrive", arrived, timeout_s=30)
    study.said["status after"] = must("study", "status", study.study)
    for name in ("A", "B"):
        study.said[f"site status {name}"] = must("site", "status", study.site(name))


def _ask_again(study):
    """Reports outside the run: A has no budget for them, then has; B gave no leave."""
    ask = ("study", "report", study.study, "--wait-s", 120, "--hospitals")
    study.said["report beyond A's budget"] = must(*ask, mail("A"))
    must(
        "site", "budget", study.site("A"), "--epsilon", 20.0, "--delta", 1e-5, "--as", "owner-A",
        "--reason", "one more report",
    )  # fmt: skip
    study.said["report"] = must(*ask, f"{mail('A')},{mail('B')}")
    for item, kind, *rest in study.desk("A"):
        if kind == "hospital" and "held" in rest:
            must(
                "site", "releases", "release", study.site("A"), item, "--as", "owner-A",
                "--reason", "noised",
            )  # fmt: skip

    def arrived():
        study.said["reports asked"] = must("study", "reports", study.study, "--format", "pdf")
        return list((study.study / "reports").rglob("*.pdf"))

    until("the report that was asked for", arrived, timeout_s=60)


os.environ.setdefault("COLUMNS", "200")


def refused(done, code, *words):
    """One line on standard error, that exit code, and the words that matter in it."""
    assert done.code == code, done.err or done.out
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert done.err.startswith("dura: ")
    for word in words:
        assert word in done.err
    return True


def all_time(status):
    return float(re.search(r"epsilon ([\d.]+) over all time", status)[1])

"""`dura site` and `dura data`: what an owner types, what is done, and one clear line when not.

Proven: the whole owner's path (init, ingest, pair, show, approve, revoke, release) works from the
command line; every wrong input raises an error with its exit code and leaves the site as it was;
the installed program turns that error into one line on standard error.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from PIL import Image
from typer.testing import CliRunner

from datasites.cli import budget, decisions, peers
from datasites.cli import data as data_cli
from datasites.cli import site as site_cli
from datasites.cli.text import amount
from datasites.errors import DatasitesError, PeerKeyError, PlanError, SettingsError
from datasites.plans import (
    DeclaredOutput,
    ModelPart,
    Plan,
    Range,
    ReportPart,
    TrainPart,
    make_bundle,
)
from datasites.site.plan_store import PlanStore, Submission
from datasites.site.site import Site
from models import draw_phantoms

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.syftnet import ResearcherLink
    from datasites.syftnet.client import Participant

CLASSES = ("glioma", "notumor")
RESEARCHER = "r@university.example"
RUNNER = CliRunner()
assert decisions.app is budget.app is peers.app is site_cli.app


def run(*arguments: object) -> str:
    result = RUNNER.invoke(site_cli.app, [str(argument) for argument in arguments])
    assert result.exception is None, result.exception
    return result.output


def fail(*arguments: object) -> DatasitesError:
    result = RUNNER.invoke(site_cli.app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, Exception)
    assert not isinstance(result.exception, SystemExit), result.output
    assert "\n" not in str(result.exception)
    return result.exception


def _phantoms(folder: Path, *, seed: int) -> Path:
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 14), size=48, seed=seed)
    for index, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        target = folder / CLASSES[int(label)]
        target.mkdir(exist_ok=True, parents=True)
        Image.fromarray(np.asarray(image)).save(target / f"{index:03}.png")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of phantoms, one a class."""
    return _phantoms(tmp_path_factory.mktemp("images"), seed=5)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A site made and filled from the command line, with one plan waiting."""
    root = tmp_path_factory.mktemp("cli")
    (root / "relay").mkdir()
    site, held_out = root / "site", _phantoms(root / "held_out", seed=6)
    said = run(
        "init", site, "--name", "A", "--email", "a@hospital.example", "--relay", root / "relay",
        "--classes", "glioma, notumor", "--image-size", "32", "--reviewers", "ann,bob",
        "--epsilon", "20",
    )  # fmt: skip
    assert "epsilon 20.0 at delta 1e-05 per privacy unit" in said
    assert "data: none yet" in run("status", site)
    said = run("ingest", site, images, "--test", held_out)
    assert "noised" in said
    assert "nothing was spent" in run("ingest", site, images, "--test", held_out)
    return root


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "world")
    path = tmp_path / "world" / "site" / "site.toml"
    values = tomllib.loads(path.read_text())
    values["relay"] = (tmp_path / "world" / "relay").as_uri()
    path.write_text(tomli_w.dumps(values))
    return path.parent


def _plan(**fields: object) -> Plan:
    train = TrainPart(
        steps=1,
        sampling_rate=0.5,
        noise_multiplier=5.0,
        clipping_norm=1.0,
        learning_rate=Range(low=0.0, high=1.0),
    )
    base = {
        "study": "study",
        "researcher": RESEARCHER,
        "classes": CLASSES,
        "rounds": 2,
        "model": ModelPart(name="small_cnn", image_size=32),
        "train": train,
        "reports": ReportPart(cases=1, metrics_noise_multiplier=5.0),
        "outputs": (
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),
        ),
    }
    return Plan(**{**base, **fields})


@pytest.fixture
def submit(site: Path):
    def keep(plan: Plan, model_text: str | None = None) -> str:
        bundle = make_bundle(plan, model_text)
        PlanStore(Site.open(site)).add(
            Submission(bundle, RESEARCHER, "0000", "plan-1", "2026-01-01T00:00:00.000Z")
        )
        return bundle.sha256

    return keep


@pytest.mark.parametrize("what", ["plan", "submission", "decision"])
def test_a_plan_altered_on_disk_is_shown_as_altered(site, submit, what):
    altered, other = submit(_plan()), submit(_plan(study="other"))
    run("approve", site, altered, "--as", "ann")
    paths = {
        "plan": site / "plans" / altered / "plan.json",
        "submission": site / "plans" / altered / "submission.json",
        "decision": site / "approvals" / f"{altered}.json",
    }
    assert paths[what].exists(), list((site / "plans" / altered).iterdir())
    paths[what].write_text(paths[what].read_text().replace("{", "[", 1))
    said = run("requests", site)
    row = next(line for line in said.splitlines() if line.startswith(altered[:12]))
    assert "ALTERED, will not run" in row
    assert "ALTERED: " in said
    assert "waits for a decision" in next(
        line for line in said.splitlines() if line.startswith(other[:12])
    )


def test_a_plan_is_shown_approved_and_revoked(site, submit):
    sha = submit(_plan())
    assert "plans to decide on: 1" in run("status", site)
    assert "waits for a decision" in run("requests", site)
    shown = run("show", site, sha[:8])
    assert '"noise_multiplier": 5.0' in shown
    assert "no plan of this study was approved here before" in shown
    assert "this plan alone: epsilon" in shown
    assert "left " in shown
    assert "warning unnoised_output: up to 1 case reports" in shown
    assert "holds   shared_seed: a plan has no word for a seed" in shown
    terms = ("--days", "3", "--max-rounds", "1", "--accept-synthetic")
    said = run("approve", site, sha[:8], "--as", "ann", *terms)
    assert "synthetic images are accepted beforehand, whatever they show" in said
    assert "approved by ann" in said
    assert "at most 1 rounds" in said
    assert "only when released" in said
    assert "approved by ann" in run("requests", site)
    assert "revoked" in run("revoke", site, sha, "--as", "bob", "--reason", "done")
    assert "revoked by ann" in run("requests", site)
    entries = [sealed.entry.kind.value for sealed in Site.open(site).ledger.entries()]
    assert entries[-2:] == ["plan_approved", "approval_revoked"]


def test_a_plan_that_voids_epsilon_cannot_be_approved(site, submit):
    sha = submit(_plan(model=ModelPart(name="model.py", image_size=32)), "import os\n")
    assert "void    per_sample_gradient: a per-sample gradient is wrong" in run("show", site, sha)
    refusal = str(fail("approve", site, sha, "--as", "ann"))
    assert "epsilon would be fiction" in refusal
    assert "[per_sample_gradient]" in refusal
    assert "waits for a decision" in run("requests", site)


def test_what_changed_since_the_last_approval_is_shown(site, submit):
    run("approve", site, submit(_plan()), "--as", "ann", "--standing-release")
    shown = run("show", site, submit(_plan(rounds=3)))
    assert '-  "rounds": 2' in shown
    assert '+  "rounds": 3' in shown


def test_a_quorum_must_agree_on_the_same_terms(site, submit):
    path = site / "site.toml"
    path.write_text(path.read_text().replace("quorum = 1", "quorum = 2"))
    sha = submit(_plan())
    assert "1 more reviewer(s) must agree" in run("approve", site, sha, "--as", "ann")
    assert "already" in str(fail("approve", site, sha, "--as", "ann"))
    assert "other terms" in str(fail("approve", site, sha, "--as", "bob", "--standing-release"))
    assert "approved by ann, bob" in run("approve", site, sha, "--as", "bob")
    assert "use `dura site revoke`" in str(
        fail("reject", site, sha, "--as", "ann", "--reason", "x")
    )


def test_a_rejection_needs_a_reason_and_is_final(site, submit):
    sha = submit(_plan())
    assert "say why" in str(fail("reject", site, sha, "--as", "ann", "--reason", " "))
    assert "rejected" in run("reject", site, sha, "--as", "ann", "--reason", "too much")
    assert "rejected already" in str(fail("reject", site, sha, "--as", "ann", "--reason", "x"))
    assert "rejected or revoked" in str(fail("approve", site, sha, "--as", "ann"))
    assert "nothing to revoke" in str(fail("revoke", site, sha, "--as", "ann", "--reason", "x"))


def test_the_option_without_which_nothing_is_decided(site, submit):
    result = RUNNER.invoke(site_cli.app, ["reject", str(site), submit(_plan()), "--as", "ann"])
    assert result.exit_code == 2
    assert "--reason" in result.output


def test_only_reviewers_decide(site, submit):
    sha = submit(_plan())
    assert "not a reviewer here" in str(fail("approve", site, sha, "--as", "eve"))
    assert "say who decides" in str(fail("approve", site, sha, "--as", " "))
    run("approve", site, sha, "--as", "ann")
    assert "say why" in str(fail("revoke", site, sha, "--as", "ann", "--reason", ""))


def test_a_plan_that_does_not_fit_is_not_approved(site, submit):
    other = submit(_plan(classes=("glioma", "pituitary")))
    assert "the shard has" in str(fail("approve", site, other, "--as", "ann"))
    loud = _plan(train=_plan().train.model_copy(update={"noise_multiplier": 0.2, "steps": 500}))
    sha = submit(loud)
    shown = run("show", site, sha)
    assert "DOES NOT FIT" in shown
    assert "below 0.5" in shown
    assert "does not fit the budget" in str(fail("approve", site, sha, "--as", "ann"))


@pytest.mark.parametrize("command", ["show", "approve", "reject", "revoke"])
@pytest.mark.parametrize("plan", ["abcdef0123", "abc", "../../etc", "*"])
def test_an_unknown_plan_is_named(site, command, plan):
    options = [] if command == "show" else ["--as", "ann", "--reason", "x"]
    error = fail(command, site, plan, *options)
    assert isinstance(error, PlanError)
    assert (error.exit_code, plan in str(error)) == (2, True)


def test_the_budget_is_changed_in_the_open(site):
    whose = ("--as", "ann", "--reason", "less")
    said = run("budget", site, "--epsilon", "3", *whose)
    assert "hospital: epsilon 3 at delta 1e-05 per near-duplicate group, add or remove one" in said
    assert "spent or reserved of epsilon 3 at delta 1e-05" in run("status", site)
    assert amount(float("inf")) == "infinite"


def test_caps_windows_and_resets_are_shown(site):
    whose = ("--as", "ann", "--reason", "board 7")
    run("budget", site, "--epsilon", "2", "--researcher", "r@x.org", *whose)
    run("budget", site, "--epsilon", "1", "--study", "brain", "--window-days", "30", *whose)
    said = run("budget", site, "--epsilon", "9", "--reset", *whose)
    assert "nothing that left came back" in said
    shown = run("status", site)
    assert "budget of the researcher r@x.org: epsilon" in shown
    assert "of epsilon 1 at delta 1e-05 in any 30 days" in shown
    assert "over all time" in shown
    entry = list(Site.open(site).ledger.entries())[-1].entry
    assert (entry.action, entry.reason, entry.actor) == ("reset budget", "board 7", "ann")
    both = ("--study", "b", "--researcher", "r@x.org")
    assert "not both" in str(fail("budget", site, "--epsilon", "2", *both, *whose))
    assert "only the hospital" in str(
        fail("budget", site, "--epsilon", "2", "--study", "b", "--reset", *whose)
    )


def test_people_are_paired_by_fingerprint(site):
    root = site.parent
    who = Participant(RESEARCHER, (root / "relay").as_uri(), root / "box", root / "keys", False)
    link = ResearcherLink(who)
    link.request("a@hospital.example")
    assert "asks to be paired" in run("peers", site)
    error = fail("pair", site, RESEARCHER, "0000-1111", "--as", "ann")
    assert isinstance(error, PeerKeyError)
    assert error.exit_code == 6
    said = run("pair", site, RESEARCHER, link.fingerprint, "--as", "ann")
    assert run("fingerprint", site).strip() in said
    assert "paired" in run("peers", site)


SITE_COMMANDS = [
    ("status",), ("requests",), ("show", "abcdef"), ("peers",),
    ("approve", "abcdef", "--as", "a"), ("budget", "--epsilon", "1", "--as", "a", "--reason", "r"),
]  # fmt: skip


@pytest.mark.parametrize("command", SITE_COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("state", ["missing", "no site", "half-written", "misspelt", "not text"])
def test_what_is_not_a_site_is_refused(tmp_path, command, state):
    folder = tmp_path / "folder"
    if state != "missing":
        folder.mkdir()
    content = {
        "half-written": b'name = "A"\nema',
        "misspelt": b'name = "A"\nemial = "a@b.c"',
        "not text": b"\xff\xfe",
    }.get(state)
    if content is not None:
        (folder / "site.toml").write_bytes(content)
    error = fail(command[0], folder, *command[1:])
    assert isinstance(error, SettingsError)
    assert str(folder) in str(error)
    assert ("mend it by hand" in str(error)) is (content is not None)


def test_a_site_is_not_made_over_something_or_with_wrong_settings(tmp_path, site):
    options = ("--name", "A", "--email", "a@hospital.example", "--relay", tmp_path)
    assert "not empty" in str(fail("init", site, *options))
    wrong = ("--name", "A", "--email", "nobody", "--relay", tmp_path)
    assert "email" in str(fail("init", tmp_path / "new", *wrong))
    few = (*options, "--reviewers", "ann", "--quorum", "2")
    assert "quorum" in str(fail("init", tmp_path / "new", *few))
    assert not (tmp_path / "new").exists()
    assert site_cli.relay_url("s3://bucket/relay") == "s3://bucket/relay"


def test_an_ingest_of_nothing_changes_nothing(site, tmp_path):
    before = (site / "ledger.jsonl").read_bytes()
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        assert str(fail("ingest", site, folder))
    assert (site / "ledger.jsonl").read_bytes() == before


def test_a_site_without_budget_left_takes_nothing_in(tmp_path, images):
    (tmp_path / "relay").mkdir()
    run("init", tmp_path / "s", "--name", "A", "--email", "a@hospital.example", "--relay",
        tmp_path / "relay", "--classes", "glioma,notumor", "--image-size", "32",
        "--epsilon", "0.001")  # fmt: skip
    assert "budget" in str(fail("ingest", tmp_path / "s", images))
    assert "data: none yet" in run("status", tmp_path / "s")


def test_data_are_divided(images, tmp_path):
    arguments = [str(images), "--out", str(tmp_path / "out"), "--clients", "2"]
    result = RUNNER.invoke(data_cli.app, ["split", *arguments])
    assert result.exception is None
    assert (tmp_path / "out" / "client_A_train").is_dir()
    again = RUNNER.invoke(data_cli.app, ["split", *arguments])
    assert again.exception is not None


@pytest.mark.parametrize("command", [("site", "status"), ("site", "releases", "list")])
def test_the_program_says_one_line(tmp_path, command):
    program = [sys.executable, "-m", "orchestrator.cli", *command, str(tmp_path / "none")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("dura: ")
    assert "dura site init" in done.stderr


def test_a_served_site_ends_when_told(site):
    program = [sys.executable, "-m", "orchestrator.cli", "site", "serve", str(site)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        try:
            assert b"is served" in agent.stdout.readline()
            second = subprocess.run(program, capture_output=True, check=False, timeout=120)
            assert (second.returncode, b"another agent" in second.stderr) == (2, True)
            agent.terminate()
            assert agent.wait(timeout=60) == 0
        finally:
            agent.kill()

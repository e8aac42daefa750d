"""A study on an encoder of the researcher's making, over two hospitals as processes.

A was handed the encoder's folder, B was not. B cannot approve. Between A's approval and the run its
copy is altered: its job is refused before anything is spent, and the run stops for want of a
quorum. Once the copy is put back, the run is resumed to its end, reports and evaluation included.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models import encoder_sha256, load_model_file
from models.encoder.card import WEIGHTS_FILE
from models.training_scripts.tiny_encoder import write_random
from orchestrator.demo import write_phantoms
from tests.end_to_end.conftest import PROGRAM, all_time, dura, edited, mail, must, refused, until

RESEARCHER = "ann@university.example"
SMALL = {
    ("", "quorum"): 1,
    ("", "round_timeout_s"): 240.0,
    ("model", "image_size"): 64,
    ("reports", "cases"): 1,
    ("strategy", "average_last"): 1,
}


@dataclass
class Held:
    """The finished study and what was said on the way."""

    root: Path
    said: dict = field(default_factory=dict)
    agents: list = field(default_factory=list)
    plan: str = ""

    def at(self, *names):
        return self.root.joinpath(*names)

    def copy(self, name):
        """A hospital's own copy of the encoder."""
        return self.at(f"encoder_of_{name}")


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    world = Held(tmp_path_factory.mktemp("encoder_study"))
    try:
        for step in (_encoder, _hospitals, _pair, _approve, _run):
            started = time.monotonic()
            step(world)
            print(f"{step.__name__[1:]}: {time.monotonic() - started:.1f} s")
    finally:
        for agent in world.agents:
            agent.send_signal(signal.SIGTERM)
        for agent in world.agents:
            agent.wait(timeout=60)
    return world


def _encoder(world):
    weights = write_random(world.at("random.safetensors"))
    world.said["encoder"] = must(
        "study", "encoder", world.at("encoder"), "--backbone", "mobilenet_v3_small",
        "--weights", weights, "--saw", "nothing, they are random", "--dimension", 8,
        "--phantoms", 32,
    )  # fmt: skip
    shutil.copytree(world.at("encoder"), world.copy("A"))


def _hospitals(world):
    write_phantoms(world.at("phantoms"), per_class=24, seed=3)
    must(
        "data", "split", world.at("phantoms"), "--out", world.at("data"), "--clients", 2,
        "--test", 0.25, "--holdout", 0.2,
    )  # fmt: skip
    world.at("relay").mkdir()
    for name in "AB":
        site = world.at(name)
        must(
            "site", "init", site, "--name", name, "--email", mail(name),
            "--relay", world.at("relay"), "--epsilon", 8.0, "--delta", 1e-5, "--image-size", 64,
        )  # fmt: skip
        train, test = (world.at("data", f"client_{name}_{part}") for part in ("train", "test"))
        must("site", "ingest", site, train, "--test", test)
    settings = world.at("A", "site.toml")
    text = settings.read_text()
    assert 'encoder = ""' in text
    settings.write_text(text.replace('encoder = ""', f'encoder = "{world.copy("A")}"'))
    for name in "AB":
        with (world.at(f"{name}.log")).open("wb") as log:
            world.agents.append(
                subprocess.Popen(
                    [*PROGRAM, "site", "serve", str(world.at(name))],
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )


def _pair(world):
    must(
        "study", "init", world.at("study"), "--name", "tumours", "--email", RESEARCHER, "--relay",
        world.at("relay"), "--hospitals", f"{mail('A')},{mail('B')}", "--rounds", 1,
        "--encoder", world.at("encoder"),
    )  # fmt: skip
    path = world.at("study", "study.toml")
    path.write_text(edited(path.read_text(), SMALL))
    own = must("study", "pair", world.at("study")).splitlines()[0].rsplit(" ", 1)[-1]
    pins = []
    for name in "AB":
        site = world.at(name)
        mark = must("site", "fingerprint", site).split()[-1]
        until(f"{name} to be asked", lambda site=site: RESEARCHER in must("site", "peers", site))
        must("site", "pair", site, RESEARCHER, own, "--as", f"owner-{name}")
        pins += ["--pin", f"{mail(name)}={mark}"]
    must("study", "pair", world.at("study"), *pins)


def _approve(world):
    world.said["check"] = must("study", "check", world.at("study"))
    world.plan = must("study", "submit", world.at("study")).split()[1]
    for name in "AB":
        site, plan = world.at(name), world.plan[:12]
        until(f"the plan at {name}", lambda s=site, p=plan: p in must("site", "requests", s))
        world.said[f"show {name}"] = must("site", "show", site, plan)
        world.said[f"approve {name}"] = dura(
            "site", "approve", site, plan, "--as", f"owner-{name}", "--reason", "read",
            "--standing-release",
        )  # fmt: skip


def _run(world):
    run = (
        "study", "run", world.at("study"), "--test", world.at("data", "researcher_test"),
        "--out", world.at("out"),
    )  # fmt: skip
    weights = world.copy("A") / WEIGHTS_FILE
    whole = weights.read_bytes()
    until("A's decision", lambda: "approved" in must("study", "status", world.at("study")))
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    world.said["run, altered at A"] = dura(*run)
    world.said["status, altered at A"] = must("site", "status", world.at("A"))
    weights.write_bytes(whole)
    world.at("encoder").rename(world.at("away"))
    world.said["resume without"] = dura("study", "resume", world.at("study"))
    world.at("away").rename(world.at("encoder"))
    world.said["resume"] = must("study", "resume", world.at("study"))
    world.said["desk"] = must("site", "releases", "list", world.at("A"), "--all")


def test_the_check_rehearsed_on_the_encoder_and_showed_what_it_saw(held):
    assert "nothing, they are random" in held.said["check"]
    assert "rehearsed train" in held.said["check"]


def test_only_who_holds_the_encoder_could_approve(held):
    assert held.said["approve A"].code == 0
    assert "nothing, they are random" in held.said["show A"]
    assert "cannot be used here" in held.said["show B"]
    assert refused(held.said["approve B"], 2, "set encoder in site.toml")
    assert not (held.at("B", "private", "features")).exists()


def test_an_altered_copy_stopped_the_run_and_cost_nothing(held):
    done = held.said["run, altered at A"]
    assert done.code == 5
    assert "encoder_missing" in done.err.splitlines()[-1]
    assert all_time(held.said["status, altered at A"]) < 0.5  # what the card's counts cost


def test_a_run_is_not_resumed_without_the_researchers_copy(held):
    assert refused(held.said["resume without"], 2, "model.encoder in study.toml", "put the folder")


def test_the_head_was_trained_scored_and_reported_on(held):
    assert held.said["resume"].startswith("done: accuracy")
    summary = json.loads((held.at("out", "summary.json")).read_text())
    assert summary["hospitals"] == [mail("A")]
    assert set(summary["hospital_evaluations"]) == {mail("A")}
    assert "hospital" in held.said["desk"]
    (kept,) = (held.at("A", "private", "features")).rglob("*.npy")
    assert kept.name == f"features-{encoder_sha256(held.at('encoder'))}.npy"


def test_the_model_is_evaluated_on_its_encoder_and_on_no_other(held):
    model = held.at("out", "model.safetensors")
    state, about = load_model_file(model)
    assert about["encoder_sha256"] == encoder_sha256(held.at("encoder"))
    assert state["head.weight"].norm() > 0
    words = ("study", "evaluate", "--model", model, "--data", held.at("data", "researcher_test"))
    found = json.loads(must(*words, "--encoder", held.at("encoder"), "--json"))
    summary = json.loads((held.at("out", "summary.json")).read_text())
    assert found["accuracy"] == summary["test_accuracy"]
    assert refused(dura(*words), 2, "--encoder FOLDER")
    assert refused(dura(*words, "--encoder", held.at("relay")), 2, "not an encoder's card")


def test_the_encoder_travelled_to_nobody(held):
    weights = (held.at("encoder") / WEIGHTS_FILE).read_bytes()
    for path in [*held.at("relay").rglob("*"), *held.at("out").rglob("*")]:
        assert not path.is_file() or weights[-4096:] not in path.read_bytes()

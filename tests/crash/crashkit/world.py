"""Three hospitals, a researcher and a relay, made once and copied for every death.

A's and B's approvals let DP weights leave at once; C's owner releases each update by hand, so that
a round has every kind of step: agents, sandboxes, an owner's decisions, and the orchestrator.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tomli_w

from datasites.agent import Agent
from datasites.ingest import make_shard, save_shard
from datasites.owner import intake
from datasites.owner.pairing import participant
from datasites.owner.plan_review import Terms, approve
from datasites.site.settings import make_settings
from datasites.site.site import Site
from datasites.syftnet import OwnerLink
from models import draw_phantoms
from orchestrator.demo import write_phantoms
from orchestrator.hospitals.submission import Submissions
from orchestrator.study.recipes import recipe_for
from orchestrator.study.study import STUDY_FILE
from orchestrator.study.template import study_template
from privacy import Budget

HOSPITALS = ("A", "B", "C")
CLASSES = ("glioma", "notumor")
RESEARCHER = "researcher@university.example"
ROUNDS = 2
PATIENCE_S = 600.0  # a busy machine is no failure; nobody who waits that long is merely slow


def mail(name: str) -> str:
    return f"owner@hospital-{name.lower()}.example"


def _edit(path: Path, **values: object) -> None:
    found = tomllib.loads(path.read_text())
    path.write_text(tomli_w.dumps({**found, **values}))


@dataclass
class World:
    """One copy of the prepared folders."""

    root: Path

    @property
    def relay(self) -> Path:
        return self.root / "relay"

    @property
    def study(self) -> Path:
        return self.root / "study"

    @property
    def out(self) -> Path:
        return self.root / "run"

    @property
    def test(self) -> Path:
        return self.root / "test"

    def site(self, name: str) -> Path:
        return self.root / "sites" / name

    def copy(self, root: Path) -> World:
        """The same world at another place."""
        shutil.copytree(self.root, root)
        made = World(root)
        url = made.relay.as_uri()
        for name in HOSPITALS:
            _edit(made.site(name) / "site.toml", relay=url)
        _edit(made.study / STUDY_FILE, relay=url)
        return made


SLOT_S = 0.5
"""Of every job; what stands in for the trainer works at once."""


def prepare(root: Path) -> World:
    """Sites with data, paired; a study, submitted, approved, and its decisions known."""
    world = World(root)
    world.relay.mkdir(parents=True)
    write_phantoms(world.test, per_class=2, seed=9)
    for extra in {path.name for path in world.test.iterdir()} - set(CLASSES):
        shutil.rmtree(world.test / extra)
    links = {}
    for number, name in enumerate(HOSPITALS):
        site = _site(world, name, seed=number)
        links[name] = OwnerLink(participant(site), lambda _peer, _code: None)
    world.study.mkdir()
    _write_study(world)
    office = Submissions(world.study)
    link = office.researcher.link
    for name, owner in links.items():
        link.request(mail(name))
        owner.approve_peer(RESEARCHER, link.fingerprint)
        link.pin(mail(name), owner.fingerprint)
    bundle = office.submit()
    for name in HOSPITALS:
        site = Site.open(world.site(name))
        agent = Agent(site)
        agent.step()
        terms = Terms(standing_release=name != "C", max_rounds=2 * ROUNDS)
        approve(site, bundle.sha256, reviewer="ann", reason="read", terms=terms)
        agent._outbox.send_due(agent._link.paired(), agent._book)
        agent.close()
    office.researcher.collect()
    assert all(office.researcher.decision(mail(name), bundle) for name in HOSPITALS)
    return world


def _site(world: World, name: str, *, seed: int) -> Site:
    settings = make_settings(
        name=name, email=mail(name), relay=world.relay.as_uri(), classes=CLASSES, image_size=32,
        poll_s=0.1,
    )  # fmt: skip
    site = Site.create(
        world.site(name), settings, budget=Budget(epsilon=30.0, delta=1e-5), actor="owner"
    )
    (site.root / "private").mkdir(mode=0o700)
    for part, count in (("train", 8), ("test", 2)):
        drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, count), size=32, seed=seed)
        shard = make_shard(
            images=drawn.images,
            labels=drawn.labels,
            units=np.arange(len(drawn.labels)),
            classes=CLASSES,
            rules="phantoms",
        )
        if part == "train":
            card = intake._charge_card(site, shard, actor="owner")
        save_shard(shard, site.shard(part))
    # A count that is not the luck of the draw: the plan's cost does not depend on it.
    (site.root / "card.json").write_text(card.model_copy(update={"units": 16.0}).model_dump_json())
    return site


def _write_study(world: World) -> None:
    text = study_template(
        name="crash", email=RESEARCHER, relay=world.relay.as_uri(),
        hospitals=[mail(name) for name in HOSPITALS], epsilon=8.0, delta=1e-5,
        recipe=recipe_for("small_cnn", rounds=ROUNDS),
    )  # fmt: skip
    values = tomllib.loads(text)
    # Rounds alone: what makes a crash matter is the same for every kind of job.
    del values["generator"], values["reports"]
    values |= {"classes": list(CLASSES), "quorum": 2, "round_timeout_s": PATIENCE_S}
    values["model"]["image_size"] = 32
    values["slots"] = dict.fromkeys(values["slots"], SLOT_S)
    values["train"] |= {"steps": 2, "sampling_rate": 0.5, "synthetic_weight": 0.0}
    (world.study / STUDY_FILE).write_text(tomli_w.dumps(values))


@dataclass
class Zygote:
    """The program that starts processes; see `zygote.py`."""

    folder: Path
    program: subprocess.Popen = field(init=False)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "zygote.log").open("wb") as log:
            self.program = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("zygote.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._read() == {"ready": True}

    def start(self, **order: object) -> int:
        """A new process; returns its id."""
        return self._ask(order)["pid"]

    def ended(self, pid: int) -> int | None:
        """How a process ended, None while it runs; negative when a signal ended it."""
        return self._ask({"pid": pid})["ended"]

    def wait(self, pid: int, timeout_s: float = PATIENCE_S) -> int | None:
        """How a process ended, None when it did not in time."""
        deadline = time.monotonic() + timeout_s
        while (code := self.ended(pid)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return code

    def close(self) -> None:
        """End it, and with it all that it started."""
        self.program.stdin.close()
        self.program.wait(timeout=PATIENCE_S)
        self.program.stdout.close()

    def _ask(self, order: dict) -> dict:
        with self.turn:
            self.program.stdin.write(json.dumps(order) + "\n")
            self.program.stdin.flush()
            return self._read()

    def _read(self) -> dict:
        line = self.program.stdout.readline()
        assert line, (self.folder / "zygote.log").read_text()[-3000:]
        return json.loads(line)

"""A small real hospital and a real researcher over a folder relay, agents stepped by hand.

One site is made for the whole session and copied for each test: keys, shards, ledger and pairing
are real. The relay's folder is copied with it, at the same place relative to the site.
"""

from __future__ import annotations

import shutil
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import tomli_w
import torch

from datasites.ingest import Shard, make_shard, save_shard
from datasites.owner.plan_review import Terms, approve
from datasites.plans import (
    Bundle,
    DeclaredOutput,
    GeneratorPart,
    ModelPart,
    Plan,
    Range,
    ReportPart,
    Task,
    TrainPart,
    TrainTask,
    make_bundle,
    task_bytes,
)
from datasites.plans.answers import Answer
from datasites.sandbox import Ending, JobFolder
from datasites.site.settings import make_settings
from datasites.site.site import Site
from datasites.worker.protocol import NOISE_ONLY, Result
from models import draw_phantoms, initial_weights, weights_to_bytes
from privacy import Budget, sha256_hex

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.agent import Agent
    from datasites.agent.request_store import RequestState
    from datasites.owner.pairing import participant
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant

torch.set_num_threads(1)

CLASSES = ("glioma", "notumor")
HOSPITAL = "a@hospital.example"
RESEARCHER = "r@university.example"


@dataclass
class World:
    """A hospital, its researcher and the relay between them."""

    root: Path
    plan: Plan
    weights: bytes
    agents: list[Agent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.site = Site.open(self.root / "site")
        self.link = ResearcherLink(_researcher(self.root))
        self.bundle: Bundle = make_bundle(self.plan, None)

    def start(self) -> Agent:
        agent = Agent(Site.open(self.root / "site"))
        self.agents.append(agent)
        return agent

    def submit(self, job: str, **files: bytes) -> None:
        named = {name.replace("__", "."): data for name, data in files.items()}
        self.link.submit(site=HOSPITAL, job=job, files=named)

    def submit_plan(self, bundle: Bundle | None = None) -> None:
        self.bundle = bundle or self.bundle
        self.link.submit(site=HOSPITAL, job="plan-1", files=self.bundle.files)

    def approve(self, **terms: object) -> None:
        approve(
            self.site,
            self.bundle.sha256,
            reviewer="ann",
            reason="internal words",
            terms=Terms(**{"standing_release": True, **terms}),
        )

    def task(self, request: str = "t1", **fields: object) -> TrainTask:
        base = {
            "request": request,
            "plan_sha256": self.bundle.sha256,
            "round": 1,
            "weights_sha256": sha256_hex(self.weights),
            "steps": 1,
            "learning_rate": 0.1,
        }
        return TrainTask.model_validate({**base, **fields})

    def ask(
        self,
        task: Task,
        job: str | None = None,
        *,
        weights: bytes = b"",
        correction: bytes | None = None,
    ) -> None:
        files = {"task.json": task_bytes(task)}
        if correction is not None:
            files["correction.safetensors"] = correction
        if hasattr(task, "weights_sha256"):
            files["weights.safetensors"] = weights or self.weights
        self.link.submit(site=HOSPITAL, job=job or task.request, files=files)

    def answers(self, job: str) -> dict[str, bytes]:
        self.link.collect()
        return self.link.received(HOSPITAL, job)

    def answer(self, job: str) -> Answer | None:
        data = self.answers(job).get("answer.json")
        return None if data is None else Answer.model_validate_json(data)

    def kinds(self) -> list[str]:
        return [sealed.entry.kind.value for sealed in self.site.ledger.entries()]

    def refuse(self, task: Task) -> Answer:
        """Ask, step, and return the refusal; no spend may have been reserved for it."""
        before = self.kinds().count("spend_reserved")
        self.ask(task)
        self.agents[-1].step()
        deadline = time.monotonic() + 120
        while self.agents[-1]._warm._awaited is not None and time.monotonic() < deadline:
            time.sleep(0.05)
            self.agents[-1].step()
        assert self.kinds().count("spend_reserved") == before
        answer = self.answer(task.request)
        assert answer is not None
        return answer


def _researcher(root: Path) -> Participant:
    return Participant(
        email=RESEARCHER,
        relay_url=(root / "relay").as_uri(),
        syftbox=root / "researcher" / "syftbox",
        own_folder=root / "researcher" / "keys",
        is_site=False,
    )


def _shard(per_class: int, seed: int) -> Shard:
    import numpy as np

    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, per_class), size=32, seed=seed)
    return make_shard(
        images=drawn.images,
        labels=drawn.labels,
        units=np.arange(len(drawn.labels)),
        classes=CLASSES,
        rules="phantoms",
    )


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan(
        study="study",
        researcher=RESEARCHER,
        classes=CLASSES,
        rounds=2,
        model=ModelPart(name="small_cnn", image_size=32),
        train=TrainPart(
            steps=2,
            sampling_rate=0.5,
            noise_multiplier=5.0,
            clipping_norm=1.0,
            learning_rate=Range(low=0.0, high=1.0),
        ),
        reports=ReportPart(cases=2, metrics_noise_multiplier=5.0),
        outputs=(
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),
            DeclaredOutput(name="reports.json", kind="report", max_bytes=100_000),
        ),
    )


@pytest.fixture(scope="session")
def generator() -> GeneratorPart:
    return GeneratorPart(
        steps=1,
        sampling_rate=0.5,
        noise_multiplier=5.0,
        clipping_norm=1.0,
        learning_rate=1e-3,
        image_size=16,
        images_per_class=1,
        sampling_steps=1,
    )


@pytest.fixture(scope="session")
def weights() -> bytes:
    return weights_to_bytes(
        initial_weights("small_cnn", text=None, classes=2, image_size=32, seed=1)
    )


@pytest.fixture(scope="session")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with data, paired with a researcher."""
    from datasites.owner import intake

    root = tmp_path_factory.mktemp("world")
    (root / "relay").mkdir()
    settings = make_settings(
        name="A", email=HOSPITAL, relay=(root / "relay").as_uri(), classes=CLASSES, image_size=32
    )
    site = Site.create(
        root / "site", settings, budget=Budget(epsilon=20.0, delta=1e-5), actor="owner"
    )
    shard = _shard(8, 1)
    (site.root / "private").mkdir(mode=0o700)
    card = intake._charge_card(site, shard, actor="owner")
    save_shard(shard, site.shard("train"))
    save_shard(_shard(2, 2), site.shard("test"))
    # A count that is not the luck of the draw: the plan's cost does not depend on it.
    (site.root / "card.json").write_text(card.model_copy(update={"units": 16.0}).model_dump_json())
    owner = OwnerLink(participant(site), lambda _peer, _code: None)
    link = ResearcherLink(_researcher(root))
    link.request(HOSPITAL)
    owner.approve_peer(RESEARCHER, link.fingerprint)
    link.pin(HOSPITAL, owner.fingerprint)
    return root


@pytest.fixture
def world(tmp_path: Path, paired: Path, plan: Plan, weights: bytes) -> Iterator[World]:
    """A fresh copy of the paired world; its agents are closed at the end."""
    root = tmp_path / "world"
    shutil.copytree(paired, root)
    path = root / "site" / "site.toml"
    values = tomllib.loads(path.read_text())
    path.write_text(tomli_w.dumps({**values, "relay": (root / "relay").as_uri()}))
    made = World(root, plan, weights)
    yield made
    for agent in made.agents:
        try:
            agent.close()
        except OSError:
            continue  # the test closed its lock itself


@pytest.fixture
def approved(world: World) -> World:
    """The plan received and approved; an agent that keeps no warm sandbox stands ready."""
    world.submit_plan()
    agent = world.start()
    agent.step()
    world.approve()
    return world


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents keep no sandbox ready: the start of one that the test never uses costs seconds."""
    monkeypatch.setattr("datasites.agent.sandbox_pool.SandboxPool.keep", lambda *_: None)


def end_slot(agent: Agent) -> None:
    """Let the slot of a job whose outputs are collected be over; nothing else is waited for."""
    running = agent._running
    if running is not None and running.sandbox is None:
        agent._running = replace(running, due=0.0)


Until = Callable[[Agent, Callable[[], object]], None]


@pytest.fixture
def until() -> Until:
    def step_until(agent: Agent, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 240
        while not done():
            assert time.monotonic() < deadline, "the agent did not get there in 240 s"
            agent.step()
            end_slot(agent)
            time.sleep(0.1)

    return step_until


@dataclass
class ByHand:
    """A reserved job whose sandbox is played by the test: it writes what it likes."""

    world: World
    agent: Agent

    def begin(self, task: Task, *, weights: bytes = b"") -> None:
        self.world.ask(task, weights=weights)
        paired = self.agent._link.paired()
        for inbound in self.agent._link.fetch():
            assert self.agent._inbox.take(inbound, sender_key=paired[inbound.sender]) is None
        self.request = self.agent._book.get(task.request)
        checked = self.agent._admission.check(self.request, sender_key=paired[RESEARCHER])
        self.job = self.agent._admission.reserve(checked)
        self.folder = JobFolder(self.world.root / "scratch" / task.request)
        self.folder.create()

    def write(self, **files: bytes) -> None:
        """Leave the same as noise-only and as the job's own outputs."""
        self.noise_only(**files)
        self.own(**files)

    def noise_only(self, **files: bytes) -> None:
        """What the job left before it opened the shard."""
        self._write(NOISE_ONLY, files)

    def own(self, **files: bytes) -> None:
        """What it left afterwards."""
        self._write("", files)

    def _write(self, prefix: str, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            (self.folder.outputs / f"{prefix}{name.replace('__', '.')}").write_bytes(data)

    def result(self, steps: int) -> None:
        result = Result(steps_taken=steps, work_s=1.0)
        self.write(result__json=result.model_dump_json().encode())

    def finish(self, ending: Ending = Ending.DONE) -> Answer:
        self.agent._completion.collect(self.job, self.folder, ending)
        kept = self.agent._book.results(self.request.id)
        answer = self.agent._completion.settle(self.job, kept)
        self.agent._book.change(
            self.request, state=RequestState.DONE, answer=answer.model_dump_json()
        )
        return answer


@pytest.fixture
def by_hand(approved: World) -> ByHand:
    return ByHand(approved, approved.agents[-1])


@pytest.fixture
def by_hand_in() -> Callable[[World], ByHand]:
    return lambda world: ByHand(world, world.agents[-1])

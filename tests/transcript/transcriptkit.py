"""Everything that crosses a hospital's boundary in a small study, with noise and clock fixed.

`play` takes a shard through every kind of job at a real site: agent, desk, ledger, relay, message
encryption and the researcher's inbox are the real ones. Only the sandbox is played: the worker runs
in this process (`InProcess`), because there alone its noise can be fixed, by replacing the source
that all of it comes from. The product has no switch for that.

What is returned is the whole transcript, one line a thing: files as the researcher has them, what
was sent in which order, statuses, refusals, and every entry of the ledger as an auditor gets it.
Exactly what is random by design is masked, each thing by its name (`masks.MASKED`): tensors and
counts to which noise was added, hashes of these, salted commitments, and the version of the data,
which is a keyed hash. Everything else is compared byte for byte.
"""

from __future__ import annotations

import io
import json
import shutil
import tomllib
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from numpy.typing import NDArray

from datasites.desk import Desk, ItemKind, ItemState
from datasites.ingest import make_shard, published_version, save_shard
from datasites.owner.plan_review import Terms, approve
from datasites.plans import (
    AugmentPart,
    Bundle,
    DeclaredOutput,
    GenerateTask,
    GeneratorPart,
    ModelPart,
    Plan,
    PoolTask,
    Range,
    ReportPart,
    ReportTask,
    SlotPart,
    Source,
    Task,
    TrainPart,
    TrainTask,
    make_bundle,
    task_bytes,
)
from datasites.site.settings import make_settings
from datasites.site.site import Site
from datasites.worker import report
from datasites.worker.feature_cache import features_folder
from datasites.worker.files import JobFiles
from datasites.worker.generators import open_generator
from models import initial_weights, pack_generators, weights_to_bytes
from privacy import Budget, sha256_hex
from privacy.spending.entries import entry_to_json
from tests.transcript.fixed import Clock, InProcess, fixed_clock
from tests.transcript.masks import masked, shown

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.agent import Agent
    from datasites.owner.pairing import participant
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant

CLASSES = ("glioma", "notumor")
SIZE = 16
HOSPITAL, RESEARCHER = "a@hospital.example", "r@university.example"
LINEAR = """from torch import nn

def build(classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_size * image_size, classes))
"""


@dataclass(frozen=True)
class Cases:
    """What a hospital has: images uint8 [N, S, S], labels [N], units [N], for training and tests.

    Attributes:
        features: what a frozen encoder would have kept of the training images, if anything.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    features: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of plan: which classifier, trained how."""

    name: str
    model: str
    train: dict[str, Any] = field(default_factory=dict)
    generator: bool = False
    scale: float = 1.0


KINDS = {
    kind.name: kind
    for kind in (
        # An interpreted model, one step over everyone.
        Kind("model.py", "model.py", {"sampling_rate": 1.0}),
        # Weights that overflow on bright images and on no others.
        Kind("overflow", "model.py", {"sampling_rate": 1.0}, scale=1e37),
        # A network trained whole, with local steps, views, Poisson sampling and synthetic images.
        Kind(
            "mixed",
            "small_cnn",
            {"steps": 2, "sampling_rate": 0.5, "augment": AugmentPart(views=2),
             "synthetic_weight": 0.5, "momentum": 0.9},
            generator=True,
        ),
        # A head on frozen features, which are kept between rounds.
        Kind("head", "encoder_head", {"sampling_rate": 1.0}),
    )
}  # fmt: skip


def plan_of(kind: Kind) -> Plan:
    base: dict[str, Any] = {
        "steps": 1,
        "sampling_rate": 1.0,
        "noise_multiplier": 4.0,
        "clipping_norm": 1.0,
        "learning_rate": Range(low=0.0, high=1.0),
    }
    generator = GeneratorPart(
        steps=1, sampling_rate=0.5, noise_multiplier=4.0, clipping_norm=1.0, learning_rate=1e-3,
        image_size=16, images_per_class=1, sampling_steps=1,
    )  # fmt: skip
    outputs = [
        DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=8_000_000),
        DeclaredOutput(name="reports.json", kind="report", max_bytes=1_000_000),
        DeclaredOutput(name="evaluation.json", kind="evaluation", max_bytes=100_000),
    ]
    if kind.generator:
        outputs.append(
            DeclaredOutput(name="generator.safetensors", kind="generator", max_bytes=8_000_000)
        )
    return Plan(
        study="study",
        researcher=RESEARCHER,
        classes=CLASSES,
        rounds=2,
        model=ModelPart(name=kind.model, image_size=SIZE),
        train=TrainPart(**(base | kind.train)),
        generator=generator if kind.generator else None,
        reports=ReportPart(cases=1_000, metrics_noise_multiplier=4.0),  # so that each joins
        slots=SlotPart(first_train_s=60, train_s=60, generate_s=60, pool_s=60, report_s=60),
        outputs=tuple(outputs),
    )


# --- the site -----------------------------------------------------------------------------------


def _researcher(root: Path) -> Participant:
    return Participant(
        email=RESEARCHER,
        relay_url=(root / "relay").as_uri(),
        syftbox=root / "researcher" / "syftbox",
        own_folder=root / "researcher" / "keys",
        is_site=False,
    )


def prepare(root: Path) -> Path:
    """A paired site without data; copied for each play."""
    (root / "relay").mkdir(parents=True)
    settings = make_settings(
        name="A", email=HOSPITAL, relay=(root / "relay").as_uri(), classes=CLASSES, image_size=SIZE
    )
    site = Site.create(
        root / "site", settings, budget=Budget(epsilon=50.0, delta=1e-5), actor="owner"
    )
    _ = site.pseudonym_key, site.dataset_key
    owner = OwnerLink(participant(site), lambda _peer, _code: None)
    link = ResearcherLink(_researcher(root))
    link.request(HOSPITAL)
    owner.approve_peer(RESEARCHER, link.fingerprint)
    link.pin(HOSPITAL, owner.fingerprint)
    return root


def _settle_in(root: Path, train: Cases, test: Cases) -> Site:
    path = root / "site" / "site.toml"
    values = tomllib.loads(path.read_text())
    path.write_text(tomli_w.dumps({**values, "relay": (root / "relay").as_uri()}))
    site = Site.open(root / "site")
    (site.root / "private").mkdir(mode=0o700)
    for name, cases in (("train", train), ("test", test)):
        shard = make_shard(
            images=cases.images, labels=cases.labels, units=cases.units, classes=CLASSES,
            rules="drawn",
        )  # fmt: skip
        save_shard(shard, site.shard(name))
        if name == "train":
            version = published_version(shard.version, key=site.dataset_key)
    card = {
        "site": "A", "email": HOSPITAL, "public_key": site.key.public_hex,
        "dataset_version": version, "classes": CLASSES, "image_size": SIZE,
        "unit": "near-duplicate group", "units": 12.5, "units_per_class": [6.0, 6.5],
        "noise_multiplier": 10.0, "mock": "mock-mri",
    }  # fmt: skip
    (site.root / "card.json").write_text(json.dumps(card))
    if train.features is not None:
        buffer = io.BytesIO()
        np.save(buffer, train.features, allow_pickle=False)
        (features_folder(site) / "features.npy").write_bytes(buffer.getvalue())
    return site


@dataclass
class Play:
    """One study at one site."""

    root: Path
    site: Site
    bundle: Bundle
    weights: bytes
    clock: Clock
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = ResearcherLink(_researcher(self.root))
        self.agent = Agent(Site.open(self.site.root))
        self._record()

    def _record(self) -> None:
        """Note, in order, what the agent hands to the network."""
        publish, status, card = (
            self.agent._link.publish, self.agent._link.set_status, self.agent._link.publish_card
        )  # fmt: skip

        def published(*, recipient: str, job: str, files: dict[str, bytes]) -> None:
            self.sent.append(f"publish {recipient} {job} {list(files)}")
            publish(recipient=recipient, job=job, files=files)

        def said(**fields: Any) -> None:
            self.sent.append(f"status {fields}")
            status(**fields)

        def carded(*, recipient: str, card: bytes, send: Any = card) -> None:
            self.sent.append(f"card {recipient} {masked(json.loads(card))}")
            send(recipient=recipient, card=card)

        self.agent._link.publish, self.agent._link.set_status = published, said
        self.agent._link.publish_card = carded

    def serve(self, task: Task, *, brought: bytes | None = None) -> None:
        """Have a task served to its answer; its slot is over when everything else is done."""
        files = {"task.json": task_bytes(task)}
        if hasattr(task, "weights_sha256"):
            files["weights.safetensors"] = brought or self.weights
        self.link.submit(site=HOSPITAL, job=task.request, files=files)
        for _ in range(4):
            self.agent.step()
        running = self.agent._running
        self.sent.append(f"waits {running is not None} {self._book_line(task.request)}")
        if running is not None:
            self.agent._running = replace(running, due=0.0)
        for _ in range(2):
            self.agent.step()
        self.sent.append(f"served {self._book_line(task.request)}")

    def _book_line(self, request: str) -> str:
        record = self.agent._book.get(request)
        return f"{record.state} {record.reason} {record.answered} {record.slot_s} {record.due}"

    def lines(self) -> list[str]:
        """The transcript."""
        self.link.collect()
        found = list(self.sent)
        folder = self.root / "researcher" / "syftbox"
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder)
            if name.parts[0] == HOSPITAL and "inbox" not in name.parts:  # what was sent from there
                found.append(f"{name}: {shown(path.name, path.read_bytes())}")
        for sealed in self.site.ledger.entries():
            found.append(f"ledger {sealed.sequence} {masked(dict(entry_to_json(sealed.entry)))}")
        version = self.site.card().dataset_version
        return [line.replace(version, "<a keyed hash>") for line in found]


def play(base: Path, root: Path, kind: Kind, train: Cases, test: Cases) -> list[str]:
    """The transcript of a whole study at a site that holds these cases."""
    shutil.copytree(base, root)
    with pytest.MonkeyPatch.context() as patch, fixed_clock() as clock:
        patch.setattr("datasites.agent.sandbox_pool.SandboxProcess", InProcess)
        patch.setattr("datasites.agent.sandbox_pool.require_sandbox", lambda: None)
        patch.setattr(report, "_writer", _template)
        text = LINEAR if kind.model == "model.py" else None
        state = initial_weights(kind.model, text=text, classes=2, image_size=SIZE, seed=1)
        weights = weights_to_bytes({name: t * kind.scale for name, t in state.items()})
        played = Play(
            root, _settle_in(root, train, test), make_bundle(plan_of(kind), text), weights, clock
        )
        try:
            return _conduct(played)
        finally:
            played.agent.close()


def _conduct(played: Play) -> list[str]:
    bundle, agent = played.bundle, played.agent
    sha = {"plan_sha256": bundle.sha256}
    played.link.submit(site=HOSPITAL, job="plan-1", files=bundle.files)
    agent.step()
    terms = Terms(standing_release=True, accept_synthetic=True)
    approve(played.site, bundle.sha256, reviewer="ann", reason="read", terms=terms)
    part = bundle.plan.generator
    if part is not None:
        played.serve(GenerateTask(request="gen", **sha))
        _release(played, ItemKind.GENERATOR)
        other = weights_to_bytes(open_generator(part, classes=CLASSES).adapted())
        packed = pack_generators([other])
        source = Source(hospital="b@hospital.example", sha256=sha256_hex(other))
        played.serve(
            PoolTask(
                request="pool", weights_sha256=sha256_hex(packed), sources=(source,), **sha
            ),
            brought=packed,
        )  # fmt: skip
    named = {"weights_sha256": sha256_hex(played.weights), **sha}
    for number in (1, 2):
        played.serve(
            TrainTask(
                request=f"t{number}", round=number, steps=bundle.plan.train.steps,
                learning_rate=0.1, **named,
            )
        )  # fmt: skip
    played.serve(ReportTask(request="rep", rounds=2, hospitals=1, **named))
    _release(played, ItemKind.HOSPITAL_REPORT)
    _withhold_cases(played)
    played.serve(ReportTask(request="again", rounds=2, hospitals=1, **named))  # beyond its leave
    return played.lines()


def _release(played: Play, kind: ItemKind) -> None:
    desk = Desk(played.site)
    for item in desk.items():
        if item.kind is kind and item.is_open:
            desk.decide(item.id, state=ItemState.RELEASED, actor="ann", reason="fine")
    played.agent.step()


def _withhold_cases(played: Play) -> None:
    """An owner tidies up: no case leaves."""
    desk = Desk(played.site)
    with played.clock.stopped():
        for item in desk.items():
            if item.kind is ItemKind.CASE_REPORT:
                desk.decide(item.id, state=ItemState.WITHHELD, actor="ann", reason="no")
    played.agent.step()


class _Template:
    """Writes what the language model's fallback writes; the model takes seconds a report."""

    def write(self, facts: Any, *, seed: int) -> Any:
        from types import SimpleNamespace

        from models.reports.language.layout import compose
        from models.reports.language.rendering import render
        from models.reports.language.template import template_body

        text = render(compose(facts, template_body(facts), "template"), facts).text
        return SimpleNamespace(text=text, source="template", attempts=seed % 3)


def _template(_files: JobFiles) -> Any:
    return _Template()

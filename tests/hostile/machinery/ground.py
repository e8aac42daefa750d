"""The small real network that the machines play on, made once and copied for each play.

One hospital with data, reviewers and a ledger; Ann and Bob, researchers whose keys were compared.
Bob is honest: his plan is approved from the start. Keys, envelopes, ledger, approvals and
the agent are the real ones; the agent is stepped by hand. What a play does not wait for: a job's
time (`standin`), the refilling of a peer's allowance (each step is ten seconds of it), syft's own
description of its file formats, which it works out anew for every file it writes, and a YAML
parser in Python where there is the same in C.

Canaries are planted here: byte strings that must never leave. `CANARIES` are the fixed ones,
`secrets_of` those of one site.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import itertools
import json
import os
import shutil
import tempfile
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import yaml
from syft_migration import registry

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.agent import Agent
    from datasites.agent.service import participant
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant

from datasites import intake, peers
from datasites import site as site_module
from datasites.ingest import make_shard, save_shard
from datasites.plans import DeclaredOutput, ModelPart, Plan, Range, ReportPart, TrainPart
from datasites.plans.bundle import make_bundle
from datasites.review import Terms, approve
from datasites.settings import make_settings
from datasites.site import Site
from models import draw_phantoms
from privacy import Budget
from tests.hostile.machinery.standin import StandIn

A = "owner@hospital-a.example"
ANN, BOB = "ann@university.example", "bob@institute.example"
CLASSES = ("glioma", "notumor")
REVIEWERS = ("Dr Reed", "Dr Shaw", "Dr Tate")
QUORUM = 2
BUDGET = 60.0
OWN_WORDS = "said-only-between-reviewers"
CANARIES = {
    "image": b"CANARY OF AN IMAGE, 32 BYTES LONG"[:32],
    "environment": b"canary-of-the-environment",
    "draft": b"canary of a draft",
    "printed": b"canary that a job printed",
    "words": OWN_WORDS.encode(),
}


def plan_of(researcher: str, *, study: str, rounds: int = 4, steps: int = 2) -> Plan:
    """A small plan; `rounds` and `steps` make it another one."""
    return Plan(
        study=study,
        researcher=researcher,
        classes=CLASSES,
        rounds=rounds,
        model=ModelPart(name="small_cnn", image_size=32),
        train=TrainPart(
            steps=steps,
            sampling_rate=0.5,
            noise_multiplier=5.0,
            clipping_norm=1.0,
            learning_rate=Range(low=0.0, high=1.0),
        ),
        reports=ReportPart(cases=1, metrics_noise_multiplier=5.0),
        outputs=(
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),
            DeclaredOutput(name="reports.json", kind="report", max_bytes=100_000),
        ),
    )


PLANS = tuple(
    make_bundle(plan, None)
    for plan in (
        plan_of(ANN, study="first"),
        plan_of(ANN, study="first", steps=3),
        plan_of(ANN, study="second", rounds=2),
    )
)
BOBS = make_bundle(plan_of(BOB, study="honest", rounds=1000, steps=1), None)


class Clock(datetime):
    """The clock of `datasites.site`, which a play may set."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.ahead


@functools.cache
def _schema(protocol, version):
    return _SCHEMA(protocol, version)


_SCHEMA = registry.MigrationRegistry.schema_for_protocol_version


@contextlib.contextmanager
def playing() -> Iterator[pytest.MonkeyPatch]:
    """What holds while machines play, and not afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.MigrationRegistry, "schema_for_protocol_version", _schema)
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        patch.setattr(site_module, "datetime", Clock)
        patch.setenv("DURA_RELAY_PASSWORD", CANARIES["environment"].decode())
        patch.setenv("PRE_SYNC", "false")
        yield patch


def _researcher(root: Path, email: str) -> Participant:
    return Participant(
        email=email,
        relay_url=(root / "relay").as_uri(),
        syftbox=root / email / "syftbox",
        own_folder=root / email / "keys",
        is_site=False,
    )


def _folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a play costs many writes
    return Path(tempfile.mkdtemp(prefix="play-", dir=memory if memory.is_dir() else None))


@functools.cache
def template() -> Path:
    """The prepared network; removed when this process ends."""
    import atexit

    root = _folder()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    (root / "relay").mkdir()
    settings = make_settings(
        name="A", email=A, relay=(root / "relay").as_uri(), classes=CLASSES, image_size=32,
        reviewers=REVIEWERS, quorum=QUORUM,
    )  # fmt: skip
    budget = Budget(epsilon=BUDGET, delta=1e-5)
    site = Site.create(root / "site", settings, budget=budget, actor="owner")
    (site.root / "private").mkdir(mode=0o700)
    for name, count in (("train", 8), ("test", 2)):
        drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, count), size=32, seed=count)
        images = np.array(drawn.images)
        images[0, 0] = np.frombuffer(CANARIES["image"], np.uint8)
        units = np.arange(len(drawn.labels))
        shard = make_shard(
            images=images, labels=drawn.labels, units=units, classes=CLASSES, rules="phantoms"
        )
        if name == "train":
            card = intake._charge_card(site, shard, actor="owner")
        save_shard(shard, site.shard(name))
    # A count that is not the luck of the draw: the plans' cost does not depend on it.
    (site.root / "card.json").write_text(card.model_copy(update={"units": 16.0}).model_dump_json())
    owner = OwnerLink(participant(site), lambda _peer, _code: None)
    for email in (ANN, BOB):
        link = ResearcherLink(_researcher(root, email))
        link.request(A)
        peers.pair(site, owner, email=email, code=link.fingerprint, actor="owner")
        link.pin(A, owner.fingerprint)
        if email == BOB:
            link.submit(site=A, job="plan", files=BOBS.files)
    agent = Agent(site)
    agent.step()
    for reviewer in REVIEWERS[:QUORUM]:
        terms = Terms(standing_release=True)
        approve(site, BOBS.sha256, reviewer=reviewer, reason=OWN_WORDS, terms=terms)
    agent._outbox.send_due(agent._link.paired(), agent._book)
    agent.close()
    link.collect()
    ResearcherLink(_researcher(root, ANN)).collect()
    _ = site.pseudonym_key
    return root


@dataclass
class Network:
    """One copy of the prepared network, and who is in it."""

    root: Path = field(default_factory=lambda: _folder() / "play")
    jobs: StandIn = field(default_factory=StandIn)
    sent: itertools.count = field(default_factory=lambda: itertools.count(1))
    agent: Agent | None = None
    passed_s: float = 0.0

    def __post_init__(self) -> None:
        Clock.ahead = timedelta()
        shutil.copytree(template(), self.root, symlinks=True)
        path = self.site_root / "site.toml"
        values = {**tomllib.loads(path.read_text()), "relay": self.relay.as_uri()}
        path.write_text(tomli_w.dumps(values))
        self.site = Site.open(self.site_root)
        self.links = {email: ResearcherLink(_researcher(self.root, email)) for email in (ANN, BOB)}

    def reopen(self) -> None:
        """Read the site anew: what lies on its disk was changed behind its back."""
        self.site = Site.open(self.site_root)

    @property
    def site_root(self) -> Path:
        return self.root / "site"

    @property
    def relay(self) -> Path:
        return self.root / "relay"

    def box(self, kind: str, email: str) -> Path:
        """The folder on the relay that leads to the hospital (`inbox`) or from it (`outbox`)."""
        return self.relay / "channels" / A / kind / email

    def start(self) -> None:
        """Have an agent serve the site."""
        self.agent = Agent(Site.open(self.site_root))
        self.agent._link._clock = lambda: self.passed_s

    def stop(self, *, killed: bool = False) -> None:
        """End the agent in order, or as a kill does."""
        agent, self.agent = self.agent, None
        if agent is None:
            return
        self.jobs.end_all()
        if killed:
            os.close(agent._lock)
        else:
            agent.close()

    def step(self, *, slot_over: bool = True) -> None:
        """One step of the agent; `slot_over`: the running job's slot ends before it."""
        if self.agent is None:
            self.start()
        self.passed_s += 10.0
        running = self.agent._running
        if running is not None and slot_over and running.sandbox is None:
            self.agent._running = StandIn.slot_over(running)
        self.agent.step()

    def end(self) -> None:
        """Give everything back."""
        with contextlib.suppress(OSError):
            self.stop()
        shutil.rmtree(self.root.parent, ignore_errors=True)

    # --- what anybody with a key can send ---------------------------------------------------

    def seal(self, plain: bytes, *, sender: str) -> bytes:
        """`plain` signed and encrypted for the hospital by a researcher's own client."""
        return self.links[sender]._peers.peer_store.encrypt(A, plain)

    def put(self, envelope: bytes, *, box: str) -> Path:
        """An envelope in a researcher's place, later than all before."""
        number = next(self.sent)
        path = self.box("inbox", box) / f"msgv2_{1000 + number}.0_{number}.tar.gz"
        with contextlib.suppress(OSError):
            path.write_bytes(envelope)
        return path

    def opened(self, envelope: bytes, *, recipient: str) -> bytes:
        """What a researcher reads in an envelope from the hospital.

        Raises:
            Exception: it is not for them, or was broken on its way.
        """
        from datasites.syftnet import wire

        store = self.links[recipient]._peers.peer_store
        return wire.unpack(store.decrypt(A, envelope))


def secrets_of(site: Site) -> dict[str, bytes]:
    """What must never leave this site: keys in every form they are kept in, and its folder."""
    found = {"folder": str(site.root).encode(), "pseudonym key": site.pseudonym_key.encode()}
    found["pseudonym key, raw"] = bytes.fromhex(site.pseudonym_key)
    for name in ("signing", "patient", "dataset"):
        kept = (site.keys / f"{name}.key").read_bytes().strip()
        found[f"{name} key"] = kept
        raw = base64.b64decode(kept.splitlines()[1])[-32:] if b"\n" in kept else None
        found[f"{name} key, raw"] = raw or bytes.fromhex(kept.decode())
    found |= _private_parts(json.loads((site.keys / "syft_keys.json").read_text()))
    return {name: value for name, value in found.items() if len(value) >= 16}


def _private_parts(value: object, name: str = "network key") -> dict[str, bytes]:
    if not isinstance(value, dict):
        return {}
    found = {}
    for key, inner in value.items():
        if key == "d" and isinstance(inner, str):
            found[name] = inner.encode()
        found |= _private_parts(inner, f"{name} {key}")
    return found


def silently(do, *args, **fields):
    """Call what prints, without its prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return do(*args, **fields)

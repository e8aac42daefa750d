"""A small network: hospitals A and B and two researchers, real syft clients over one folder."""

import itertools
import json
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant

A, B = "owner@hospital-a.example", "owner@hospital-b.example"
ANN, BOB = "ann@university.example", "bob@institute.example"


@dataclass
class Network:
    """Everybody who takes part, and what their datasites refused."""

    root: Path
    links: dict = field(default_factory=dict)
    refused: list = field(default_factory=list)
    sent: int = 0
    ticks: itertools.count = field(default_factory=lambda: itertools.count(1))
    time_passes: bool = True

    @property
    def relay(self):
        return self.root / "relay"

    def participant(self, email):
        home = self.root / email
        is_site = email in (A, B)
        return Participant(
            email, f"file://{self.relay}", home / "syftbox", home / "keys", is_site=is_site
        )

    def join(self, email):
        who = self.participant(email)
        if who.is_site:
            link = OwnerLink(
                who,
                lambda peer, code: self.refused.append((peer, code)),
                # Every look at this clock fills the peers' allowances; one test stops it.
                clock=lambda: next(self.ticks) * 1e6 if self.time_passes else 0.0,
            )
        else:
            link = ResearcherLink(who)
        self.links[email] = link
        return link

    def pair(self, researcher, site):
        self.links[researcher].request(site)
        self.links[site].approve_peer(researcher, self.links[researcher].fingerprint)
        self.links[researcher].pin(site, self.links[site].fingerprint)

    def inbox(self, site, researcher):
        return self.relay / "channels" / site / "inbox" / researcher

    def outbox(self, site, researcher):
        return self.relay / "channels" / site / "outbox" / researcher

    def put_job(self, site, researcher, data):
        """Bytes as a job message in a researcher's place, later than all before."""
        self.sent += 1
        path = self.inbox(site, researcher) / f"msgv2_{1000 + self.sent}.0_{self.sent}.tar.gz"
        path.write_bytes(data)
        return path

    def sealed(self, sender, recipient, plain):
        """`plain` signed and encrypted as the sender's own client does it."""
        return self.links[sender]._peers.peer_store.encrypt(recipient, plain)

    def fetch(self, site):
        return list(self.links[site].fetch())


def build(root):
    net = Network(root)
    net.relay.mkdir(parents=True)
    for email in (A, B, ANN, BOB):
        net.join(email)
    for site in (A, B):
        net.pair(ANN, site)
    net.pair(BOB, A)
    return net


@pytest.fixture
def new_net(tmp_path):
    """A network for one test that breaks it."""
    return build(tmp_path)


@pytest.fixture
def outputs_net(tmp_path):
    """A network whose folder has the name of a job's output folder."""
    return build(tmp_path / "outputs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return build(tmp_path_factory.mktemp("net"))


@pytest.fixture
def net(shared):
    """A module's network, with no refusal noted and nothing waiting on the relay."""
    shared.refused.clear()
    shared.links[ANN].refused.clear()
    yield shared
    for waiting in shared.relay.glob("channels/*/*/*/*"):
        waiting.rmdir() if waiting.is_dir() else waiting.unlink()


@pytest.fixture
def job():
    """A job name that no other test uses."""
    return f"job-{time.monotonic_ns()}"


@pytest.fixture
def body(job):
    """The JSON of a job message from Ann to A, with any field changed."""

    def make(*, path=None, change=None, changes=None, **fields):
        one = {
            "id": str(uuid4()),
            "path_in_datasite": path or f"app_data/job/inbox/{ANN}/v1/{job}/code/task.json",
            "content": "{}",
            "content_type": "text",
            "new_hash": "0",
            "datasite_email": A,
            "submitted_timestamp": 1.0,
        }
        message = {
            "sender_email": ANN,
            "message_filename": {"submitted_timestamp": time.time(), "uid": str(uuid4())},
            "proposed_file_changes": [{**one, **(change or {})}],
        }
        if changes is not None:
            message["proposed_file_changes"] = changes
        return json.dumps({**message, **fields}).encode()

    return make

"""A small network: hospitals A and B and two researchers, real syft clients over one folder.

Ann is paired with both hospitals, Bob with A alone. A test may put anything into anybody's place on
the relay, and sign it as anybody whose keys it likes.
"""

import itertools
import warnings
from dataclasses import dataclass, field
from pathlib import Path

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant

A, B = "owner@hospital-a.example", "owner@hospital-b.example"
ANN, BOB = "ann@university.example", "bob@institute.example"
JOBS = f"app_data/job/inbox/{ANN}/v1"
STATES = f"app_data/job/review/{ANN}/v1"


@dataclass
class Network:
    """Everybody who takes part; `refused` is what the sites' links reported."""

    root: Path
    links: dict = field(default_factory=dict)
    refused: list = field(default_factory=list)
    sent: int = 0
    ticks: itertools.count = field(default_factory=lambda: itertools.count(1))
    time_passes: bool = True

    @classmethod
    def build(cls, root):
        net = cls(root)
        net.relay.mkdir(parents=True)
        for email in (A, B, ANN, BOB):
            net.join(email)
        for researcher, site in ((ANN, A), (ANN, B), (BOB, A)):
            net.pair(researcher, site)
        return net

    @property
    def relay(self):
        return self.root / "relay"

    def participant(self, email):
        home = self.root / email
        is_site = email.startswith("owner")
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

    def inbox(self, site=A, researcher=ANN):
        return self.relay / "channels" / site / "inbox" / researcher

    def outbox(self, site=A, researcher=ANN):
        return self.relay / "channels" / site / "outbox" / researcher

    def seal(self, plain, *, sender=ANN, recipient=A):
        """`plain` signed and encrypted as the sender's own client does it."""
        return self.links[sender]._peers.peer_store.encrypt(recipient, plain)

    def put(self, envelope, *, site=A, researcher=ANN):
        """Bytes as a job message in a researcher's place, later than all before."""
        self.sent += 1
        path = self.inbox(site, researcher) / f"msgv2_{1000 + self.sent}.0_{self.sent}.tar.gz"
        path.write_bytes(envelope)
        return path

    def fetch(self, site):
        return list(self.links[site].fetch())

    def forget(self):
        """Have no refusal noted."""
        self.refused.clear()
        self.links[ANN].refused.clear()

    def sweep(self):
        """Take away what waits on the relay."""
        for waiting in self.relay.glob("channels/*/*/*/*"):
            waiting.rmdir() if waiting.is_dir() else waiting.unlink()

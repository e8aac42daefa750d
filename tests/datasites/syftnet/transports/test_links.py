"""A hospital and a researcher over every transport: pairing, a job, its answer, space given back.

And over relays that lie: old listings, reordered ones, files that are gone when they are read.
"""

import contextlib
import io
import warnings

import pytest

from datasites.errors import RelayError
from datasites.syftnet.relay import Relay
from datasites.syftnet.transports.folder import FolderStorage

from .conftest import SECRET

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from datasites.syftnet import OwnerLink, ResearcherLink
    from datasites.syftnet.client import Participant, connection_of

SITE, ANN = "owner@hospital-a.example", "ann@university.example"


@contextlib.contextmanager
def quietly():
    with contextlib.redirect_stdout(io.StringIO()):
        yield


class Pair:
    """Both ends over one relay."""

    def __init__(self, place, root):
        self.refused = []

        def who(email):
            home = root / email
            return Participant(
                email, place.url, home / "box", home / "keys", email == SITE, place.access
            )

        with quietly():
            self.site = OwnerLink(who(SITE), lambda *why: self.refused.append(why))
            self.ann = ResearcherLink(who(ANN))
            self.ann.request(SITE)
            assert [asking.email for asking in self.site.pending_peers()] == [ANN]
            self.site.approve_peer(ANN, self.ann.fingerprint)
            self.ann.pin(SITE, self.site.fingerprint)

    def relays(self):
        return [connection_of(link._client).relay for link in (self.site, self.ann)]

    def submit(self, job):
        with quietly():
            self.ann.submit(site=SITE, job=job, files={"task.json": b"{}"})


@pytest.fixture
def pair(place, tmp_path):
    made = Pair(place, tmp_path)
    yield made
    for relay in made.relays():
        relay.close()


def test_a_job_and_its_answer_and_nothing_is_left(pair):
    weights = bytes(range(256)) * 4000
    pair.submit("job-1")
    (job,) = list(pair.site.fetch())
    assert (job.sender, job.name, job.files["task.json"]) == (ANN, "job-1", b"{}")
    pair.site.publish(recipient=ANN, job="job-1", files={"w.safetensors": weights})
    (delivery,) = pair.ann.collect()
    assert (delivery.site, delivery.job) == (SITE, "job-1")
    assert delivery.files == {"w.safetensors": weights}
    assert pair.ann.collect() == []
    assert list(pair.site.fetch()) == []
    for folder in (f"channels/{SITE}/inbox/{ANN}", f"channels/{SITE}/outbox/{ANN}"):
        assert pair.relays()[0].names(folder) == []
    assert pair.refused == []


class Lying(FolderStorage):
    """A folder whose listings are old or in another order."""

    stale: list
    turned = False

    def names(self, path):
        found = super().names(path)
        if self.turned:
            return [*sorted(found, reverse=True), *found]
        return [*self.stale, *found]


@pytest.fixture
def lying(new_place, tmp_path):
    place = new_place("file")
    pair = Pair(place, tmp_path)
    storage = Lying(place.folder)
    storage.stale = []
    for link in (pair.site, pair.ann):
        connection_of(link._client).relay = Relay(place.url, storage=storage)
    pair.storage = storage
    return pair


def test_a_listing_that_names_what_is_gone(lying):
    lying.storage.stale = [
        "msgv2_1.0_5d4b1cf4-7f2b-4a5e-9c39-000000000000.tar.gz",
        "syfteventsmessagev3_1.0_5d4b1cf4-7f2b-4a5e-9c39-000000000000.tar.gz",
    ]
    lying.submit("job-1")
    assert [job.name for job in lying.site.fetch()] == ["job-1"]
    lying.site.publish(recipient=ANN, job="job-1", files={"x": b"1"})
    assert [delivery.files for delivery in lying.ann.collect()] == [{"x": b"1"}]
    assert (lying.refused, lying.ann.refused) == ([], [])


def test_a_listing_turned_round_and_doubled(lying):
    lying.storage.turned = True
    for number in range(4):
        lying.submit(f"job-{number}")
    assert [job.name for job in lying.site.fetch()] == [f"job-{number}" for number in range(4)]
    assert list(lying.site.fetch()) == []
    assert lying.refused == []


def test_a_listing_that_lags_is_made_up_for(lying, monkeypatch):
    lying.submit("job-1")
    with monkeypatch.context() as patch:
        patch.setattr(Lying, "names", lambda self, path: [])
        assert list(lying.site.fetch()) == []
    assert [job.name for job in lying.site.fetch()] == ["job-1"]


def test_a_wrong_webdav_password_is_one_line_without_it(new_place):
    relay = new_place("dav").relay(password=SECRET + "-wrong")
    with pytest.raises(RelayError, match="refused the user or its password") as caught:
        relay.check()
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)

"""What lies in a peer's inbox and is not theirs: it costs them nothing, and it is bounded."""

import pytest

from datasites.syftnet import allowance, site_link
from tests.syftnetkit import ANN, A


@pytest.fixture
def net(new_net, monkeypatch):
    monkeypatch.setattr(allowance, "MESSAGES_BURST", 3.0)
    new_net.time_passes = False
    return new_net


def jobs(net):
    return [job.name for job in net.links[A].fetch()]


def test_junk_costs_the_peer_whose_inbox_it_lies_in_nothing(net):
    for number in range(10):
        net.put(b"junk %d" % number)
    for name in ("one", "two", "three"):
        net.links[ANN].submit(site=A, job=name, files={})
    assert jobs(net) == ["one", "two", "three"]
    assert net.refused == [(ANN, "bad_signature")] * 10


def test_a_bad_message_that_they_signed_still_costs_ten(net):
    net.put(net.seal(b"no message of syft's"))
    net.links[ANN].submit(site=A, job="one", files={})
    assert jobs(net) == []


def test_junk_is_bounded_by_an_allowance_of_its_own(net, monkeypatch):
    monkeypatch.setattr(allowance, "JUNK_TIMES", 2.0)
    net.links[A]._junk.times = 2.0
    for number in range(20):
        net.put(b"junk %d" % number)
    assert jobs(net) == []
    assert 0 < len(net.refused) <= 2 * 3 + 1


def test_junk_that_cannot_be_removed_is_passed_over(net, monkeypatch):
    monkeypatch.setattr(site_link, "MAX_LISTED", 4)
    relay = type(net.links[A]._connection.relay)
    monkeypatch.setattr(relay, "remove", lambda self, path: None)
    for number in range(8):
        net.put(b"junk %d" % number)
    net.links[ANN].submit(site=A, job="behind", files={})
    found = [name for _ in range(6) for name in jobs(net)]
    assert found[:1] == ["behind"]
    assert net.refused.count((ANN, "bad_signature")) == 8 * site_link.JUNK_LOOKS


def test_a_message_under_the_name_of_junk_is_taken(net):
    net.links[ANN].submit(site=A, job="one", files={})
    [message] = net.inbox().glob("msgv2*")
    whole = message.read_bytes()
    message.write_bytes(b"junk")
    assert jobs(net) == []
    message.write_bytes(whole)
    assert jobs(net) == ["one"]

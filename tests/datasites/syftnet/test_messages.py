"""Messages between real syft clients: jobs in, released files out, and nothing else."""

import pytest

from datasites.errors import RelayError
from datasites.syftnet.connection import RelayConnectionConfig
from tests.datasites.syftnet.messagekit import datasite, waiting
from tests.syftnetkit import ANN, BOB, A, B

SECRET = b"the-very-secret-plan-of-ann-0123456789"


def test_a_job_arrives_whole_once_and_is_taken_from_the_relay(net, job):
    net.links[ANN].submit(site=A, job=job, files={"task.json": SECRET, "w": b"\x00\xff"})
    assert len(waiting(net)) == 1
    (got,) = net.fetch(A)
    assert (got.sender, got.name) == (ANN, job)
    assert got.files["task.json"] == SECRET
    assert got.files["w"] == b"\x00\xff"
    assert waiting(net) == []
    assert net.fetch(A) == []
    assert net.refused == []


def test_nothing_plain_of_a_submitted_or_released_file_is_on_the_relay(net, job):
    net.links[ANN].submit(site=A, job=job, files={"task.json": SECRET})
    assert_hidden(net, SECRET, job.encode())
    net.fetch(A)
    net.links[A].publish(recipient=ANN, job=job, files={"out.bin": SECRET})
    net.links[A].publish_card(recipient=ANN, card=SECRET)
    assert len(waiting(net)) == 2
    assert_hidden(net, SECRET, b"out.bin", job.encode())


def assert_hidden(net, *needles):
    for path in net.relay.rglob("*"):
        assert not any(needle in str(path).encode() for needle in needles)
        data = path.read_bytes() if path.is_file() else b""
        assert not any(needle in data for needle in needles)


def test_an_interrupted_submission_is_sent_again_as_it_was(net, job):
    for _ in range(2):
        net.links[ANN].submit(site=A, job=job, files={"task.json": SECRET})
    first, second = net.fetch(A)
    assert first == second
    assert net.refused == []


def test_a_half_made_submission_is_made_anew(net, job):
    half = net.participant(ANN).syftbox / A / f"app_data/job/inbox/{ANN}/v1/{job}"
    (half / "code").mkdir(parents=True)
    (half / "code" / "task.json").write_bytes(b"half")
    net.links[ANN].submit(site=A, job=job, files={"task.json": SECRET})
    (got,) = net.fetch(A)
    assert got.files["task.json"] == SECRET


def test_a_released_file_reaches_the_one_researcher_it_is_for(net, job):
    net.links[ANN].submit(site=A, job=job, files={})
    net.fetch(A)
    net.links[A].set_status(sender=ANN, job=job, status="done")
    net.links[A].publish(recipient=ANN, job=job, files={"out.bin": b"\x00data"})
    assert net.links[BOB].collect() == []
    (delivery,) = net.links[ANN].collect()
    assert (delivery.site, delivery.job, delivery.files) == (A, job, {"out.bin": b"\x00data"})
    assert net.links[ANN].received(A, job) == {"out.bin": b"\x00data"}
    assert net.links[ANN].received(B, job) == {}
    assert net.links[ANN].collect() == []


def test_a_states_change_travels_and_its_reason_with_it(net, job):
    net.links[ANN].submit(site=A, job=job, files={})
    net.fetch(A)
    for status in ("running", "failed"):
        net.links[A].set_status(sender=ANN, job=job, status=status, reason="job_failed")
        net.links[A].publish(recipient=ANN, job=job, files={})
        assert net.links[ANN].collect() == []
        mirrored = net.participant(ANN).syftbox / A / f"app_data/job/review/{ANN}/v1/{job}"
        assert status in (mirrored / "state.yaml").read_text()
    assert "job_failed" in (mirrored / "state.yaml").read_text()
    assert net.links[ANN].refused == []


def test_a_state_exists_even_for_a_job_that_syft_never_saw(net, job):
    net.links[ANN].submit(site=A, job=job, files={})  # still on its way
    net.links[A].set_status(sender=ANN, job=job, status="rejected", reason="not_approved")
    net.links[A].publish(recipient=ANN, job=job, files={})
    net.links[ANN].collect()
    net.fetch(A)
    mirrored = net.participant(ANN).syftbox / A / f"app_data/job/review/{ANN}/v1/{job}"
    assert "not_approved" in (mirrored / "state.yaml").read_text()


def test_a_card_is_replaced_by_a_newer_one(net):
    assert net.links[BOB].card(A) is None
    for card in (b"{1}", b"{2}"):
        net.links[A].publish_card(recipient=ANN, card=card)
        (delivery,) = net.links[ANN].collect()
        assert (delivery.job, delivery.files) == ("", {"card.json": card})
    assert net.links[ANN].card(A) == b"{2}"


def test_only_what_is_handed_to_publish_leaves(net, job):
    net.links[ANN].submit(site=A, job=job, files={})
    net.fetch(A)
    review = datasite(net, A) / f"app_data/job/review/{ANN}/v1/{job}"
    (review / "outputs").mkdir(parents=True)
    (review / "outputs" / "unreleased.bin").write_bytes(b"unreleased")
    (review / "logs.txt").write_bytes(b"log")
    net.links[A].publish(recipient=ANN, job=job, files={"released.bin": b"x"})
    (delivery,) = net.links[ANN].collect()
    assert set(delivery.files) == {"released.bin"}


# --- the relay fails ----------------------------------------------------------------------


def test_a_relay_that_vanished_is_said_so_and_nothing_is_lost(new_net):
    new_net.links[ANN].submit(site=A, job="job", files={})
    away = new_net.relay.rename(new_net.root / "unmounted")
    uses = [
        lambda: new_net.fetch(A),
        lambda: new_net.links[ANN].submit(site=A, job="other", files={}),
        new_net.links[ANN].collect,
        lambda: new_net.links[A].publish(recipient=ANN, job="job", files={}),
        new_net.links[A].pending_peers,
        new_net.links[ANN].mock_datasets,
    ]
    for use in uses:
        with pytest.raises(RelayError, match="is not there"):
            use()
    assert not new_net.relay.exists()
    away.rename(new_net.relay)
    assert [job.name for job in new_net.fetch(A)] == ["job"]


def test_a_connection_is_made_from_its_configuration(net):
    who = net.participant(A)
    config = RelayConnectionConfig(email=A, url=who.relay_url, own_folder=who.own_folder)
    connection = config.connection_type.from_config(config)
    connection.reset_caches()
    assert connection.get_authenticated_email() == A
    assert connection.read_own_version_file() == connection.read_peer_version_file(A)
    assert connection.read_peer_version_file("nobody@x.example") is None
    (net.relay / "pub" / "odd@x.example").mkdir(exist_ok=True)
    (net.relay / "pub" / "odd@x.example" / "SYFT_version.json").write_bytes(b"{")
    assert connection.read_peer_version_file("odd@x.example") is None

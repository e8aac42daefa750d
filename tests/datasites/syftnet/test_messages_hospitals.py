"""Hostile hospitals: what a site sends that it may not is refused, reported, and delays nobody."""

import os

import pytest

from datasites.syftnet import wire
from tests.datasites.syftnet.messagekit import answer, asked, tree, waiting
from tests.syftnetkit import ANN, BOB, A, B


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("foreign_event", {"datasite_email": B}),
        ("foreign_event", {"is_deleted": True}),
        ("malformed", {"new_hash": "0" * 64}),
        ("bad_path", {"path_in_datasite": "../../keys/pinned.json"}),
        ("bad_path", {"path_in_datasite": "/etc/x"}),
        ("bad_path", {"path_in_datasite": f"app_data/job/review/{BOB}/v1/job/outputs/x"}),
        ("bad_path", {"path_in_datasite": f"app_data/job/inbox/{ANN}/v1/job/code/main.py"}),
        ("bad_path", {"path_in_datasite": f"app_data/job/review/{ANN}/v1/job/outputs/.x"}),
        ("malformed", {"id": 5}),
    ],
)
def test_a_sites_message_that_breaks_a_rule_is_refused(net, code, changes):
    before = tree(net.participant(ANN).syftbox)
    answer(net, **changes)
    assert net.links[ANN].collect() == []
    assert [(one.site, one.code) for one in net.links[ANN].refused] == [(A, code)]
    assert tree(net.participant(ANN).syftbox) == before
    assert waiting(net) == []


def test_hospital_b_cannot_write_into_the_results_of_a(net):
    answer(net, site=B, datasite_email=A)
    answer(net, site=A, signer=B)
    net.links[ANN].collect()
    codes = {(one.site, one.code) for one in net.links[ANN].refused}
    assert codes == {(B, "foreign_event"), (A, "bad_signature")}
    assert net.links[ANN].received(A, "job") == {}


def test_an_answer_to_what_was_never_asked_is_refused(net, job):
    net.links[ANN].refused.clear()
    net.links[A].publish(recipient=ANN, job=job, files={"out.bin": b"surprise"})
    assert net.links[ANN].collect() == []
    assert [one.code for one in net.links[ANN].refused] == ["unknown_job"]
    assert net.links[ANN].received(A, job) == {}
    net.links[ANN].refused.clear()


def test_what_a_site_released_it_cannot_change(net, job):
    asked(net, job, A)
    for data in (b"first", b"first", b"second"):
        net.links[A].publish(recipient=ANN, job=job, files={"out.bin": data})
    assert len(net.links[ANN].collect()) == 2
    assert [one.code for one in net.links[ANN].refused] == ["write_once"]
    assert net.links[ANN].received(A, job) == {"out.bin": b"first"}


def test_a_job_or_a_folder_called_outputs_has_states_that_change(outputs_net):
    net = outputs_net
    asked(net, "outputs", A)
    for status in ("running", "done"):
        net.links[A].set_status(sender=ANN, job="outputs", status=status)
        net.links[A].publish(recipient=ANN, job="outputs", files={})
        net.links[ANN].collect()
    assert net.links[ANN].refused == []


@pytest.mark.timeout(30)
def test_a_bad_site_delays_no_other_and_no_good_message_of_its_own(net, job, monkeypatch):
    asked(net, job, A, B)
    box = net.outbox(A, ANN)
    stem = "syfteventsmessagev3_1.0_00000000-0000-0000-0000-00000000000"
    (box / f"{stem}1.tar.gz").write_bytes(b"garbage")
    (box / f"{stem}2.tar.gz").mkdir()
    os.mkfifo(box / f"{stem}3.tar.gz")
    (box / "not a message").write_bytes(b"?")
    net.put(b"")  # in an inbox: no concern of a researcher
    for site in (A, B):
        net.links[site].publish(recipient=ANN, job=job, files={"out.bin": site.encode()})
    found = net.links[ANN].collect()
    assert {(one.site, one.files["out.bin"]) for one in found} == {(A, A.encode()), (B, B.encode())}
    assert [one.code for one in net.links[ANN].refused] == ["bad_signature"]
    monkeypatch.setattr(wire, "MAX_MESSAGE_BYTES", 100)
    (box / f"{stem}1.tar.gz").write_bytes(b"x" * 101)
    net.links[ANN].collect()
    assert net.links[ANN].refused[-1].code == "too_large"


def test_a_sites_replay_is_refused_and_an_older_state_replaces_no_newer_one(net, job):
    asked(net, job, A)
    sent = []
    for status in ("running", "done"):
        net.links[A].set_status(sender=ANN, job=job, status=status)
        net.links[A].publish(recipient=ANN, job=job, files={})
        (message,) = waiting(net)
        sent.append((message, message.read_bytes()))
        message.unlink()
    state = net.participant(ANN).syftbox / A / f"app_data/job/review/{ANN}/v1/{job}/state.yaml"
    for path, data in reversed(sent):  # the relay reorders
        path.write_bytes(data)
        net.links[ANN].collect()
        assert "done" in state.read_text()
    net.join(ANN)
    sent[0][0].write_bytes(sent[0][1])  # and replays
    net.links[ANN].collect()
    assert [one.code for one in net.links[ANN].refused] == ["replayed"]
    assert "done" in state.read_text()

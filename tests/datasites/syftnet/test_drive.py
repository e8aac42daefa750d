"""A Dura site on Google Drive, through syft's own mock of the service, with a stock researcher.

The researcher is `SyftRDSClient` as PySyft ships it: its own transport, keys, messages and
synchronisation. The site is an `OwnerLink`, with all its rules.
"""

import contextlib
import io
import json
import warnings

import pytest

from datasites.errors import RelayError, SettingsError
from datasites.syftnet import OwnerLink, ResearcherLink
from datasites.syftnet.client import Participant, connection_of
from datasites.syftnet.transports import RelayAccess

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from syft.sync.connections.drive.mock_drive_service import MockDriveService
    from syft_rds.client import SyftRDSClient

SITE, STOCK, OURS = "owner@hospital-a.example", "ann@university.example", "bob@institute.example"


class Drive:
    """One mock Drive with a stock researcher on it, a Dura site and a Dura researcher."""

    def __init__(self, root):
        self.root = root
        self.refused = []
        with quietly():
            self.stock, _ = SyftRDSClient.pair_with_mock_drive_service_connection(
                email1="unused@nowhere.example",
                email2=STOCK,
                base_path1=str(root / "unused"),
                base_path2=str(root / "stock"),
                add_peers=False,
                encryption=True,
                use_in_memory_cache=False,
                check_versions=True,
            )
        peers = self.stock.sync_engine.peer_manager
        self.store = peers.connection_router.connections[0].drive_service._backing_store
        self.site = OwnerLink(self.participant(SITE), lambda *why: self.refused.append(why))

    def participant(self, email):
        service = MockDriveService(self.store, email)
        home = self.root / email
        access = RelayAccess(drive_service=service)
        return Participant(
            email, "gdrive://", home / "box", home / "keys", is_site=email == SITE, access=access
        )

    def pair_stock(self):
        with quietly():
            self.stock.add_peer(SITE, sync=False)
            (asking,) = self.site.pending_peers()
            assert asking.email == STOCK
            self.site.approve_peer(STOCK, asking.fingerprint)
            self.stock.sync_engine.load_peers()

    def submit(self, name):
        code = self.root / f"code-{name}"
        code.mkdir()
        (code / "main.py").write_text("print('hello')\n")
        with quietly():
            self.stock.submit_python_job(
                SITE, str(code), job_name=name, entrypoint="main.py", force_submission=True
            )

    def sync(self):
        with quietly():
            self.stock.sync()

    def folder(self, kind):
        """Files in the folders between the site and the stock researcher."""
        for_us = f"#{SITE}#{kind}#{STOCK}"
        parents = {f.id for f in self.store.files.values() if f.name.endswith(for_us)}
        return [f for f in self.store.files.values() if set(f.parents) & parents]


@contextlib.contextmanager
def quietly():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    drive = Drive(tmp_path_factory.mktemp("drive"))
    drive.pair_stock()
    return drive


@pytest.fixture(autouse=True)
def calm(recwarn):
    """syft's mock uses a clock function that Python has deprecated."""
    warnings.simplefilter("ignore", DeprecationWarning)


def test_a_stock_job_passes_our_rules_and_its_answer_arrives(drive):
    drive.submit("first")
    assert len(drive.folder("inbox")) == 1
    (job,) = list(drive.site.fetch())
    assert (job.sender, job.name) == (STOCK, "first")
    assert job.files["main.py"] == b"print('hello')\n"
    assert drive.refused == []
    assert drive.folder("inbox") == []
    assert list(drive.site.fetch()) == []
    drive.site.set_status(sender=STOCK, job="first", status="done")
    drive.site.publish(recipient=STOCK, job="first", files={"result.json": b'{"n": 1}'})
    drive.sync()
    with quietly():
        mine = {job.name: job for job in drive.stock.jobs}
    assert mine["first"].status == "done"
    outputs = list((drive.root / "stock").rglob("result.json"))
    assert [json.loads(path.read_text()) for path in outputs] == [{"n": 1}]


def test_a_stock_message_that_poses_as_the_owner_is_refused_and_delays_nobody(drive):
    from syft.sync.messages.proposed_filechange import (
        ProposedFileChange,
        ProposedFileChangesMessage,
    )

    peers = drive.stock.sync_engine.peer_manager
    message = ProposedFileChangesMessage(
        sender_email=SITE,
        proposed_file_changes=[
            ProposedFileChange(
                path_in_datasite=f"app_data/job/inbox/{STOCK}/v1/x/code/main.py",
                content=b"print(1)",
                datasite_email=SITE,
            )
        ],
    )
    with quietly():
        router = peers.connection_router
        name = message.message_filename.as_string()
        for data in (b"junk", peers.peer_store.encrypt(SITE, message.as_compressed_data())):
            router.connections[0].watcher_send_raw_bytes_to_inbox(SITE, name, data)
            list(drive.site.fetch())
    assert [code for _, code in drive.refused] == ["bad_signature", "sender_spoofed"]
    drive.refused.clear()
    drive.submit("after")
    assert [job.name for job in drive.site.fetch()] == ["after"]
    assert drive.folder("inbox") == []


def test_two_duras_meet_on_drive(drive):
    ours = ResearcherLink(drive.participant(OURS))
    with quietly():
        ours.request(SITE)
        drive.site.approve_peer(OURS, ours.fingerprint)
        ours.pin(SITE, drive.site.fingerprint)
        ours.submit(site=SITE, job="j", files={"task.json": b"{}"})
        (job,) = list(drive.site.fetch())
        drive.site.publish(recipient=OURS, job="j", files={"w.safetensors": b"\0\xff" * 50_000})
        (delivery,) = ours.collect()
    assert job.sender == OURS
    assert delivery.files == {"w.safetensors": b"\0\xff" * 50_000}
    assert ours.collect() == []


def test_decisions_and_pinned_keys_are_not_on_drive(drive):
    assert json.loads((drive.root / SITE / "keys" / "SYFT_peers.json").read_text())[STOCK]
    owned = [f.name for f in drive.store.files.values() if f.owners[0]["emailAddress"] == SITE]
    assert owned
    assert "SYFT_peers.json" not in owned


def test_no_more_is_downloaded_than_asked_for(drive):
    mail = connection_of(drive.site._client).relay
    router = drive.stock.sync_engine.peer_manager.connection_router
    with quietly():
        router.connections[0].watcher_send_raw_bytes_to_inbox(SITE, "large", b"x" * 1000)
    connection = connection_of(drive.site._client)
    assert connection.inbox_names(STOCK) == ["large"]
    path = connection.inbox_path(STOCK, "large")
    assert mail.get(path, limit_bytes=10) == b"x" * 11
    assert mail.get(path) == b"x" * 1000
    mail.remove(path)
    assert connection.inbox_names(STOCK) == []
    assert connection.inbox_path(STOCK, "large") == ""
    assert mail.get("") is None
    mail.remove("")


def test_google_failing_is_one_line_and_goes_on(drive, monkeypatch):
    def broken(self):
        raise ConnectionResetError("token ya29.secret")

    with monkeypatch.context() as patch:
        patch.setattr(MockDriveService, "files", broken)
        for use in (
            lambda: list(drive.site.fetch()),
            lambda: drive.site.publish(recipient=STOCK, job="first", files={"x": b""}),
            drive.site.pending_peers,
            lambda: connection_of(drive.site._client).relay.get("id"),
        ):
            with quietly(), pytest.raises(RelayError, match="Google Drive failed") as caught:
                use()
            assert "ya29" not in str(caught.value)
    assert list(drive.site.fetch()) == []


def test_a_token_of_another_account_is_refused(drive):
    mail = connection_of(drive.site._client).relay
    mail.check()
    service = mail._connection.drive_service
    mail._connection.drive_service = MockDriveService(drive.store, OURS)
    with pytest.raises(RelayError, match=f"belongs to {OURS}"):
        mail.check()
    mail._connection.drive_service = service


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [(None, 0, "token_file"), ("{}", 0o644, "chmod 600"), ("{}", 0o600, "no OAuth token")],
)
def test_a_token_is_needed_and_private(tmp_path, text, mode, words):
    access = RelayAccess()
    if text is not None:
        path = tmp_path / "token.json"
        path.write_text(text)
        path.chmod(mode)
        access = RelayAccess(token_file=str(path))
    who = Participant(SITE, "gdrive://", tmp_path / "b", tmp_path / "k", True, access)
    with pytest.raises(SettingsError, match=words):
        OwnerLink(who, lambda *_: None)

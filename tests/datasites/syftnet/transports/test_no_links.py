"""Nothing on a relay leads elsewhere: whoever may write to it can lay links, pipes and files."""

import os
import shutil

import pytest

from datasites.errors import MailboxError
from datasites.syftnet.transports import folder as folder_module
from datasites.syftnet.transports.folder import FolderStorage
from datasites.syftnet.transports.storage import OddPathError

WITH_LINKS = ["file", "sftp"]
PATH = "channels/a@h.example/outbox/r@u.example/message"


@pytest.fixture(params=WITH_LINKS)
def place(request, new_place):
    return new_place(request.param)


@pytest.fixture
def elsewhere(tmp_path):
    """Somebody's folder, with a file in each place that the relay's path would lead to."""
    top = tmp_path / "elsewhere"
    parts = PATH.split("/")
    for depth in range(len(parts)):
        (top.joinpath(*parts[depth:])).parent.mkdir(parents=True, exist_ok=True)
    for depth in range(len(parts) - 1):
        top.joinpath(*parts[depth + 1 :]).write_bytes(b"theirs")
    return top


def link_at(place, depth, elsewhere):
    parts = PATH.split("/")
    at = place.folder.joinpath(*parts[: depth + 1])
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(elsewhere)
    return at


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("depth", range(4))
def test_no_link_is_followed_at_any_depth_and_a_mended_relay_works(place, elsewhere, depth, caplog):
    at, before = link_at(place, depth, elsewhere), contents(elsewhere)
    relay, odd = place.relay(), "/".join(PATH.split("/")[: depth + 1])
    assert relay.get(PATH) is None
    assert relay.names(PATH.rpartition("/")[0]) == []
    relay.remove(PATH)
    with pytest.raises(MailboxError, match=f"a link stands where the folder {odd} should be"):
        relay.put(PATH, b"ours")
    if depth < 3:
        with pytest.raises(MailboxError, match="a link stands"):
            relay.remove_folder(PATH.rpartition("/")[0])
    assert contents(elsewhere) == before
    [told] = relay.oddities([PATH.rpartition("/")[0], PATH.rpartition("/")[0]])
    assert odd in told
    relay.put("pub/a@h.example/SYFT_version.json", b"fine")  # nobody else is stopped
    at.unlink()
    relay.put(PATH, b"ours")
    assert relay.get(PATH) == b"ours"
    assert relay.oddities([PATH.rpartition("/")[0]]) == []


def test_removing_what_became_a_link_removes_the_link(place, elsewhere):
    before = contents(elsewhere)
    (place.folder / "box").symlink_to(elsewhere)
    place.relay().remove_folder("box")
    assert not (place.folder / "box").is_symlink()
    assert contents(elsewhere) == before


@pytest.mark.parametrize("odd", ["file", "pipe"])
@pytest.mark.timeout(30)
def test_what_is_no_folder_is_named(place, odd):
    at = place.folder / "channels"
    at.write_bytes(b"") if odd == "file" else os.mkfifo(at)
    relay = place.relay()
    assert relay.names("channels/x") == []
    with pytest.raises(MailboxError, match="something that is no folder stands where"):
        relay.put("channels/x/y", b"")
    assert relay.oddities(["channels/x"])


@pytest.mark.parametrize("path", ["../out", "box/../../out", "box//out", "./out", "/out", ""])
def test_a_path_that_would_lead_elsewhere_is_none(place, path):
    storage = place.open()
    with pytest.raises(FileNotFoundError, match="not a path below the relay"):
        storage.write(path, b"ours")
    with pytest.raises(FileNotFoundError):
        storage.read(path, limit_bytes=10)
    assert not (place.folder.parent / "out").exists()


def test_a_root_that_is_a_link_is_the_owners_choice(tmp_path):
    (tmp_path / "mounted").mkdir()
    (tmp_path / "relay").symlink_to(tmp_path / "mounted")
    storage = FolderStorage(tmp_path / "relay")
    storage.write("box/message", b"ours")
    assert storage.read("box/message", limit_bytes=10) == b"ours"


def test_a_folder_exchanged_for_a_link_in_the_middle_of_a_write_leads_nowhere(
    tmp_path, monkeypatch
):
    root, elsewhere = tmp_path / "relay", tmp_path / "elsewhere"
    (root / "box").mkdir(parents=True)
    elsewhere.mkdir()
    flush, exchanged = os.fsync, []

    def exchange(descriptor):
        if not exchanged:
            exchanged.append(shutil.move(root / "box", root / "moved"))
            (root / "box").symlink_to(elsewhere)
        flush(descriptor)

    monkeypatch.setattr(folder_module.os, "fsync", exchange)
    storage = FolderStorage(root)
    storage.write("box/message", b"ours")
    assert list(elsewhere.iterdir()) == []
    assert (root / "moved" / "message").read_bytes() == b"ours"
    with pytest.raises(OddPathError):
        storage.write("box/message", b"again")


def test_a_folder_that_nobody_may_enter_is_not_called_odd(place):
    (place.folder / "box").mkdir()
    assert place.relay().oddities(["box", "not/there"]) == []

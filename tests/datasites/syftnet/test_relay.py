"""The relay: whole files or none, odd things of a peer's making count as nothing, and a storage
that is missing or vanishes is said so instead of being taken for an empty one."""

import os
import threading

import pytest

from datasites.errors import RelayError
from datasites.syftnet.relay import Relay


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "relay").mkdir()
    return tmp_path / "relay"


@pytest.fixture
def relay(folder):
    return Relay(f"file://{folder}")


def test_what_is_put_is_got_and_removed(relay):
    assert relay.put("a/b/c", b"data") == "a/b/c"
    assert relay.get("a/b/c") == b"data"
    relay.put("a/b/c", b"newer")
    assert relay.get("a/b/c") == b"newer"
    relay.remove("a/b/c")
    assert relay.get("a/b/c") is None
    relay.remove("a/b/c")


def test_a_large_file_is_read_to_one_byte_beyond_the_limit(relay):
    relay.put("large", b"x" * 100)
    assert relay.get("large", limit_bytes=10) == b"x" * 11
    assert relay.get("large", limit_bytes=100) == b"x" * 100


def test_names_are_sorted_and_hide_what_is_being_written(relay, folder):
    relay.put("box/2", b"")
    relay.put("box/1", b"")
    relay.make_folder("box/3")
    (folder / "box" / ".tmp-half").write_bytes(b"ha")
    assert relay.names("box") == ["1", "2", "3"]
    assert relay.names("nowhere") == []


def test_a_folder_is_removed_with_all_it_holds(relay, folder):
    relay.put("box/in/file", b"")
    relay.remove_folder("box")
    assert not (folder / "box").exists()
    relay.remove_folder("box")


def test_a_writer_that_fails_leaves_no_half_file(relay, folder):
    relay.put("box/file", b"old")
    (folder / "box" / "taken").mkdir()
    (folder / "box" / "taken" / "inside").write_bytes(b"")
    relay.put("box/file", b"new")
    (folder / "box").chmod(0o500)
    try:
        if os.geteuid() != 0:
            with pytest.raises(RelayError, match="run again"):
                relay.put("box/file", b"newest")
    finally:
        (folder / "box").chmod(0o700)
    assert relay.get("box/file") == b"new"


def test_a_path_through_a_file_is_a_relay_error(relay):
    relay.put("file", b"")
    with pytest.raises(RelayError, match="nothing was lost"):
        relay.put("file/below", b"data")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("odd", ["folder", "pipe", "loop", "dangling"])
def test_a_folder_a_pipe_or_a_bad_link_is_no_file_and_stops_nobody(relay, folder, odd):
    path = folder / "odd"
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "dangling": lambda: path.symlink_to(folder / "nothing"),
    }[odd]()
    got = []
    reader = threading.Thread(target=lambda: got.append(relay.get("odd")), daemon=True)
    reader.start()
    reader.join(10)
    assert got == [None]


def test_a_relay_that_is_not_there_is_an_error_that_names_it(tmp_path):
    missing = Relay(f"file://{tmp_path}/missing")
    with pytest.raises(RelayError, match=r"missing.*mounted"):
        missing.check()


@pytest.mark.parametrize("url", ["nosuch://x", "s3a9://bucket"])
def test_an_unknown_kind_of_relay_is_refused(url):
    with pytest.raises(RelayError, match="check its URL"):
        Relay(url)


@pytest.mark.parametrize(
    "use",
    [
        lambda relay: relay.get("box/file"),
        lambda relay: relay.names("box"),
        lambda relay: relay.put("box/file", b""),
    ],
)
def test_a_relay_that_vanished_is_an_error_and_is_not_made_anew(relay, folder, use):
    relay.put("box/file", b"")
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(RelayError, match="is not there"):
        use(relay)
    assert not folder.exists()

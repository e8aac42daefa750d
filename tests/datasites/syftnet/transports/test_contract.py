"""What every storage must do: one suite over a folder, OpenSSH, an S3 server and WebDAV."""

import contextlib
import os
import threading

import pytest

from datasites.errors import RelayError
from datasites.syftnet.transports import StorageLostError
from datasites.syftnet.transports.storage import TEMPORARY

FILES = ["file", "sftp", "dav"]


def names_in(storage, path):
    try:
        return storage.names(path)
    except FileNotFoundError:
        return []


def test_what_is_written_is_read_replaced_and_removed(storage):
    storage.write("a/b/c", b"data")
    assert storage.read("a/b/c", limit_bytes=100) == b"data"
    storage.write("a/b/c", b"newer and longer")
    assert storage.read("a/b/c", limit_bytes=100) == b"newer and longer"
    storage.remove("a/b/c")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b/c", limit_bytes=100)


def test_all_bytes_and_sizes_come_back(storage):
    every = bytes(range(256)) * 1200
    for data in (b"", b"\n", b"\r\n\0", every, os.urandom(3_000_001)):
        storage.write("box/file", data)
        assert storage.read("box/file", limit_bytes=1 << 30) == data


def test_no_more_is_read_than_asked_for(storage):
    storage.write("large", b"x" * 1000)
    assert storage.read("large", limit_bytes=11) == b"x" * 11
    assert storage.read("large", limit_bytes=1000) == b"x" * 1000
    assert storage.read("large", limit_bytes=1001) == b"x" * 1000


def test_names_that_people_have_are_names(storage):
    names = ["owner@hospital-a.example", "msgv2_1790000000.123_a-b.tar.gz", "a b+c", "ä~#%20"]
    for name in names:
        storage.write(f"box/{name}", name.encode())
    assert sorted(storage.names("box")) == sorted(names)
    for name in names:
        assert storage.read(f"box/{name}", limit_bytes=100) == name.encode()
        storage.remove(f"box/{name}")
    assert names_in(storage, "box") == []


def test_folders_and_files_are_listed_one_level_deep(storage):
    for path in ("box/2", "box/1", "box/3/deep/file", "boxer/4"):
        storage.write(path, b"")
    assert sorted(storage.names("box")) == ["1", "2", "3"]


def test_a_listing_is_never_an_old_one(storage):
    for number in range(5):
        storage.write(f"box/{number}", b"")
        assert len(storage.names("box")) == number + 1
    storage.remove("box/0")
    assert sorted(storage.names("box")) == ["1", "2", "3", "4"]


def test_two_connections_see_each_other(place):
    one, other = place.open(), place.open()
    one.write("box/file", b"1")
    assert other.read("box/file", limit_bytes=9) == b"1"
    other.write("box/file", b"2")
    assert one.read("box/file", limit_bytes=9) == b"2"
    other.remove("box/file")
    assert "file" not in names_in(one, "box")


def test_what_is_not_there_is_not_there(storage):
    with pytest.raises(FileNotFoundError):
        storage.read("no/such/file", limit_bytes=9)
    assert names_in(storage, "no/such/folder") == []


def test_a_folder_is_no_file(storage):
    storage.write("box/file", b"")
    with pytest.raises(FileNotFoundError):
        storage.read("box", limit_bytes=9)


def test_a_folder_goes_with_all_it_holds(storage):
    storage.write("box/in/file", b"")
    storage.write("boxer", b"stays")
    storage.remove_folder("box")
    assert names_in(storage, "box") == []
    assert storage.read("boxer", limit_bytes=9) == b"stays"


@pytest.mark.parametrize("kind", ["file", "sftp", "s3"])
def test_a_reader_sees_the_old_or_the_new_and_nothing_between(new_place, kind):
    place = new_place(kind)
    writer, reader = place.open(), place.open()
    contents = [bytes([letter]) * 200_000 for letter in b"abcd"]
    writer.write("box/file", contents[0])
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(reader.read("box/file", limit_bytes=1 << 30))

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(4):
        for data in contents:
            writer.write("box/file", data)
    done.set()
    thread.join()
    assert seen
    assert seen <= set(contents)


@pytest.mark.parametrize("kind", FILES)
def test_nothing_half_written_has_a_messages_name(new_place, kind):
    place = new_place(kind)
    storage, path = place.open(), place.folder / "box" / "file"
    sizes, done = set(), threading.Event()

    def look():
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError):
                sizes.add(path.stat().st_size)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(4):
        storage.write("box/file", b"x" * 1_000_000)
        storage.remove("box/file")
    done.set()
    thread.join()
    assert sizes <= {1_000_000}


def test_threads_may_share_a_connection(storage):
    failed = []

    def work(number):
        try:
            for turn in range(5):
                path, data = f"box/{number}-{turn}", f"{number}-{turn}".encode() * 5000
                storage.write(path, data)
                assert storage.read(path, limit_bytes=1 << 30) == data
                storage.names("box")
                storage.remove(path)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_what_is_being_written_is_not_listed_by_the_relay(place):
    storage, relay = place.open(), place.relay()
    storage.write(f"box/{TEMPORARY}half", b"ha")
    storage.write("box/whole", b"")
    relay.make_folder("box/folder")
    assert relay.names("box") == ["folder", "whole"]


def test_writing_leaves_nothing_beside(storage):
    storage.write("box/file", b"1")
    storage.write("box/file", b"2")
    assert storage.names("box") == ["file"]


# --- the relay goes and comes back ----------------------------------------------------------


def test_a_server_that_is_killed_is_one_line_and_the_same_relay_goes_on(place):
    relay = place.relay()
    relay.put("box/file", b"data")
    place.server.stop()
    try:
        for use in (
            lambda: relay.get("box/file"),
            lambda: relay.names("box"),
            lambda: relay.put("box/new", b""),
            lambda: relay.remove("box/file"),
            relay.check,
        ):
            with pytest.raises(RelayError) as caught:
                use()
            text = str(caught.value)
            assert place.url in text
            assert "\n" not in text
            assert not any(secret in text for secret in secrets(place))
    finally:
        place.server.start()
    if place.kind == "s3":  # moto's state is in memory
        return
    assert relay.get("box/file") == b"data"
    relay.put("box/new", b"new")
    assert relay.names("box") == ["file", "new"]


def secrets(place):
    access = place.access
    return [text for text in (access.password, access.secret_key, access.access_key) if text]


def test_a_relay_that_is_not_there_is_not_made(place):
    if place.folder is None:
        place.url = place.url.replace("relay-", "nowhere-")
    else:
        place.url += "-missing"
    missing = place.relay()
    for use in (
        missing.check,
        lambda: missing.put("box/file", b""),
        lambda: missing.get("box/file"),
        lambda: missing.names("box"),
    ):
        with pytest.raises(RelayError, match="is not there"):
            use()
    if place.folder is not None:
        assert not place.folder.with_name(place.folder.name + "-missing").exists()


def test_a_server_that_nobody_runs(place, servers):
    if place.kind == "file":
        return
    port = place.server.port
    changed = {"endpoint_url": "http://127.0.0.1:9"} if place.kind == "s3" else {}
    url = place.url.replace(f":{port}", ":9")
    known = {}
    if place.kind == "sftp":
        path = place.server.root / "known_9"
        path.write_text(place.server.known("host").replace(str(port), "9"))
        known = {"known_hosts": str(path)}
    place.url = url
    storage = place.open(**changed, **known)
    with pytest.raises(StorageLostError):
        storage.is_there()


# --- folders that a peer spoils ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "sftp"])
@pytest.mark.parametrize("odd", ["folder", "pipe", "loop", "dangling", "outside"])
@pytest.mark.timeout(30)
def test_a_pipe_or_a_link_is_no_file_and_stops_nobody(new_place, tmp_path, kind, odd):
    place = new_place(kind)
    path = place.folder / "odd"
    (tmp_path / "secret").write_text("the host's")
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "dangling": lambda: path.symlink_to(place.folder / "nothing"),
        "outside": lambda: path.symlink_to(tmp_path / "secret"),
    }[odd]()
    relay = place.relay()
    assert relay.get("odd") is None
    relay.put("fine", b"1")
    assert relay.get("fine") == b"1"


@pytest.mark.parametrize("kind", FILES)
def test_a_file_where_a_folder_should_be_is_an_empty_folder(new_place, kind):
    place = new_place(kind)
    (place.folder / "box").write_bytes(b"no folder")
    relay = place.relay()
    assert relay.names("box") == []
    assert relay.get("box/file") is None
    relay.remove("box/file")
    with pytest.raises(RelayError):
        relay.put("box/file", b"")


@pytest.mark.parametrize("kind", ["file", "sftp"])
def test_removing_a_folder_removes_links_and_not_what_they_name(new_place, tmp_path, kind):
    place = new_place(kind)
    (tmp_path / "kept").write_text("kept")
    (place.folder / "box" / "in").mkdir(parents=True)
    (place.folder / "box" / "in" / "link").symlink_to(tmp_path)
    place.open().remove_folder("box")
    assert not (place.folder / "box").exists()
    assert (tmp_path / "kept").exists()

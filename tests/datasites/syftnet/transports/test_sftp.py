"""SFTP against a real OpenSSH server: whose keys are believed, and what is said."""

import logging
import os
import subprocess

import pytest

from datasites.errors import RelayError, SettingsError
from datasites.syftnet.relay import Relay
from datasites.syftnet.transports import StorageLostError

from .conftest import SECRET


@pytest.fixture
def place(new_place):
    return new_place("sftp")


@pytest.fixture
def sshd(place):
    return place.server


def known(sshd, tmp_path, text):
    path = tmp_path / "known"
    path.write_text(text.replace("PORT", str(sshd.port)))
    return {"known_hosts": str(path)}


def test_an_unknown_server_is_not_logged_in_to(place, sshd, tmp_path):
    with pytest.raises(StorageLostError, match="not found in known_hosts"):
        place.open(**known(sshd, tmp_path, "")).is_there()


def test_a_server_with_another_key_is_not_logged_in_to(place, sshd, tmp_path):
    other = known(sshd, tmp_path, sshd.known("other"))
    with pytest.raises(StorageLostError, match=r"another host key.*ask its operator"):
        place.open(**other).is_there()
    assert (tmp_path / "known").read_text() == sshd.known("other")


def test_a_server_whose_key_changes_while_we_run_is_left(place, sshd):
    relay = place.relay()
    relay.put("box/file", b"1")
    sshd.stop()
    sshd.start(host_key="other")
    try:
        with pytest.raises(RelayError, match="another host key"):
            relay.put("box/file", b"2")
    finally:
        sshd.stop()
        sshd.start()
    assert relay.get("box/file") == b"1"


def test_a_stranger_is_refused(place, sshd):
    storage = place.open(key_file=str(sshd.root / "stranger"))
    with pytest.raises(StorageLostError, match=r"refused the user.*key or password"):
        storage.is_there()


def test_a_key_with_a_passphrase(place, sshd):
    locked = str(sshd.locked)
    assert place.open(key_file=locked, key_passphrase=SECRET).is_there()
    for wrong in ("", "wrong-" + SECRET):
        with pytest.raises(StorageLostError) as caught:
            place.open(key_file=locked, key_passphrase=wrong).is_there()
        assert SECRET not in str(caught.value)


def test_a_refused_password_is_in_no_error_and_no_log(place, caplog):
    caplog.set_level(logging.DEBUG)
    relay = place.relay(key_file="", password=SECRET)
    with pytest.raises(RelayError) as caught:
        relay.check()
    assert "refused the user" in str(caught.value)
    error, said = caught.value, caplog.text
    while error is not None:
        said += repr(error) + str(error)
        error = error.__cause__ or error.__context__
    assert said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"known_hosts": ""}, "ssh-keyscan"),
        ({"known_hosts": "/nowhere/known_hosts"}, "ssh-keyscan"),
        ({"key_file": "", "password": ""}, "key_file or a password"),
        ({"key_file": "/nowhere/key"}, "cannot be read"),
    ],
)
def test_what_is_missing_is_said_before_connecting(place, changes, words):
    with pytest.raises(SettingsError, match=words):
        place.open(**changes)


def test_a_key_that_others_can_read_is_refused(place, sshd, tmp_path):
    path = tmp_path / "key"
    path.write_bytes((sshd.root / "user").read_bytes())
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        place.open(key_file=str(path))


def test_a_connection_that_dies_between_two_calls_is_not_noticed(place):
    relay = place.relay()
    relay.put("box/file", b"1")
    place.opened[-1]._ssh.get_transport().sock.close()
    assert relay.get("box/file") == b"1"
    place.opened[-1]._ssh.get_transport().close()
    relay.put("box/file", b"2")
    assert relay.names("box") == ["file"]


@pytest.fixture
def full_disk(place, tmp_path):
    """A relay on a file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small file system: run it as root")
    mount = place.folder / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("kind", ["file", "sftp"])
def test_a_full_disk_is_one_line_leaves_nothing_and_recovers(place, full_disk, kind):
    url = f"file://{full_disk}" if kind == "file" else place.url + "/small"
    relay = Relay(url, place.access)
    relay.put("box/file", b"old")
    for _ in range(2):
        with pytest.raises(RelayError, match="nothing was lost"):
            relay.put("box/file", b"x" * 2_000_000)
    assert relay.get("box/file") == b"old"
    assert [path.name for path in (full_disk / "box").iterdir()] == ["file"]
    relay.put("box/other", b"x" * 500_000)
    relay.close()

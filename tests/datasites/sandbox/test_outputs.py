"""Only a declared, bounded, plain file with one name is taken from a job's output folder.

Links are tried against a real secret beside the folder; a pipe may not block the agent.
"""

import os
import socket
import threading
from pathlib import Path

import pytest

from datasites.errors import OutputError
from datasites.sandbox import take_output


@pytest.fixture
def out(tmp_path):
    (tmp_path / "secret").write_bytes(b"a secret of the host")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 10])
def test_a_plain_file_up_to_its_declared_size_is_taken(out, data):
    (out / "file").write_bytes(data)
    assert take_output(out, "file", max_bytes=10) == data


def test_one_byte_too_many_is_refused(out):
    (out / "file").write_bytes(b"x" * 11)
    with pytest.raises(OutputError, match="11 bytes; declared are 10"):
        take_output(out, "file", max_bytes=10)


def test_a_file_that_grows_while_it_is_read_is_refused():
    # The kernel states 0 bytes for this regular file and then gives more, as a growing one does.
    status = Path("/proc/self/status")
    assert status.stat().st_size == 0
    with pytest.raises(OutputError, match="grew beyond its declared 10 bytes"):
        take_output(status.parent, "status", max_bytes=10)


def test_a_sparse_giant_is_refused_unread(out):
    with (out / "file").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OutputError, match="declared are"):
        take_output(out, "file", max_bytes=10)


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "plain", "nowhere", "file"])
def test_no_link_is_followed(out, target):
    (out / "plain").write_bytes(b"plain")
    (out / "file").symlink_to(target)
    with pytest.raises(OutputError, match="no plain file"):
        take_output(out, "file", max_bytes=1000)


def test_a_file_with_a_second_name_is_refused(out):
    os.link(out.parent / "secret", out / "file")
    with pytest.raises(OutputError, match="one name"):
        take_output(out, "file", max_bytes=1000)


def test_a_folder_is_refused(out):
    (out / "file").mkdir()
    with pytest.raises(OutputError, match="not a regular file"):
        take_output(out, "file", max_bytes=1000)


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once_with_or_without_a_writer(out):
    os.mkfifo(out / "file")
    refused = []

    def take():
        with pytest.raises(OutputError):
            take_output(out, "file", max_bytes=1000)
        refused.append(True)

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    taker.join(5)
    assert refused == [True]
    keep = os.open(out / "file", os.O_RDWR | os.O_NONBLOCK)
    os.write(keep, b"data")
    with pytest.raises(OutputError, match="not a regular file"):
        take_output(out, "file", max_bytes=1000)
    os.close(keep)


def test_a_socket_is_refused(out, monkeypatch):
    monkeypatch.chdir(out)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("file")
    with pytest.raises(OutputError, match="no plain file"):
        take_output(out, "file", max_bytes=1000)


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "a/b", "/etc/passwd"])
def test_a_name_that_is_a_path_is_refused(out, name):
    with pytest.raises(OutputError, match="not a plain file name"):
        take_output(out, name, max_bytes=1000)


def test_a_missing_file_is_said_so(out):
    with pytest.raises(OutputError, match="no plain file 'file': No such file"):
        take_output(out, "file", max_bytes=1000)

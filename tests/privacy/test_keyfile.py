import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.errors import KeyFileError, LedgerWriteError
from privacy.ledger.file import create_file
from privacy.signing.key_file import create_key, load_key


def test_round_trip_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old = os.umask(0)
    try:
        made = create_key(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).public_hex == made.public_hex


def test_never_over_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    create_key(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="exists already"):
        create_key(path)
    assert path.read_bytes() == before


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot create"):
        create_key(tmp_path / "missing" / "key.pem")
    with pytest.raises(KeyFileError, match="cannot open"):
        load_key(tmp_path / "key.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_keys_that_others_can_reach_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    create_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="treat the key as lost"):
        load_key(path)


def test_links_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    create_key(path)
    link = tmp_path / "link.pem"
    link.symlink_to(path)
    with pytest.raises(KeyFileError, match="cannot open"):
        load_key(link)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for special in (folder, pipe):
        with pytest.raises(KeyFileError, match="not a regular file"):
            load_key(special)


def test_another_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    create_key(path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(KeyFileError, match="belongs to user"):
        load_key(path)


def test_other_content_is_refused(tmp_path: Path) -> None:
    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for content, message in ((b"hello", "no unencrypted"), (other, "not an Ed25519 key")):
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyFileError, match=message):
            load_key(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        create_key(tmp_path / "key.pem")
    assert list(tmp_path.iterdir()) == []


def test_a_key_has_its_name_only_once_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut within the write leaves no half key that nothing would write over."""
    path = tmp_path / "key.pem"
    named: list[bool] = []

    def watch(_descriptor: int) -> None:
        named.append(path.exists())

    monkeypatch.setattr(os, "fsync", watch)
    create_key(path)
    assert named == [False, True]  # the bytes, then the folder


def test_a_name_that_cannot_be_made_durable_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folder(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", no_folder)
    for create in (create_key, lambda path: create_file(path, b"first\n")):
        with pytest.raises((KeyFileError, LedgerWriteError), match="Input/output error"):
            create(tmp_path / "file")
        assert list(tmp_path.iterdir()) == []

"""Credentials: from a private file or the environment, shown and logged nowhere."""

import pytest

from datasites.errors import SettingsError
from datasites.syftnet.transports import RelayAccess, load_access

SECRET = "correct-horse-battery-staple"  # noqa: S105


@pytest.fixture
def write(tmp_path):
    def go(text, mode=0o600):
        path = tmp_path / "relay.toml"
        path.write_text(text)
        path.chmod(mode)
        return tmp_path

    return go


def test_nothing_is_needed_for_a_folder(tmp_path):
    assert load_access(tmp_path, {}) == RelayAccess(source=str(tmp_path / "relay.toml"))


def test_the_file_is_read_and_the_environment_wins(write):
    folder = write(f'username = "a"\npassword = "{SECRET}"\nkey_file = "id"\n')
    access = load_access(folder, {"DURA_RELAY_USERNAME": "b", "DURA_RELAY_CA_FILE": "/ca.pem"})
    assert (access.username, access.password) == ("b", SECRET)
    assert (access.key_file, access.ca_file) == (str(folder / "id"), "/ca.pem")


def test_known_hosts_beside_the_file_are_found(write):
    folder = write("")
    assert load_access(folder, {}).known_hosts == ""
    (folder / "known_hosts").write_text("")
    assert load_access(folder, {}).known_hosts == str(folder / "known_hosts")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(write, mode):
    with pytest.raises(SettingsError, match=r"chmod 600 .*relay.toml"):
        load_access(write("", mode), {})


@pytest.mark.parametrize(
    "text",
    [
        f'pasword = "{SECRET}"',
        f'password = "{SECRET}',
        f"password = {SECRET}",
        f'password = ["{SECRET}"]',
        'source = "x"',
        'drive_service = "x"',
        "port = 22",
    ],
)
def test_a_wrong_file_is_refused_without_repeating_it(write, text):
    with pytest.raises(SettingsError, match=r"relay\.toml") as caught:
        load_access(write(text), {})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_secret_is_shown():
    names = ("password", "key_passphrase", "access_key", "secret_key")
    access = RelayAccess(**dict.fromkeys(names, SECRET))
    assert SECRET not in repr(access)
    assert SECRET not in str(access)

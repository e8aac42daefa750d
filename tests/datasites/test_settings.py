"""site.toml: every field checked, a wrong one named, a half-written file refused."""

import tomllib

import pydantic
import pytest

from datasites.errors import SettingsError
from datasites.site import settings as module
from datasites.site.settings import SETTINGS_FILE, make_settings, read_settings, write_settings

GOOD = {"name": "A", "email": "owner@hospital-a.example", "relay": "file:///srv/relay"}


def test_settings_are_read_back_as_they_were_written(tmp_path):
    made = make_settings(**GOOD, reviewers=("ann", "bob"), quorum=2, poll_s=1.5, threads=4)
    write_settings(tmp_path, made)
    assert read_settings(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == [SETTINGS_FILE]


def test_a_settings_file_needs_only_three_lines(tmp_path):
    lines = [f'{name} = "{value}"' for name, value in GOOD.items()]
    (tmp_path / SETTINGS_FILE).write_text("\n".join(lines))
    assert read_settings(tmp_path) == make_settings(**GOOD)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a/b"),
        ("email", "no e-mail"),
        ("email", "../x@y.example"),
        ("relay", ""),
        ("classes", ("one",)),
        ("image_size", 8),
        ("image_size", "64"),
        ("image_size", 64.0),
        ("quorum", 0),
        ("approval_days", 0),
        ("threads", True),
        ("job_timeout_s", 0),
        ("job_memory_gib", 1),
        ("poll_s", 0.0),
        ("poll_s", float("nan")),
        ("poll_s", float("inf")),
        ("version", 2),
        ("no_such_setting", 1),
        ("Relay", "file:///x"),
    ],
)
def test_a_wrong_or_unknown_setting_is_named(tmp_path, field, value):
    with pytest.raises(SettingsError, match=field):
        make_settings(**{**GOOD, field: value})


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_missing_setting_is_named(missing):
    values = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(SettingsError, match=missing):
        make_settings(**values)


def test_a_misspelt_setting_in_the_file_is_named_with_the_file(tmp_path):
    write_settings(tmp_path, make_settings(**GOOD))
    with (tmp_path / SETTINGS_FILE).open("a") as file:
        file.write("qorum = 2\n")
    with pytest.raises(SettingsError, match=r"site\.toml.*qorum.*mend it by hand"):
        read_settings(tmp_path)


def test_more_must_agree_than_there_are_reviewers():
    with pytest.raises(SettingsError, match="quorum 3 of 2 reviewers"):
        make_settings(**GOOD, reviewers=("ann", "bob"), quorum=3)


def test_every_half_of_a_settings_file_is_refused_or_whole(tmp_path):
    write_settings(tmp_path, make_settings(**GOOD, reviewers=("ann",)))
    path = tmp_path / SETTINGS_FILE
    whole = path.read_bytes()
    good = read_settings(tmp_path)
    needed = max(whole.index(line.encode()) for line in ("name", "email", "relay"))
    for length in range(needed):
        path.write_bytes(whole[:length])
        with pytest.raises(SettingsError, match=r"site\.toml"):
            read_settings(tmp_path)
    path.write_bytes(whole)
    assert read_settings(tmp_path) == good


@pytest.mark.parametrize("data", [b"\xff\xfe", b"= 1", b"name = ", b"\0"])
def test_an_unreadable_file_says_what_to_do(tmp_path, data):
    (tmp_path / SETTINGS_FILE).write_bytes(data)
    with pytest.raises(SettingsError, match=r"cannot be read.*mend it by hand"):
        read_settings(tmp_path)


def test_a_folder_in_the_files_place_is_refused(tmp_path):
    (tmp_path / SETTINGS_FILE).mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)


def test_a_folder_that_is_no_site_says_how_to_make_one(tmp_path):
    with pytest.raises(SettingsError, match="dura site init"):
        read_settings(tmp_path / "nothing")


def test_a_write_that_fails_leaves_the_old_settings_whole(tmp_path, monkeypatch):
    old = make_settings(**GOOD)
    write_settings(tmp_path, old)
    monkeypatch.setattr(module.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_settings(tmp_path, make_settings(**GOOD, approval_days=7))
    assert read_settings(tmp_path) == old


def test_settings_do_not_change_in_place():
    made = make_settings(**GOOD)
    with pytest.raises(pydantic.ValidationError):
        made.quorum = 5


def test_nothing_secret_is_written(tmp_path):
    write_settings(tmp_path, make_settings(**GOOD))
    names = set(tomllib.loads((tmp_path / SETTINGS_FILE).read_text()))
    assert not {name for name in names if "key" in name or "secret" in name or "password" in name}

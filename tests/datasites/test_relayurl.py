"""A relay's URL: its kinds, and no secret in it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.errors import SettingsError
from datasites.site.relay_url import RelayAddress, parse_relay_url

SECRET = "correct-horse"  # noqa: S105


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("file:///srv/relay/", RelayAddress("file", "", None, "", "/srv/relay")),
        ("file:///srv/a%20b", RelayAddress("file", "", None, "", "/srv/a b")),
        ("sftp://me@host.example:2222/r", RelayAddress("sftp", "host.example", 2222, "me", "/r")),
        ("sftp://host.example/", RelayAddress("sftp", "host.example", None, "", "")),
        ("s3://bucket/dura", RelayAddress("s3", "bucket", None, "", "/dura")),
        ("davs://me@h.example/dav", RelayAddress("davs", "h.example", None, "me", "/dav")),
        ("dav://127.0.0.1:80/x", RelayAddress("dav", "127.0.0.1", 80, "", "/x")),
        ("gdrive://", RelayAddress("gdrive", "", None, "", "")),
    ],
)
def test_kinds(url, address):
    assert parse_relay_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        f"sftp://me:{SECRET}@host/r",
        f"davs://me:{SECRET}@host/r",
        f"s3://bucket?secret={SECRET}",
        f"sftp://host/r#{SECRET}",
        "ftp://host/r",
        "/srv/relay",
        "",
        "sftp:///r",
        "s3://",
        "file://srv/relay",
        "file://",
        "file:///srv/../etc",
        "sftp://host:99999/",
        "dav://hospital.example/dura",
        "memory://",
        "http://host/",
    ],
)
def test_others_are_refused_and_no_secret_is_repeated(url):
    with pytest.raises(SettingsError) as caught:
        parse_relay_url(url)
    assert SECRET not in str(caught.value)


@given(st.sampled_from(["", "sftp://", "file:///", "s3://a"]), st.text(max_size=20))
def test_any_text_is_parsed_or_refused(start, text):
    with contextlib.suppress(SettingsError):
        assert parse_relay_url(start + text).scheme

from collections.abc import Callable

import pytest

from privacy.errors import LedgerError
from privacy.spending.entries import MAX_TEXT, Entry, EntryKind, entry_from_json, entry_to_json

Note = Callable[..., Entry]


def test_json_round_trip(note: Note) -> None:
    for kind in EntryKind:
        entry = note(kind, detail={"a": [1, 2.5, None, "ü"], "b": {}}, reason="")
        assert entry_from_json(entry_to_json(entry)) == entry


def test_a_caller_cannot_change_an_entry_later(note: Note) -> None:
    inner = ["before"]
    entry = note(detail={"list": inner})
    inner.append("after")
    assert entry.detail == {"list": ["before"]}
    with pytest.raises(TypeError):
        entry.detail["list"] = []  # type: ignore[index]


@pytest.mark.parametrize(
    "time",
    [
        "",
        "2026-11-23",
        "2026-11-23T12:00:00",
        "2026-11-23T12:00:00+00:00",
        "2026-11-23T12:00:00+01:00",
        "2026-11-23 12:00:00Z",
        "2026-13-23T12:00:00Z",
        "2026-11-23T25:00:00Z",
        "2026-11-23T12:00:00Z\n",
        "２026-11-23T12:00:00Z",
        None,
        0,
    ],
)
def test_only_utc_with_z(note: Note, time: object) -> None:
    with pytest.raises(LedgerError):
        note(time=time)


def test_fractions_of_seconds_are_fine(note: Note) -> None:
    assert note(time="2026-11-23T12:00:00.123456Z").time.endswith("456Z")


@pytest.mark.parametrize("field", ["actor", "action", "resource", "reason"])
@pytest.mark.parametrize("value", [None, 3, b"x", "x" * (MAX_TEXT + 1)])
def test_texts_are_texts(note: Note, field: str, value: object) -> None:
    with pytest.raises(LedgerError, match=field):
        note(**{field: value})


@pytest.mark.parametrize("field", ["actor", "action", "resource"])
def test_only_a_reason_may_be_empty(note: Note, field: str) -> None:
    with pytest.raises(LedgerError, match=field):
        note(**{field: ""})


@pytest.mark.parametrize("detail", [None, [], "x", {"x": float("nan")}, {"x": {1}}, {"x": 2**60}])
def test_details_are_plain_json(note: Note, detail: object) -> None:
    with pytest.raises(LedgerError, match="detail"):
        note(detail=detail)


def test_kinds_are_kinds(note: Note) -> None:
    with pytest.raises(LedgerError, match="EntryKind"):
        note("spend_reserved")


def test_malformed_json(note: Note) -> None:
    good = entry_to_json(note())
    for bad in (
        None,
        [],
        {},
        {**good, "extra": 1},
        {k: v for k, v in good.items() if k != "actor"},
        {**good, "kind": "spend_forgiven"},
        {**good, "kind": ["disclosure"]},
        {**good, "detail": 3},
    ):
        with pytest.raises(LedgerError):
            entry_from_json(bad)

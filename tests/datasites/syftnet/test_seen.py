"""Replays: a message is new once, whatever its age, also after a restart or a broken record."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.errors import MessageError
from datasites.syftnet import replay as seen
from datasites.syftnet.replay import History, ReplayGuard, check_new, with_taken

PEER = "ann@university.example"


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), max_size=60))
def test_no_sequence_of_messages_has_one_taken_twice(messages):
    kept = seen.KEPT
    seen.KEPT = 5
    try:
        history, taken = History(), []
        for at, content in messages:
            try:
                check_new(history, signed_s=at, digest=str(content), now_s=60)
            except MessageError:
                continue
            taken.append((at, content))
            history = with_taken(history, signed_s=at, digest=str(content))
            assert len(history.taken) <= 5
        # The same content with another time is another signed message, and has another hash.
        assert len(taken) == len(set(taken))
        for at, content in taken:
            with pytest.raises(MessageError):
                check_new(history, signed_s=at, digest=str(content), now_s=60)
    finally:
        seen.KEPT = kept


@pytest.mark.parametrize("signed", [float("nan"), float("inf"), 1e6 + seen.AHEAD_S + 1])
def test_an_impossible_time_is_refused(signed):
    with pytest.raises(MessageError) as refused:
        check_new(History(), signed_s=signed, digest="a", now_s=1e6)
    assert refused.value.code == "bad_time"


def test_the_record_survives_a_restart_and_belongs_to_one_peer(tmp_path):
    ReplayGuard(tmp_path / "seen").add(PEER, signed_s=5.0, digest="a")
    again = ReplayGuard(tmp_path / "seen")
    with pytest.raises(MessageError, match="taken before"):
        again.check(PEER, signed_s=5.0, digest="a", now_s=9.0)
    again.check("bob@x.example", signed_s=5.0, digest="a", now_s=9.0)
    again.forget(PEER)
    again.check(PEER, signed_s=5.0, digest="a", now_s=9.0)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "seen").iterdir()} <= {0o600}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"floor": "x", "taken": []}', '{"taken": [1]}'])
def test_a_broken_record_refuses_what_was_signed_before_it_broke(tmp_path, text):
    ReplayGuard(tmp_path).add(PEER, signed_s=5.0, digest="a")
    (path,) = tmp_path.iterdir()
    path.write_text(text)
    os.utime(path, (100.0, 100.0))
    record = ReplayGuard(tmp_path)
    with pytest.raises(MessageError):
        record.check(PEER, signed_s=99.0, digest="b", now_s=200.0)
    record.check(PEER, signed_s=101.0, digest="b", now_s=200.0)

"""The life of an item: draft, held, released or withheld, decided once; the ledger says which."""

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.desk import Item, ItemKind, ItemState, decide
from datasites.desk.items import ENTRY_OF, changed, content_sha256, must_be_current, replay
from datasites.errors import AlreadyDecidedError, DeskError, StaleViewError
from privacy import Entry, EntryKind

HELD = Item(
    id="q1-weights",
    kind=ItemKind.WEIGHTS,
    study="study",
    plan_sha256="0" * 64,
    researcher="ann@university.example",
    request="q1",
    job="job",
    state=ItemState.HELD,
    files=("weights.safetensors",),
    content_sha256="abcd" * 16,
)
BY = {"actor": "owner", "reason": "looked at it", "time": "2026-06-01T00:00:00.000Z"}
DECISIONS = [ItemState.RELEASED, ItemState.WITHHELD]


@pytest.mark.parametrize("state", DECISIONS)
@pytest.mark.parametrize("before", [ItemState.HELD, ItemState.DRAFT])
def test_an_open_item_is_decided_with_who_when_and_why(state, before):
    decided = decide(replace(HELD, state=before), state=state, **BY)
    assert (decided.state, decided.decided_by, decided.reason) == (state, "owner", "looked at it")
    assert decided.decided == BY["time"]
    assert (decided.id, decided.files, decided.sent) == (HELD.id, HELD.files, False)
    assert not decided.is_open


@pytest.mark.parametrize("first", DECISIONS)
@pytest.mark.parametrize("second", list(ItemState))
def test_no_decision_is_taken_twice(first, second):
    decided = decide(HELD, state=first, **BY)
    with pytest.raises(AlreadyDecidedError, match=f"was {first} by owner at .* twice"):
        decide(decided, state=second, **BY)


@pytest.mark.parametrize("state", [ItemState.HELD, ItemState.DRAFT])
def test_holding_is_no_decision(state):
    with pytest.raises(DeskError, match="held already"):
        decide(HELD, state=state, **BY)


def test_only_a_case_report_is_a_disclosure():
    disclosing = [kind for kind in ItemKind if replace(HELD, kind=kind).is_disclosure]
    assert disclosing == [ItemKind.CASE_REPORT]


def test_an_item_is_not_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        HELD.state = ItemState.RELEASED


def test_what_was_changed_since_it_was_looked_at_is_not_decided():
    must_be_current(HELD, "")
    must_be_current(HELD, "abcd")
    with pytest.raises(StaleViewError, match="abcdabcdabcd"):
        must_be_current(HELD, "0000")


def test_the_hash_of_contents_covers_names_and_bytes():
    one = content_sha256({"a": b"1", "b": b"2"}, salt="00")
    assert content_sha256({"b": b"2", "a": b"1"}, salt="00") == one
    others = ({"a": b"2", "b": b"1"}, {"c": b"1"})
    assert len({one, *(content_sha256(other, salt="00") for other in others)}) == 3
    # Nobody finds out contents by trying: the same ones under another salt are another hash.
    assert content_sha256({"a": b"1", "b": b"2"}, salt="01") != one


CHANGES = (EntryKind.OUTPUT_EDITED, EntryKind.OUTPUT_REDACTED)


def entry(kind, resource=HELD.id, **detail):
    return Entry(
        kind=kind, actor="bob", action="a", resource=resource, reason="why", time=BY["time"],
        detail=detail,
    )  # fmt: skip


def change(number):
    return {"file": f"f{number}", "content_sha256": str(number) * 64, "edits": number,
            "redactions": 0}  # fmt: skip


ENTRIES = st.one_of(
    st.builds(
        lambda kind, number: entry(kind, **change(number)),
        st.sampled_from(CHANGES),
        st.integers(1, 9),
    ),
    st.builds(entry, st.sampled_from(list(ENTRY_OF.values()))),
    st.builds(lambda: entry(EntryKind.OUTPUT_RELEASED, resource="another")),
    st.builds(lambda: entry(EntryKind.OUTPUT_HELD)),
)


@given(st.lists(ENTRIES, max_size=8))
def test_reading_the_entries_again_changes_nothing_more(entries):
    once = replay(HELD, entries)
    assert replay(once, entries).state is once.state
    decided = [one for one in entries if one.kind in ENTRY_OF.values() and one.resource == HELD.id]
    wanted = {kind: state for state, kind in ENTRY_OF.items()}
    assert once.state is (wanted[decided[0].kind] if decided else ItemState.HELD)


def test_a_change_makes_a_draft_held_and_points_at_the_new_file():
    after = changed(replace(HELD, state=ItemState.DRAFT), change(2))
    assert (after.state, after.files, after.edits) == (ItemState.HELD, ("f2",), 2)

"""An item is held, then released or withheld, once and for good; a case report is a disclosure."""

from dataclasses import FrozenInstanceError

import pytest

from datasites.desk import Item, ItemKind, ItemState, decide
from datasites.errors import DeskError

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
)
BY = {"actor": "owner", "reason": "looked at it", "time": "2026-06-01T00:00:00.000Z"}


@pytest.mark.parametrize("state", [ItemState.RELEASED, ItemState.WITHHELD])
def test_a_held_item_is_decided_with_who_when_and_why(state):
    decided = decide(HELD, state=state, **BY)
    assert (decided.state, decided.decided_by, decided.reason) == (state, "owner", "looked at it")
    assert decided.decided == BY["time"]
    assert (decided.id, decided.files, decided.sent) == (HELD.id, HELD.files, False)
    assert HELD.state is ItemState.HELD


@pytest.mark.parametrize("first", [ItemState.RELEASED, ItemState.WITHHELD])
@pytest.mark.parametrize("second", list(ItemState))
def test_no_decision_is_taken_twice(first, second):
    decided = decide(HELD, state=first, **BY)
    with pytest.raises(DeskError, match=f"was {first} by owner at .* twice"):
        decide(decided, state=second, **BY)


def test_holding_is_no_decision():
    with pytest.raises(DeskError, match="held already"):
        decide(HELD, state=ItemState.HELD, **BY)


def test_only_a_case_report_is_a_disclosure():
    from dataclasses import replace

    disclosing = [kind for kind in ItemKind if replace(HELD, kind=kind).is_disclosure]
    assert disclosing == [ItemKind.CASE_REPORT]


def test_an_item_is_not_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        HELD.state = ItemState.RELEASED

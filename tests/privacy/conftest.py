"""What several tests of `privacy` need: a key, a clock that stands still, a ledger's beginning."""

from collections.abc import Callable
from pathlib import Path

import pytest

from privacy.ledger.ledger import Ledger
from privacy.signing.keys import SigningKey
from privacy.spending.budget import Budget
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.spend import set_budget

NOON = "2026-11-23T12:00:00Z"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="session")
def note() -> Callable[..., Entry]:
    def make(kind: EntryKind = EntryKind.PLAN_RECEIVED, **changes: object) -> Entry:
        fields: dict[str, object] = {
            "kind": kind,
            "actor": "agent",
            "action": "note",
            "resource": "plan",
            "reason": "a test",
            "time": NOON,
            "detail": {},
        }
        return Entry(**{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def ledger(tmp_path: Path, key: SigningKey) -> Ledger:
    """A new ledger with a budget of epsilon 8 at delta 1e-5."""
    made = Ledger.create(tmp_path / "ledger.jsonl", key, time=NOON, actor="owner")
    budget = Budget(epsilon=8.0, delta=1e-5)
    made.append(set_budget(budget, reason="board decision", time=NOON, actor="owner"))
    return made

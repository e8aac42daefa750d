"""Replaying a ledger: every spend in its place, accounts as they stood, and refusals by number."""

import pytest

from privacy.errors import LedgerError
from privacy.ledger.chain import SealedEntry
from privacy.ledger.ledger import Ledger
from privacy.ledger.read import read_file
from privacy.ledger.story import replay
from privacy.signing.keys import SigningKey
from privacy.spending.budget import Budget
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.spend import commit, destroy, set_budget
from tests.privacy.ledgerkit import NOON, ROUND, asking


@pytest.fixture
def sealed(ledger: Ledger, key: SigningKey) -> list[SealedEntry]:
    """a is destroyed, b committed, c left open; then delta is raised."""
    for name in "abc":
        ledger.transact(asking(name))
    ledger.transact(
        lambda account: commit(account, reservation="b", event=ROUND, time=NOON, actor="x")
    )
    ledger.transact(
        lambda account: destroy(account, reservation="a", reason="killed", time=NOON, actor="x")
    )
    ledger.append(set_budget(Budget(epsilon=9, delta=1e-4), reason="r", time=NOON, actor="x"))
    return list(read_file(ledger.path, public_hex=key.public_hex))


def test_every_spend_in_its_place(sealed: list[SealedEntry]) -> None:
    told = replay(sealed)
    assert [
        (p.spend.reserved.reservation, p.spend.state, p.reserved_at, p.settled_at)
        for p in told.spends
    ] == [("a", "destroyed", 2, 6), ("b", "committed", 3, 5), ("c", "reserved", 4, None)]
    assert (told.delta, told.account.required_budget().delta) == (1e-5, 1e-4)


def test_accounts_as_they_stood(sealed: list[SealedEntry]) -> None:
    told = replay(sealed, at=[3, 5], reserving=["b"], keep=[EntryKind.BUDGET_SET])
    assert [len(told.then[at].spent_events()) for at in (3, 5)] == [2, 3]
    assert told.then[3].entries == 4
    assert len(told.before["b"].spent_events()) == 1
    assert [one.sequence for one in told.kept] == [1, 7]


def test_what_cannot_have_happened_is_refused_by_number(sealed: list[SealedEntry]) -> None:
    doubled: list[Entry] = [one.entry for one in sealed] + [sealed[5].entry]
    again = [
        SealedEntry(entry=entry, sequence=number, entry_hash="0" * 64)
        for number, entry in enumerate(doubled)
    ]
    with pytest.raises(LedgerError, match="ledger entry 8: reservation b is committed already"):
        replay(again)

"""The account: what a ledger's entries add up to. Pure.

Entries are folded in order, and the fold fails closed: a story that cannot have happened is a
`LedgerError`, never a smaller epsilon. Refused are: a first entry that does not open the ledger, a
second opening, a reservation before any budget or under an id that was used before, a commit or a
destruction without an open reservation, a commit whose event costs more than its reservation, and
any malformed detail of these kinds.

What counts as spent: every committed event, and every open reservation in full (a crash leaves it
open, so a crash never gives budget back). A destroyed reservation counts nothing. A new budget
replaces the old one and forgives nothing that was spent. Disclosures (un-noised releases) are
counted apart: they make epsilon infinite for the units that they show, not for the others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from dp_accounting.dp_event import DpEvent

from privacy.accounting import epsilon
from privacy.budget import Budget
from privacy.details import Commit, Destruction, Disclosure, Reservation, budget_from_entry
from privacy.entries import Entry, EntryKind
from privacy.errors import LedgerError
from privacy.merging import merge


class SpendState(StrEnum):
    """Where a spend stands."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    DESTROYED = "destroyed"


@dataclass(frozen=True, kw_only=True)
class Spend:
    """One reservation and what became of it.

    Attributes:
        reserved: what was set aside, and for what.
        state: where it stands.
        event: what counts now: the reserved event, or the committed one.
        actor: who reserved it.
        time: when it was reserved (UTC).
    """

    reserved: Reservation
    state: SpendState
    event: DpEvent
    actor: str
    time: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """The state of a ledger at one moment.

    Attributes:
        entries: number of entries folded.
        budget: the current budget, None before the owner set one.
        spends: reservation id -> spend, in the order of reservation.
        disclosures: every un-noised release, in order.
        runs: request id -> reservations ever made under it, destroyed ones included.
    """

    entries: int
    budget: Budget | None
    spends: Mapping[str, Spend]
    disclosures: tuple[Disclosure, ...]
    runs: Mapping[str, int]

    @property
    def open_reservations(self) -> tuple[Spend, ...]:
        """Reservations neither committed nor destroyed."""
        return tuple(s for s in self.spends.values() if s.state is SpendState.RESERVED)

    @property
    def disclosed_units(self) -> int:
        """How many units were shown without noise (counted once per disclosure)."""
        return sum(disclosure.units for disclosure in self.disclosures)

    def spent_events(self) -> tuple[DpEvent, ...]:
        """Events that count: committed ones, and open reservations in full."""
        return tuple(s.event for s in self.spends.values() if s.state is not SpendState.DESTROYED)

    def epsilon(self, *, delta: float | None = None) -> float:
        """Epsilon of everything that counts, for a unit that no disclosure shows.

        Args:
            delta: failure probability; the budget's if None.

        Returns:
            An upper bound, >= 0, possibly infinite.

        Raises:
            LedgerError: no delta given and no budget set.
            BudgetAmountError: delta is out of range.
        """
        if delta is None:
            delta = self.required_budget().delta
        return epsilon(self.spent_events(), delta=delta)

    def open_spend(self, reservation: str) -> Spend:
        """The open reservation with this id.

        Raises:
            LedgerError: there is none, or it is settled already.
        """
        return _open_spend(self.spends, reservation)

    def required_budget(self) -> Budget:
        """The current budget.

        Raises:
            LedgerError: the owner has not set one.
        """
        if self.budget is None:
            raise LedgerError("no budget is set; the owner must set epsilon and delta first")
        return self.budget


class AccountFold:
    """Folds entries one by one; `snapshot` gives the account so far."""

    def __init__(self) -> None:
        self._entries = 0
        self._budget: Budget | None = None
        self._spends: dict[str, Spend] = {}
        self._disclosures: list[Disclosure] = []
        self._runs: dict[str, int] = {}

    def add(self, entry: Entry) -> None:
        """Fold the next entry; on error nothing changes.

        Raises:
            LedgerError: after the entries so far, this one cannot have happened.
        """
        self.prepare(entry)()

    def prepare(self, entry: Entry) -> Callable[[], None]:
        """Check the next entry, and return what folds it in once it is durable.

        Args:
            entry: the entry that is to follow.

        Returns:
            A call that cannot fail; valid until another entry is folded.

        Raises:
            LedgerError: after the entries so far, this one cannot have happened.
        """
        if (self._entries == 0) != (entry.kind is EntryKind.LEDGER_OPENED):
            raise LedgerError("a ledger is opened once, by its first entry")
        spend: Spend | None = None
        budget, disclosure = self._budget, None
        match entry.kind:
            case EntryKind.BUDGET_SET:
                budget = budget_from_entry(entry)
            case EntryKind.SPEND_RESERVED:
                spend = self._reserved(Reservation.from_entry(entry), entry)
            case EntryKind.SPEND_COMMITTED:
                spend = self._committed(Commit.from_entry(entry))
            case EntryKind.SPEND_DESTROYED:
                destroyed = Destruction.from_entry(entry).reservation
                spend = replace(self._open(destroyed), state=SpendState.DESTROYED)
            case EntryKind.DISCLOSURE:
                disclosure = Disclosure.from_entry(entry)
            case _:
                pass
        return lambda: self._apply(budget, spend, disclosure)

    def _apply(
        self, budget: Budget | None, spend: Spend | None, disclosure: Disclosure | None
    ) -> None:
        self._entries += 1
        self._budget = budget
        if spend is not None:
            self._spends[spend.reserved.reservation] = spend
            if spend.state is SpendState.RESERVED:
                request = spend.reserved.request
                self._runs[request] = self._runs.get(request, 0) + 1
        if disclosure is not None:
            self._disclosures.append(disclosure)

    def snapshot(self) -> Account:
        """The account after the entries folded so far."""
        return Account(
            entries=self._entries,
            budget=self._budget,
            spends=MappingProxyType(dict(self._spends)),
            disclosures=tuple(self._disclosures),
            runs=MappingProxyType(dict(self._runs)),
        )

    def _reserved(self, reserved: Reservation, entry: Entry) -> Spend:
        if self._budget is None:
            raise LedgerError("a spend was reserved before the owner set a budget")
        if reserved.reservation in self._spends:
            raise LedgerError(f"reservation {reserved.reservation} exists already; use a new id")
        return Spend(
            reserved=reserved,
            state=SpendState.RESERVED,
            event=reserved.event,
            actor=entry.actor,
            time=entry.time,
        )

    def _committed(self, commit: Commit) -> Spend:
        spend = self._open(commit.reservation)
        check_commit(spend, commit)
        return replace(spend, state=SpendState.COMMITTED, event=commit.event)

    def _open(self, reservation: str) -> Spend:
        return _open_spend(self._spends, reservation)


def _open_spend(spends: Mapping[str, Spend], reservation: str) -> Spend:
    spend = spends.get(reservation)
    if spend is None:
        raise LedgerError(f"there is no reservation {reservation}; reserve before spending")
    if spend.state is not SpendState.RESERVED:
        raise LedgerError(f"reservation {reservation} is {spend.state} already")
    return spend


def check_commit(spend: Spend, commit: Commit) -> None:
    """Refuse a commit that its reservation does not cover.

    Raises:
        LedgerError: it costs more than was reserved, or is another mechanism.
    """
    if not merge([spend.event]).covers(merge([commit.event])):
        raise LedgerError(
            f"the commit of {commit.reservation} costs more than was reserved, or is another "
            "mechanism; leave the reservation open, it counts in full"
        )


def account_from(entries: Iterable[Entry]) -> Account:
    """Fold a whole ledger.

    Args:
        entries: all entries in order, the opening first.

    Returns:
        The account.

    Raises:
        LedgerError: the entries tell an impossible story.
    """
    fold = AccountFold()
    for entry in entries:
        fold.add(entry)
    return fold.snapshot()

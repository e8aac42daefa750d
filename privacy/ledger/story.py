"""Reading a whole ledger with the hospital's own fold, for whoever audits it. Pure.

There is one reader of ledgers: `privacy.spending.replay.AccountFold`. What it refuses is refused
here, with the number of the entry, and no figure is given: a story that cannot have happened has no
epsilon. Beside the account this keeps what an auditor asks for and a hospital does not: every spend
with the entries that reserved and settled it, the account as it stood after the entries that
receipts name, the entries of some kinds, and the strictest delta that a budget ever had. A later
budget with a larger delta gives nothing back, so what is claimed over all time is claimed at that
one.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from privacy.errors import LedgerError
from privacy.ledger.chain import SealedEntry
from privacy.spending import (
    Account,
    AccountFold,
    BudgetChange,
    Commit,
    Destruction,
    Entry,
    EntryKind,
    Reservation,
    Scope,
    Spend,
    SpendState,
)

_RESERVED = EntryKind.SPEND_RESERVED
_COMMITTED = EntryKind.SPEND_COMMITTED
_DESTROYED = EntryKind.SPEND_DESTROYED


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedSpend:
    """A spend, and where the ledger says so.

    Attributes:
        spend: as it stands at the end.
        reserved_at: number of the entry that reserved it.
        settled_at: number of the entry that committed or destroyed it; None while it is open.
    """

    spend: Spend
    reserved_at: int
    settled_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a ledger tells.

    Attributes:
        account: after the last entry.
        spends: every spend, in the order of reservation.
        then: number of an entry -> the account just after it, for those asked for. `states` and
            `runs` of these accounts are as at the end; `spends` says when each was settled.
        before: id of a reservation -> the account just before it, for those asked for; likewise.
        kept: entries of the kinds asked for, in order.
        delta: the smallest that a budget of the whole hospital ever had; None without a budget.
    """

    account: Account
    spends: tuple[PlacedSpend, ...]
    then: Mapping[int, Account]
    before: Mapping[str, Account]
    kept: tuple[SealedEntry, ...]
    delta: float | None


class Replayer:
    """Folds a ledger entry by entry; see the module's docstring.

    Args:
        at: numbers of entries after which the account is wanted.
        reserving: ids of reservations before which it is.
        keep: kinds of entries that are wanted.
    """

    def __init__(
        self,
        *,
        at: Iterable[int] = (),
        reserving: Iterable[str] = (),
        keep: Collection[EntryKind] = (),
    ) -> None:
        self._fold = AccountFold()
        self._at = frozenset(at)
        self._reserving = frozenset(reserving)
        self._before: dict[str, Account] = {}
        self._keep = frozenset(keep)
        self._spends: dict[str, PlacedSpend] = {}
        self._then: dict[int, Account] = {}
        self._kept: list[SealedEntry] = []
        self._delta: float | None = None

    def add(self, sealed: SealedEntry) -> None:
        """Fold the next entry.

        Raises:
            LedgerError: after the entries so far, this one cannot have happened; names its number.
        """
        entry = sealed.entry
        before = None
        if entry.kind is _RESERVED and str(entry.detail.get("reservation")) in self._reserving:
            before = self._fold.snapshot()
        try:
            self._fold.add(entry)
        except LedgerError as error:
            raise LedgerError(f"ledger entry {sealed.sequence}: {error}") from error
        if before is not None:
            self._before[str(entry.detail["reservation"])] = before
        self._note(entry, sealed.sequence)
        if entry.kind in self._keep:
            self._kept.append(sealed)
        if sealed.sequence in self._at:
            self._then[sealed.sequence] = self._fold.snapshot()

    def result(self) -> Replay:
        """What was told so far."""
        return Replay(
            account=self._fold.snapshot(),
            spends=tuple(self._spends.values()),
            then=MappingProxyType(self._then),
            before=MappingProxyType(self._before),
            kept=tuple(self._kept),
            delta=self._delta,
        )

    def _note(self, entry: Entry, number: int) -> None:
        """Keep what the fold has just accepted, so that nothing below can fail."""
        if entry.kind is _RESERVED:
            reserved = Reservation.from_entry(entry)
            spend = Spend(
                reserved=reserved,
                state=SpendState.RESERVED,
                event=reserved.event,
                actor=entry.actor,
                time=entry.time,
            )
            self._spends[reserved.reservation] = PlacedSpend(spend=spend, reserved_at=number)
        elif entry.kind is _COMMITTED:
            commit = Commit.from_entry(entry)
            self._settle(commit.reservation, number, state=SpendState.COMMITTED, event=commit.event)
        elif entry.kind is _DESTROYED:
            name = Destruction.from_entry(entry).reservation
            self._settle(name, number, state=SpendState.DESTROYED)
        elif entry.kind is EntryKind.BUDGET_SET:
            limit = BudgetChange.from_entry(entry).limit
            if limit.scope is Scope.HOSPITAL:
                self._delta = min(limit.budget.delta, self._delta or 1.0)

    def _settle(self, name: str, number: int, **changes: object) -> None:
        placed = self._spends[name]
        spend = replace(placed.spend, **changes)  # type: ignore[arg-type]
        self._spends[name] = replace(placed, spend=spend, settled_at=number)


def replay(
    sealed: Iterable[SealedEntry],
    *,
    at: Iterable[int] = (),
    reserving: Iterable[str] = (),
    keep: Collection[EntryKind] = (),
) -> Replay:
    """Fold a whole ledger.

    Args:
        sealed: all entries in order, the opening first, verified.
        at: numbers of entries after which the account is wanted.
        reserving: ids of reservations before which it is.
        keep: kinds of entries that are wanted.

    Returns:
        What it tells.

    Raises:
        LedgerError: the entries tell an impossible story; names the first that cannot be.
    """
    told = Replayer(at=at, reserving=reserving, keep=keep)
    for one in sealed:
        told.add(one)
    return told.result()

"""Folding entries into an account, one by one. Fails closed.

A story that cannot have happened is a `LedgerError`, never a smaller epsilon. Refused are: a first
entry that does not open the ledger, a second opening, a reservation before any budget or under an
id that was used before, a commit or a destruction without an open reservation, a commit on other
data, by other code or of an event that costs more than its reservation, a run that is not of the
fixed sequence it names (`privacy.spending.blocks`), and any malformed detail of these kinds. A new
budget replaces the old one and forgives nothing; a reset starts a new era, in which older spends no
longer count against budgets but still count over all time.
"""

from collections.abc import Callable, Iterable
from types import MappingProxyType

from privacy.accounting import merge, sampled_only
from privacy.errors import LedgerError
from privacy.spending.account import Account, Disclosed, Spend, SpendState, open_spend
from privacy.spending.blocks import Blocks
from privacy.spending.budget import Budget, Scope
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import BudgetChange, Commit, Destruction, Disclosure, Reservation
from privacy.spending.totals import Line, Tally, day_of

TRAINING_DATA = "train"
"""Resource of the entries that record an ingest of training data."""

_Change = Callable[[], None]


class AccountFold:
    """Folds entries one by one; `snapshot` gives the account so far."""

    def __init__(self) -> None:
        self._entries = 0
        self._era = 0
        self._last_time = ""
        self._budget: Budget | None = None
        self._caps: dict[tuple[Scope, str], Budget] = {}
        self._open: dict[str, Spend] = {}
        self._states: dict[str, SpendState] = {}
        self._runs: dict[str, dict[str, int]] = {}
        self._tally = Tally()
        self._blocks = Blocks()
        self._disclosures: list[Disclosed] = []
        self._units: tuple[str, ...] = ()
        self._checks: dict[EntryKind, Callable[[Entry], _Change]] = {
            EntryKind.BUDGET_SET: self._budget_set,
            EntryKind.SPEND_RESERVED: self._reserved,
            EntryKind.SPEND_COMMITTED: self._committed,
            EntryKind.SPEND_DESTROYED: self._destroyed,
            EntryKind.DISCLOSURE: self._disclosed,
            EntryKind.DATASET_INGESTED: self._ingested,
        }

    def add(self, entry: Entry) -> None:
        """Fold the next entry; on error nothing changes.

        Raises:
            LedgerError: after the entries so far, this one cannot have happened.
        """
        self.prepare(entry)()

    def prepare(self, entry: Entry) -> _Change:
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
        check = self._checks.get(entry.kind)
        change = check(entry) if check is not None else None

        def apply() -> None:
            if change is not None:
                change()
            self._entries += 1
            # Never backwards, so that setting the clock back refreshes no window.
            self._last_time = max(self._last_time, entry.time)

        return apply

    def snapshot(self) -> Account:
        """The account after the entries folded so far."""
        return Account(
            entries=self._entries,
            budget=self._budget,
            caps=MappingProxyType(dict(self._caps)),
            open_spends=MappingProxyType(dict(self._open)),
            states=MappingProxyType(self._states),
            lines=MappingProxyType(self._tally.snapshot()),
            blocks=MappingProxyType(self._blocks.costs),
            disclosures=tuple(self._disclosures),
            runs=MappingProxyType(self._runs),
            era=self._era,
            last_time=self._last_time,
            units=self._units,
        )

    def _budget_set(self, entry: Entry) -> _Change:
        change = BudgetChange.from_entry(entry)
        limit = change.limit

        def apply() -> None:
            if limit.scope is Scope.HOSPITAL:
                self._budget = limit.budget
            else:
                self._caps[limit.scope, limit.name] = limit.budget
            self._era += change.reset

        return apply

    def _reserved(self, entry: Entry) -> _Change:
        reserved = Reservation.from_entry(entry)
        name = reserved.reservation
        if self._budget is None:
            raise LedgerError("a spend was reserved before the owner set a budget")
        if name in self._states:
            raise LedgerError(f"reservation {name} exists already; use a new id")
        spend = _new_spend(reserved, entry)
        self._blocks.check(reserved)

        def apply() -> None:
            self._blocks.reserved(reserved)
            self._open[name] = spend
            self._states[name] = SpendState.RESERVED
            runs = self._runs.setdefault(reserved.code_sha256, {})
            runs[reserved.request] = runs.get(reserved.request, 0) + 1

        return apply

    def _committed(self, entry: Entry) -> _Change:
        commit = Commit.from_entry(entry)
        spend = open_spend(self._open, self._states, commit.reservation)
        check_commit(spend, commit)
        line = Line(
            # The later of the two days: a spend counts within a window rather too long.
            day=max(day_of(entry.time), day_of(spend.time)),
            researcher=spend.reserved.researcher,
            study=spend.reserved.study,
            dataset_version=spend.reserved.dataset_version,
            era=self._era,
            block=spend.reserved.block_id if sampled_only(commit.event) else "",
        )

        def apply() -> None:
            self._blocks.settled(spend.reserved, commit.event)
            self._tally.add(line, commit.event)
            self._settle(commit.reservation, SpendState.COMMITTED)

        return apply

    def _destroyed(self, entry: Entry) -> _Change:
        name = Destruction.from_entry(entry).reservation
        spend = open_spend(self._open, self._states, name)

        def apply() -> None:
            self._blocks.settled(spend.reserved, None)
            self._settle(name, SpendState.DESTROYED)

        return apply

    def _disclosed(self, entry: Entry) -> _Change:
        shown = Disclosed(
            disclosure=Disclosure.from_entry(entry),
            resource=entry.resource,
            reason=entry.reason,
            actor=entry.actor,
            time=entry.time,
        )
        return lambda: self._disclosures.append(shown)

    def _ingested(self, entry: Entry) -> _Change:
        # Only training data names the unit: a test folder is grouped by the same kind.
        named = entry.detail.get("unit") if entry.resource == TRAINING_DATA else None
        new = (named,) if isinstance(named, str) and named not in self._units else ()

        def apply() -> None:
            self._units += new

        return apply

    def _settle(self, name: str, state: SpendState) -> None:
        del self._open[name]
        self._states[name] = state


def check_commit(spend: Spend, commit: Commit) -> None:
    """Refuse a commit that its reservation does not cover.

    Raises:
        LedgerError: it costs more than was reserved, is another mechanism, or names other data or
            other code.
    """
    reserved = spend.reserved
    if (commit.dataset_version, commit.code_sha256) != (
        reserved.dataset_version,
        reserved.code_sha256,
    ):
        raise LedgerError(f"the commit of {commit.reservation} names other data or code")
    known = set(commit.mechanisms) <= set(reserved.mechanisms)
    same = commit.event == spend.event
    if not known or not (same or merge([spend.event]).covers(merge([commit.event]))):
        raise LedgerError(
            f"the commit of {commit.reservation} costs more than was reserved, or is another "
            "mechanism; leave the reservation open, it counts in full"
        )


def _new_spend(reserved: Reservation, entry: Entry) -> Spend:
    return Spend(
        reserved=reserved,
        state=SpendState.RESERVED,
        event=reserved.event,
        actor=entry.actor,
        time=entry.time,
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

"""The account: what a ledger's entries add up to, at one moment. A value that `replay` makes.

What counts as spent: every committed event, and every open reservation in full (a crash leaves it
open, so a crash never gives budget back). A destroyed reservation counts nothing.

Two sums are kept apart, and shown side by side:
- **over all time**: everything that ever counted, whatever the dataset version, the researcher, the
  study or the budget in force. This is the guarantee (`Account.epsilon`);
- **against a budget**: since the owner's last reset, within the budget's refresh window, and for a
  cap of its researcher or study only (`Account.charged`). This decides what is refused.

Both are figures of the filter, which is valid for plans chosen after outputs were seen
(`privacy.accounting.filter`). A plan's sampled steps are one block: it counts whole as soon as, and
as long as, one of its runs counts, so a plan that spans two windows counts whole in both.
`Account.epsilon_if_fixed` stands beside: what would hold if all plans had been fixed beforehand.

Disclosures (un-noised releases) make epsilon infinite for the units that they show: for those they
name, or for every unit (`Account.epsilon` is infinite then).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dp_accounting.dp_event import DpEvent

from privacy.accounting import Charges, Leaf, Merged, charges, epsilon, filter_epsilon, leaves
from privacy.errors import LedgerError
from privacy.spending.blocks import block_cost
from privacy.spending.budget import Budget, Limit, Scope
from privacy.spending.payloads import Disclosure, Reservation
from privacy.spending.totals import Leaves, Line, day_of, events_of


class SpendState(StrEnum):
    """Where a spend stands."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    DESTROYED = "destroyed"


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Disclosed:
    """An un-noised release that happened.

    Attributes:
        disclosure: which units, and what it shows of them.
        resource: hash or id of what was released.
        reason: why it could leave without noise.
        actor: who released it.
        time: when (UTC).
    """

    disclosure: Disclosure
    resource: str
    reason: str
    actor: str
    time: str

    @property
    def whose(self) -> str:
        """How many units it concerns, in words."""
        units = self.disclosure.units
        return "every unit" if units is None else f"{units} unit{'s' if units > 1 else ''}"

    def __str__(self) -> str:
        return (
            f"epsilon is infinite for {self.whose}: {self.disclosure.scope} ({self.reason}; by "
            f"{self.actor}, {self.time})"
        )


@dataclass(frozen=True, kw_only=True)
class Account:
    """The state of a ledger at one moment.

    Attributes:
        entries: number of entries folded.
        budget: the hospital's budget, None before the owner set one.
        caps: (scope, name) -> cap of a researcher or a study.
        open_spends: reservation id -> reservation neither committed nor destroyed, in order.
        states: reservation id -> state, of every reservation ever made. A live view, as is `runs`:
            it may know of later ones.
        lines: what was committed, summed up.
        blocks: fixed sequence -> what the filter charges for it; a live view, as `states`.
        disclosures: every un-noised release, in order.
        runs: code hash -> request -> reservations ever made for it, destroyed ones included.
        era: number of budget resets so far.
        last_time: time of the last entry.
        units: kinds of unit of privacy of the training data ingested so far, in order, each once.
    """

    entries: int
    budget: Budget | None
    caps: Mapping[tuple[Scope, str], Budget]
    open_spends: Mapping[str, Spend]
    states: Mapping[str, SpendState]
    lines: Mapping[Line, Leaves]
    disclosures: tuple[Disclosed, ...]
    runs: Mapping[str, Mapping[str, int]]
    era: int
    last_time: str
    units: tuple[str, ...] = ()
    blocks: Mapping[str, Merged] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Of what epsilon is, in words; empty before anything was ingested.

        Where the kind of unit changed, all are named: the sum of spends of both kinds bounds only
        somebody who is one unit of each.
        """
        return ", then ".join(self.units)

    @property
    def disclosed_units(self) -> int:
        """How many units were shown without noise (counted once per disclosure that names them)."""
        return sum(shown.disclosure.units or 0 for shown in self.disclosures)

    @property
    def everything_disclosed(self) -> bool:
        """Whether a disclosure may concern every unit."""
        return any(shown.disclosure.units is None for shown in self.disclosures)

    def disclosed_by_kind(self) -> dict[str, int]:
        """Coded kind of disclosure -> how many there were."""
        kinds = [shown.disclosure.kind.value for shown in self.disclosures]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    def spent_events(
        self,
        *,
        researcher: str | None = None,
        study: str | None = None,
        dataset_version: str | None = None,
    ) -> tuple[DpEvent, ...]:
        """Events that count over all time: committed ones, and open reservations in full.

        Args:
            researcher: only those of this researcher, for display.
            study: only those of this study, for display.
            dataset_version: only those on this version, for display. Budgets and claims compose
                all versions: the same patients may be in several.

        Returns:
            Committed events, summed up, then open ones.
        """
        where = _matching(researcher=researcher, study=study, dataset_version=dataset_version)
        return self._events(where, where)

    def charges(self, *, dataset_version: str | None = None) -> Charges:
        """What the filter has charged over all time.

        Args:
            dataset_version: only for runs on this version, for display.
        """
        where = _matching(dataset_version=dataset_version)
        return self._charges(where, where, None)

    def charged(self, limit: Limit, *, time: str, asked: Reservation | None = None) -> Charges:
        """What the filter has charged against a budget or cap at a time.

        Args:
            limit: the budget or cap.
            time: now, UTC.
            asked: a reservation that is to be counted as well.

        Returns:
            As `counting` counts; each block whole, once.
        """
        return self._charges(*self._against(limit, time), asked)

    def counting(self, limit: Limit, *, time: str) -> tuple[DpEvent, ...]:
        """Events that count against a budget or cap at a time.

        A spend of day d counts through day d + window_days, so never for less than the window. The
        clock may only run forward: a time before the last entry's is taken for the last entry's.

        Args:
            limit: the budget or cap.
            time: now, UTC.

        Returns:
            Committed events since the last reset and within the window, then open reservations,
            which always count.
        """
        return self._events(*self._against(limit, time))

    def _against(
        self, limit: Limit, time: str
    ) -> tuple[Callable[[Line], bool], Callable[[Reservation], bool]]:
        first = 0
        if limit.budget.window_days is not None:
            first = day_of(max(time, self.last_time)) - limit.budget.window_days

        def ours(line: Line | Reservation) -> bool:
            return limit.scope is Scope.HOSPITAL or getattr(line, limit.scope) == limit.name

        return lambda line: ours(line) and line.era == self.era and line.day >= first, ours

    def limits(self, *, researcher: str, study: str) -> tuple[Limit, ...]:
        """Every budget and cap that a spend must fit, the hospital's first.

        Raises:
            LedgerError: the owner has not set a budget.
        """
        hospital = Limit(scope=Scope.HOSPITAL, name="", budget=self.required_budget())
        wanted = ((Scope.RESEARCHER, researcher), (Scope.STUDY, study))
        caps = [
            Limit(scope=scope, name=name, budget=self.caps[scope, name])
            for scope, name in wanted
            if (scope, name) in self.caps
        ]
        return (hospital, *caps)

    def epsilon(self, *, delta: float | None = None) -> float:
        """Epsilon over all time, for a unit that no disclosure names.

        Args:
            delta: failure probability; the budget's if None.

        Returns:
            The filter's figure, >= 0; infinite if a disclosure may concern every unit.

        Raises:
            LedgerError: no delta given and no budget set.
            BudgetAmountError: delta is out of range.
        """
        return self.epsilon_of_units(1, delta=delta)

    def epsilon_of_units(self, units: int, *, delta: float | None = None) -> float:
        """`epsilon` for so many units at once, whether added, removed or replaced."""
        if delta is None:
            delta = self.required_budget().delta
        total = filter_epsilon(self.charges(), delta=delta, units=units)
        return math.inf if self.everything_disclosed else total

    def epsilon_if_fixed(self, *, delta: float | None = None) -> float:
        """Epsilon over all time if every plan had been fixed before anything left; no claim."""
        if delta is None:
            delta = self.required_budget().delta
        total = epsilon(self.spent_events(), delta=delta)
        return math.inf if self.everything_disclosed else total

    def epsilon_by_version(self, *, delta: float | None = None) -> dict[str, float]:
        """Epsilon of the spends on each dataset version by itself, for display only."""
        if delta is None:
            delta = self.required_budget().delta
        versions = {line.dataset_version for line in self.lines}
        versions |= {spend.reserved.dataset_version for spend in self.open_spends.values()}
        return {
            version: filter_epsilon(self.charges(dataset_version=version), delta=delta)
            for version in sorted(versions)
        }

    def open_spend(self, reservation: str) -> Spend:
        """The open reservation with this id.

        Raises:
            LedgerError: there is none, or it is settled already.
        """
        return open_spend(self.open_spends, self.states, reservation)

    def required_budget(self) -> Budget:
        """The hospital's budget.

        Raises:
            LedgerError: the owner has not set one.
        """
        if self.budget is None:
            raise LedgerError("no budget is set; the owner must set epsilon and delta first")
        return self.budget

    def _events(
        self, where: Callable[[Line], bool], ours: Callable[[Reservation], bool]
    ) -> tuple[DpEvent, ...]:
        waiting = [s.event for s in self.open_spends.values() if ours(s.reserved)]
        return (*events_of(self.lines, where), *waiting)

    def _charges(
        self,
        where: Callable[[Line], bool],
        ours: Callable[[Reservation], bool],
        asked: Reservation | None,
    ) -> Charges:
        gaussians: Counter[float] = Counter()
        costs: dict[str, Merged] = {}
        private = True
        counted: list[tuple[str, Merged | None, Iterable[tuple[Leaf | None, int]]]] = [
            (line.block, self.blocks.get(line.block), counts.items())
            for line, counts in self.lines.items()
            if where(line)
        ]
        waiting = [(s.reserved, s.event) for s in self.open_spends.values() if ours(s.reserved)]
        waiting += [(asked, asked.event)] if asked is not None else []
        counted += [(r.block_id, self._cost(r), leaves(e)) for r, e in waiting]
        for block, cost, found in counted:
            for leaf, count in found:
                if leaf is None or (not leaf.full_batch and cost is None):
                    private = False
                elif leaf.full_batch:
                    gaussians[leaf.noise_multiplier] += count
                elif cost is not None:
                    costs[block] = cost
        return charges(gaussians, Counter(costs.values()), private=private)

    def _cost(self, reserved: Reservation) -> Merged:
        known = self.blocks.get(reserved.block_id)
        return known if known is not None else block_cost(reserved)


def _matching(**wanted: str | None) -> Callable[[Line | Reservation], bool]:
    chosen = {name: value for name, value in wanted.items() if value is not None}
    return lambda line: all(getattr(line, name) == value for name, value in chosen.items())


def open_spend(
    spends: Mapping[str, Spend], states: Mapping[str, SpendState], reservation: str
) -> Spend:
    """The open reservation with this id.

    Raises:
        LedgerError: there is none, or it is settled already.
    """
    spend = spends.get(reservation)
    if spend is not None:
        return spend
    if reservation not in states:
        raise LedgerError(f"there is no reservation {reservation}; reserve before spending")
    raise LedgerError(f"reservation {reservation} is {states[reservation]} already")

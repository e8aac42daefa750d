"""One hospital's ledger as an auditor shows it: spends, refusals, budgets, disclosures. Pure.

The ledger is read by the hospital's own fold (`privacy.ledger.story`), which refuses a story that
cannot have happened; there is no second reader. What is computed anew here are the figures: epsilon
by the filter, which is the claim, and as if all plans had been fixed beforehand by three
accountants.

Counted is every committed spend with the event of its commit, and every reservation that was
neither committed nor provably destroyed, in full. A disclosure makes epsilon infinite for the
units that it names, or for every unit where it names none. Epsilon is stated at the smallest delta
that the hospital's budget ever had: a larger one, set later, takes nothing back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy import (
    AccountantError,
    BudgetChange,
    DpEvent,
    Entry,
    EntryKind,
    FilterTerms,
    PlacedSpend,
    Replay,
    Reservation,
    Scope,
    SpendState,
    agreed_opinions,
    charges_of,
    costs_of,
    epsilon,
    epsilon_by_units,
    evaluated_delta,
    event_to_json,
    filter_epsilon,
    filter_terms,
    interval_for,
    naive_sum,
)

RUNNING_POINTS = 60
_ABOUT_IMAGES = (EntryKind.SYNTHETIC_ACCEPTED, EntryKind.SYNTHETIC_DISCARDED)
KEPT = frozenset(
    {
        EntryKind.RUN_REFUSED,
        EntryKind.JOB_FAILED,
        EntryKind.UNSAFE_OPTION_USED,
        EntryKind.BUDGET_SET,
        EntryKind.DATASET_INGESTED,
        *_ABOUT_IMAGES,
    }
)
"""Kinds of entries that a replay keeps for `read_account`."""
_UNSET_DELTA = 1e-5


@dataclass(frozen=True, kw_only=True)
class SpendLine:
    """One spend.

    Attributes:
        reservation: its id. request: what it was for. state: `reserved`, `committed`, `destroyed`.
        time: of the reservation. actor: who asked.
        dataset_version, code_sha256: what it touched and executed.
        unit: the unit of privacy of that data; empty where no ingest of it is recorded.
        event: what counts now, in dp-accounting's form. alone: its epsilon by itself.
        running: the filter's epsilon of everything up to it; None where it was not computed.
        block: the fixed sequence that its sampled steps are of; empty where it has none.
    """

    reservation: str
    request: str
    state: str
    time: str
    actor: str
    dataset_version: str
    code_sha256: str
    event: Mapping[str, Any]
    alone: float = 0.0
    running: float | None = None
    unit: str = ""
    block: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is part of epsilon."""
        return self.state != "destroyed"


@dataclass(frozen=True, kw_only=True)
class Note:
    """A refusal, a change of budget, a disclosure or a use of an unsafe option.

    Attributes:
        kind: the entry's. time, actor, resource, reason: the entry's.
        detail: what it says beside, in words.
    """

    kind: str
    time: str
    actor: str
    resource: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SiteAccount:
    """What a ledger adds up to.

    Attributes:
        epsilon: the filter's, of everything that counts, for a unit that no disclosure names, at
        delta, per
        unit; where the kind of unit changed, every kind in order (the sum bounds only somebody
        who is one unit of each).
        budget: the epsilon that the owner allows; None if none was set.
        at_once: the filter's for more units at once: how many -> epsilon.
        if_fixed: epsilon if all plans had been fixed beforehand; no claim.
        interval, delta_evaluated: grid of that figure, and the delta dp-accounting is asked for.
        terms: what computing the filter's figure again takes.
        second_opinions: accountant to epsilon. alarms: where they disagree.
        naive: single epsilons added up, for contrast.
        spends, refusals, budgets, disclosures, unsafe: the entries behind it.
        images: decisions on synthetic images, taken by people or their rules without noise.
    """

    epsilon: float
    delta: float
    unit: str
    budget: float | None
    at_once: Mapping[int, float]
    if_fixed: float
    interval: float
    delta_evaluated: float
    terms: FilterTerms
    second_opinions: Mapping[str, float]
    alarms: tuple[str, ...]
    naive: float
    spends: tuple[SpendLine, ...]
    refusals: tuple[Note, ...]
    budgets: tuple[Note, ...]
    disclosures: tuple[Note, ...]
    unsafe: tuple[Note, ...]
    images: tuple[Note, ...] = ()


def read_account(replay: Replay, *, unit: str = "") -> SiteAccount:
    """What an auditor shows of a ledger.

    Args:
        replay: of the verified ledger, with the kinds `KEPT`.
        unit: the unit of privacy, where the entries do not say.

    Returns:
        The account.
    """
    account = replay.account
    delta = _UNSET_DELTA if replay.delta is None else replay.delta
    units = _units(replay)
    spends = _lines(replay.spends, delta=delta, units=units)
    counting = [(p.spend.reserved, p.spend.event) for p in replay.spends if _counts(p)]
    events = [event for _, event in counting]
    by_units = epsilon_by_units(charges_of(counting), delta=delta)
    if account.everything_disclosed:
        by_units = dict.fromkeys(by_units, math.inf)
    alarms: tuple[str, ...] = ()
    try:
        agreed = agreed_opinions(events, delta=delta)
        total, opinions = agreed.record, agreed.opinions
    except AccountantError as error:
        total, opinions, alarms = error.record, error.opinions, error.disagreements
    return SiteAccount(
        epsilon=by_units[1],
        at_once={units: figure for units, figure in by_units.items() if units > 1},
        if_fixed=math.inf if account.everything_disclosed else total,
        delta=delta,
        unit=account.unit or unit or "unit of privacy",
        budget=None if account.budget is None else account.budget.epsilon,
        interval=interval_for(events),
        delta_evaluated=evaluated_delta(events, delta=delta),
        terms=filter_terms(costs_of(counting), delta=delta),
        second_opinions=dict(opinions),
        alarms=alarms,
        naive=naive_sum(events, delta=delta),
        spends=spends,
        refusals=_kind(replay, EntryKind.RUN_REFUSED, EntryKind.JOB_FAILED),
        budgets=tuple(
            _note(sealed.entry, _budget(sealed.entry))
            for sealed in replay.kept
            if sealed.entry.kind is EntryKind.BUDGET_SET
        ),
        disclosures=_disclosures(replay),
        unsafe=_kind(replay, EntryKind.UNSAFE_OPTION_USED),
        images=_kind(replay, *_ABOUT_IMAGES),
    )


def _counts(placed: PlacedSpend) -> bool:
    return placed.spend.state is not SpendState.DESTROYED


def _lines(
    spends: tuple[PlacedSpend, ...], *, delta: float, units: Mapping[str, str]
) -> tuple[SpendLine, ...]:
    """Epsilon by itself for every spend, and the running total at up to sixty of them."""
    every = max(1, math.ceil(len(spends) / RUNNING_POINTS))
    counting: list[tuple[Reservation, DpEvent]] = []
    done = []
    for index, placed in enumerate(spends):
        spend, reserved = placed.spend, placed.spend.reserved
        if _counts(placed):
            counting.append((reserved, spend.event))
        shown = index % every == 0 or index == len(spends) - 1
        done.append(
            SpendLine(
                reservation=reserved.reservation,
                request=reserved.request,
                state=spend.state.value,
                time=spend.time,
                actor=spend.actor,
                dataset_version=reserved.dataset_version,
                code_sha256=reserved.code_sha256,
                event=event_to_json(spend.event),
                alone=epsilon(spend.event, delta=delta),
                running=filter_epsilon(charges_of(counting), delta=delta) if shown else None,
                unit=units.get(reserved.dataset_version, ""),
                block=reserved.block_id if costs_of([(reserved, spend.event)]) else "",
            )
        )
    return tuple(done)


def _units(replay: Replay) -> dict[str, str]:
    """Version of training data -> the unit of privacy that its ingest names."""
    found = {}
    for sealed in replay.kept:
        detail = sealed.entry.detail
        if sealed.entry.kind is EntryKind.DATASET_INGESTED and sealed.entry.resource == "train":
            found[str(detail.get("dataset_version", ""))] = str(detail.get("unit", ""))
    return found


def _budget(entry: Entry) -> str:
    change = BudgetChange.from_entry(entry)
    limit = change.limit
    words = f"epsilon {limit.budget.epsilon:g} at delta {limit.budget.delta:g}"
    if limit.scope is not Scope.HOSPITAL:
        words += f" for {limit}"
    return words + (", counted from here on" if change.reset else "")


def _disclosures(replay: Replay) -> tuple[Note, ...]:
    return tuple(
        Note(
            kind=EntryKind.DISCLOSURE.value,
            time=shown.time,
            actor=shown.actor,
            resource=shown.resource,
            reason=shown.reason,
            detail=f"{shown.whose}: {shown.disclosure.scope}",
        )
        for shown in replay.account.disclosures
    )


def _kind(replay: Replay, *kinds: EntryKind) -> tuple[Note, ...]:
    return tuple(_note(sealed.entry, "") for sealed in replay.kept if sealed.entry.kind in kinds)


def _note(entry: Entry, detail: str) -> Note:
    return Note(
        kind=entry.kind.value,
        time=entry.time,
        actor=entry.actor,
        resource=entry.resource,
        reason=entry.reason,
        detail=detail,
    )

"""One hospital's ledger as an auditor reads it: spends, refusals, budgets, disclosures. Pure.

Everything is taken from the signed entries themselves, in their JSON form, and not from the
hospital's own account of them: the figures of the report are computed a second time, here.

Counted is every committed spend with the event of its commit, and every reservation that was
neither committed nor provably destroyed, in full. A disclosure makes epsilon infinite for the
units that it names, or for every unit where it names none. What cannot be read counts as
infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from privacy import (
    AccountantError,
    DpEvent,
    Entry,
    EntryKind,
    EventError,
    agreed_opinions,
    epsilon,
    event_from_json,
    interval_for,
    naive_sum,
    non_private,
)

RUNNING_POINTS = 60
_ABOUT_IMAGES = (EntryKind.SYNTHETIC_ACCEPTED, EntryKind.SYNTHETIC_DISCARDED)
_ABOUT_NOTES = (
    EntryKind.RUN_REFUSED,
    EntryKind.JOB_FAILED,
    EntryKind.UNSAFE_OPTION_USED,
    *_ABOUT_IMAGES,
)


@dataclass(frozen=True, kw_only=True)
class SpendLine:
    """One spend.

    Attributes:
        reservation: its id. request: what it was for. state: `reserved`, `committed`, `destroyed`.
        time: of the reservation. actor: who asked.
        dataset_version, code_sha256: what it touched and executed.
        unit: the unit of privacy of that data; empty where no ingest of it is recorded.
        event: what counts now, in dp-accounting's form. alone: its epsilon by itself.
        running: epsilon of everything up to it; None where it was not computed.
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
        epsilon: of everything that counts, for a unit that no disclosure names, at
        delta, per
        unit; where the kind of unit changed, every kind in order (the sum bounds only somebody
        who is one unit of each).
        budget: the epsilon that the owner allows; None if none was set.
        interval: grid of the accountant of record.
        second_opinions: accountant to epsilon. alarms: where they disagree.
        naive: single epsilons added up, for contrast.
        spends, refusals, budgets, disclosures, unsafe: the entries behind it.
        images: decisions on synthetic images, taken by people or their rules without noise.
    """

    epsilon: float
    delta: float
    unit: str
    budget: float | None
    interval: float
    second_opinions: Mapping[str, float]
    alarms: tuple[str, ...]
    naive: float
    spends: tuple[SpendLine, ...]
    refusals: tuple[Note, ...]
    budgets: tuple[Note, ...]
    disclosures: tuple[Note, ...]
    unsafe: tuple[Note, ...]
    images: tuple[Note, ...] = ()


@dataclass
class _Reading:
    spends: dict[str, SpendLine] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    everything_shown: bool = False
    epsilon: float | None = None
    delta: float = 1e-5
    units: dict[str, str] = field(default_factory=dict)


def read_account(entries: Iterable[Entry], *, unit: str = "") -> SiteAccount:
    """Fold a verified ledger's entries.

    Args:
        entries: all of them, in order.
        unit: the unit of privacy, where the entries do not say.

    Returns:
        The account.
    """
    reading = _Reading()
    for entry in entries:
        _read(reading, entry)
    spends = _running(
        [
            replace(line, unit=reading.units.get(line.dataset_version, ""))
            for line in reading.spends.values()
        ],
        reading.delta,
    )
    events = [_event(line.event) for line in spends if line.counts]
    alarms: tuple[str, ...] = ()
    try:
        agreed = agreed_opinions(events, delta=reading.delta)
        total, opinions = agreed.record, agreed.opinions
    except AccountantError as error:
        total, opinions, alarms = error.record, error.opinions, error.disagreements
    return SiteAccount(
        epsilon=math.inf if reading.everything_shown else total,
        delta=reading.delta,
        unit=", then ".join(dict.fromkeys(reading.units.values())) or unit or "unit of privacy",
        budget=reading.epsilon,
        interval=interval_for(events),
        second_opinions=dict(opinions),
        alarms=alarms,
        naive=naive_sum(events, delta=reading.delta),
        spends=tuple(spends),
        refusals=_kind(reading, EntryKind.RUN_REFUSED, EntryKind.JOB_FAILED),
        budgets=_kind(reading, EntryKind.BUDGET_SET),
        disclosures=_kind(reading, EntryKind.DISCLOSURE),
        unsafe=_kind(reading, EntryKind.UNSAFE_OPTION_USED),
        images=_kind(reading, *_ABOUT_IMAGES),
    )


def _read(reading: _Reading, entry: Entry) -> None:
    detail = entry.detail
    match entry.kind:
        case EntryKind.SPEND_RESERVED:
            line = _spend(entry)
            reading.spends[line.reservation] = line
        case EntryKind.SPEND_COMMITTED | EntryKind.SPEND_DESTROYED:
            key = str(detail.get("reservation"))
            known = reading.spends.get(key)
            if known is None:
                return
            if entry.kind is EntryKind.SPEND_DESTROYED:
                reading.spends[key] = replace(known, state="destroyed")
            else:
                event = detail.get("event")
                found = event if isinstance(event, Mapping) else {}
                reading.spends[key] = replace(known, state="committed", event=found)
        case EntryKind.BUDGET_SET:
            _budget(reading, entry)
        case EntryKind.DISCLOSURE:
            units = detail.get("units")
            reading.everything_shown |= units is None
            whose = "every unit" if units is None else f"{units} unit(s)"
            reading.notes.append(_note(entry, f"{whose}: {detail.get('scope', '')}"))
        case EntryKind.DATASET_INGESTED:
            if entry.resource == "train" and isinstance(detail.get("unit"), str):
                reading.units[str(detail.get("dataset_version", ""))] = str(detail["unit"])
        case kind if kind in _ABOUT_NOTES:
            reading.notes.append(_note(entry, ""))
        case _:
            pass


def _spend(entry: Entry) -> SpendLine:
    detail = entry.detail
    event = detail.get("event")
    return SpendLine(
        reservation=str(detail.get("reservation")),
        request=str(detail.get("request", "")),
        state="reserved",
        time=entry.time,
        actor=entry.actor,
        dataset_version=str(detail.get("dataset_version", "")),
        code_sha256=str(detail.get("code_sha256", "")),
        event=event if isinstance(event, Mapping) else {},
    )


def _budget(reading: _Reading, entry: Entry) -> None:
    value, delta = entry.detail.get("epsilon"), entry.detail.get("delta")
    capped = entry.detail.get("scope") not in (None, "hospital")
    if isinstance(value, int | float) and isinstance(delta, int | float) and not capped:
        reading.epsilon, reading.delta = float(value), float(delta)
    words = f"epsilon {_shown(value)} at delta {_shown(delta)}"
    if capped:
        words += f" for {entry.detail.get('scope')} {entry.detail.get('name', '')}"
    if entry.detail.get("reset"):
        words += ", counted from here on"
    reading.notes.append(_note(entry, words))


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "infinite"


def _note(entry: Entry, detail: str) -> Note:
    return Note(
        kind=entry.kind.value,
        time=entry.time,
        actor=entry.actor,
        resource=entry.resource,
        reason=entry.reason,
        detail=detail,
    )


def _kind(reading: _Reading, *kinds: EntryKind) -> tuple[Note, ...]:
    wanted = {kind.value for kind in kinds}
    return tuple(note for note in reading.notes if note.kind in wanted)


def _running(spends: list[SpendLine], delta: float) -> list[SpendLine]:
    """Epsilon by itself for every spend, and the running total at up to sixty of them."""
    every = max(1, math.ceil(len(spends) / RUNNING_POINTS))
    events: list[DpEvent] = []
    done = []
    for index, line in enumerate(spends):
        event = _event(line.event)
        if line.counts:
            events.append(event)
        shown = index % every == 0 or index == len(spends) - 1
        done.append(
            replace(
                line,
                alone=epsilon(event, delta=delta),
                running=epsilon(events, delta=delta) if shown else None,
            )
        )
    return done


def _event(value: Mapping[str, Any]) -> DpEvent:
    try:
        return event_from_json(value)
    except EventError:
        return non_private()

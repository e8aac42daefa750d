"""The details of entries that decide about privacy: budget, reservation, commit, disclosure.

Each class reads its own entry (`from_entry`) and writes it (`to_json`). Reading fails closed: a
missing or extra field, a wrong type, an amount or an event that is not valid is a `LedgerError`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast

from dp_accounting.dp_event import DpEvent

from privacy.accounting import (
    Mechanism,
    check_mechanisms,
    event_from_json,
    event_to_json,
    mechanism_from_json,
    non_private,
)
from privacy.errors import BudgetAmountError, CanonicalError, EventError, LedgerError
from privacy.signing import JsonValue, canonical_bytes, parse_json
from privacy.spending.budget import Budget, Limit, Scope
from privacy.spending.entries import Entry

_EVERY = "every"
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:/@%+-]{1,200}", re.ASCII)


def check_identifier(value: object, what: str) -> str:
    """Return `value` if it is a short plain name or hash.

    Raises:
        LedgerError: anything but 1 to 200 of the characters ``A-Z a-z 0-9 . _ : / @ % + -``.
    """
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise LedgerError(
            f"{what} must be 1 to 200 of the characters A-Za-z0-9._:/@%+-, got {value!r}"[:300]
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A spend set aside before a run.

    Attributes:
        reservation: its id, unique in the ledger.
        event: what the run may cost at most.
        mechanisms: how its releases are made; exactly those of the event.
        researcher: whose budget it counts against as well, e.g. an e-mail address.
        study: likewise.
        dataset_version: hash of the data it touches.
        code_sha256: hash over everything executed, as approved.
        request: id of the approved request.
        block: everything that was fixed together with this run under `code_sha256` before its
            first run, this run included; the filter charges its sampled part whole, once. None:
            nothing else was, the run's own event is the block.

    Raises:
        LedgerError: an id is malformed, or the mechanisms are not those of the event.
    """

    reservation: str
    event: DpEvent
    mechanisms: tuple[Mechanism, ...]
    researcher: str
    study: str
    dataset_version: str
    code_sha256: str
    request: str
    block: DpEvent | None = None

    def __post_init__(self) -> None:
        check_identifier(self.reservation, "a reservation id")
        check_identifier(self.researcher, "a researcher")
        check_identifier(self.study, "a study")
        check_identifier(self.dataset_version, "a dataset version")
        check_identifier(self.code_sha256, "a code hash")
        check_identifier(self.request, "a request id")

    @property
    def block_id(self) -> str:
        """Name of the fixed sequence that this run is of."""
        if self.block is None:
            return f"run:{self.reservation}"
        return f"plan:{self.code_sha256}"

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``spend_reserved`` entry.

        Raises:
            EventError: the event cannot be accounted for, or the mechanisms are not its own.
        """
        return {
            "reservation": self.reservation,
            "event": event_to_json(self.event),
            "mechanisms": _mechanisms_to_json(self.mechanisms, self.event),
            "researcher": self.researcher,
            "study": self.study,
            "dataset_version": self.dataset_version,
            "code_sha256": self.code_sha256,
            "request": self.request,
            "block": None if self.block is None else event_to_json(self.block),
        }

    @classmethod
    def from_entry(cls, entry: Entry) -> "Reservation":
        """Read a ``spend_reserved`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        # Entries of before there were blocks lack the field: each run is then a block of its own.
        names = tuple(n for n in cls.__dataclass_fields__ if n != "block" or n in entry.detail)
        detail = cast("dict[str, str]", dict(_exactly(entry, names)))
        event, mechanisms = _spent(entry, detail.pop("event"), detail.pop("mechanisms"))
        told = cast("JsonValue", detail.pop("block", None))
        block = None if told is None else _block(entry, told)
        return cls(event=event, mechanisms=mechanisms, block=block, **detail)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A spend that happened.

    Attributes:
        reservation: id of the reservation it settles.
        event: what was really spent (steps actually taken).
        mechanisms: how its releases were made; exactly those of the event.
        dataset_version: hash of the data it touched, as reserved.
        code_sha256: hash over everything executed, as reserved.
    """

    reservation: str
    event: DpEvent
    mechanisms: tuple[Mechanism, ...]
    dataset_version: str
    code_sha256: str

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``spend_committed`` entry.

        Raises:
            EventError: the event cannot be accounted for, or the mechanisms are not its own.
        """
        return {
            "reservation": self.reservation,
            "event": event_to_json(self.event),
            "mechanisms": _mechanisms_to_json(self.mechanisms, self.event),
            "dataset_version": self.dataset_version,
            "code_sha256": self.code_sha256,
        }

    @classmethod
    def from_entry(cls, entry: Entry) -> "Commit":
        """Read a ``spend_committed`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        detail = _exactly(entry, tuple(cls.__dataclass_fields__))
        event, mechanisms = _spent(entry, detail["event"], detail["mechanisms"])
        return cls(
            reservation=check_identifier(detail["reservation"], "a reservation id"),
            event=event,
            mechanisms=mechanisms,
            dataset_version=check_identifier(detail["dataset_version"], "a dataset version"),
            code_sha256=check_identifier(detail["code_sha256"], "a code hash"),
        )


@dataclass(frozen=True, kw_only=True)
class Destruction:
    """A reservation given back because nothing left and the outputs were provably destroyed.

    Attributes:
        reservation: id of the reservation.
    """

    reservation: str

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``spend_destroyed`` entry."""
        return {"reservation": self.reservation}

    @classmethod
    def from_entry(cls, entry: Entry) -> "Destruction":
        """Read a ``spend_destroyed`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        detail = _exactly(entry, ("reservation",))
        return cls(reservation=check_identifier(detail["reservation"], "a reservation id"))


class DisclosureKind(StrEnum):
    """Why something leaves without noise; coded, so that it may be told to others."""

    CASE_REPORT = "case_report"
    LEDGER_LOST = "ledger_lost"
    CUSTOM_JOB = "custom_job"


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """An un-noised release: epsilon of the units concerned is infinite from then on.

    Attributes:
        kind: why it leaves without noise.
        units: how many units of privacy it concerns, >= 1; None: it may concern every one.
        scope: what it shows of them, e.g. ``"report of case 17"``.
        dataset_version: hash of the data it was made from.
    """

    kind: DisclosureKind
    units: int | None
    scope: str
    dataset_version: str

    def __post_init__(self) -> None:
        units = self.units
        if not isinstance(self.kind, DisclosureKind):
            raise LedgerError(f"a disclosure's kind must be a DisclosureKind, got {self.kind!r}")
        if units is not None and (
            isinstance(units, bool) or not isinstance(units, int) or units < 1
        ):
            raise LedgerError(f"a disclosure concerns at least one unit, got {units!r}"[:200])
        if not isinstance(self.scope, str) or not self.scope:
            raise LedgerError("a disclosure must say in its scope what it shows")
        check_identifier(self.dataset_version, "a dataset version")

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``disclosure`` entry."""
        return {
            "kind": self.kind.value,
            "units": _EVERY if self.units is None else self.units,
            "scope": self.scope,
            "dataset_version": self.dataset_version,
            "event": event_to_json(non_private()),
        }

    @classmethod
    def from_entry(cls, entry: Entry) -> "Disclosure":
        """Read a ``disclosure`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        detail = _exactly(entry, (*cls.__dataclass_fields__, "event"))
        if _event(entry, detail["event"]) != non_private():
            raise LedgerError("a disclosure is a non-private event; a noised release is a spend")
        try:
            kind = DisclosureKind(cast("str", detail["kind"]))
        except (ValueError, TypeError) as error:
            raise LedgerError(f"unknown kind of disclosure {detail['kind']!r}"[:200]) from error
        units = detail["units"]
        if units is None:
            raise LedgerError(f"a disclosure of everything says so: units {_EVERY!r}")
        return cls(
            kind=kind,
            units=None if units == _EVERY else cast("int", units),
            scope=cast("str", detail["scope"]),
            dataset_version=cast("str", detail["dataset_version"]),
        )


@dataclass(frozen=True, kw_only=True)
class BudgetChange:
    """A budget or a cap that the owner sets.

    Attributes:
        limit: the new amount, and whose it is.
        reset: whether everything spent so far stops counting against budgets and caps. Epsilon
            over all time goes on composing it; only for the whole hospital.
    """

    limit: Limit
    reset: bool = False

    def __post_init__(self) -> None:
        if self.limit.scope is Scope.HOSPITAL:
            if self.limit.name != "":
                raise LedgerError("the hospital's own budget has no name")
        else:
            check_identifier(self.limit.name, f"the {self.limit.scope} of a cap")
        if not isinstance(self.reset, bool) or (
            self.reset and self.limit.scope is not Scope.HOSPITAL
        ):
            raise LedgerError("only the hospital's whole budget can be reset")

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``budget_set`` entry."""
        return {
            "epsilon": self.limit.budget.epsilon,
            "delta": self.limit.budget.delta,
            "window_days": self.limit.budget.window_days,
            "scope": self.limit.scope.value,
            "name": self.limit.name,
            "reset": self.reset,
        }

    @classmethod
    def from_entry(cls, entry: Entry) -> "BudgetChange":
        """Read a ``budget_set`` entry.

        Raises:
            LedgerError: the detail is malformed or an amount is not usable.
        """
        names = ("epsilon", "delta", "window_days", "scope", "name", "reset")
        detail = cast("dict[str, Any]", _exactly(entry, names))
        try:
            budget = Budget(
                epsilon=detail["epsilon"],
                delta=detail["delta"],
                window_days=detail["window_days"],
            )
            limit = Limit(scope=Scope(detail["scope"]), name=detail["name"], budget=budget)
        except BudgetAmountError as error:
            raise LedgerError(f"{entry.kind}: {error}") from error
        except (ValueError, TypeError) as error:
            raise LedgerError(f"unknown scope of a budget {detail['scope']!r}"[:200]) from error
        return cls(limit=limit, reset=detail["reset"])


def _exactly(entry: Entry, names: tuple[str, ...]) -> Mapping[str, JsonValue]:
    if set(entry.detail) != set(names):
        raise LedgerError(
            f"{entry.kind} has exactly the details {sorted(names)}, got {sorted(entry.detail)}"[
                :300
            ]
        )
    return entry.detail


def _event(entry: Entry, value: JsonValue) -> DpEvent:
    try:
        return event_from_json(cast("Mapping[str, JsonValue]", value))
    except EventError as error:
        raise LedgerError(f"{entry.kind}: {error}") from error


@lru_cache(maxsize=1024)
def _parsed_event(text: bytes) -> DpEvent:
    return event_from_json(cast("Mapping[str, JsonValue]", parse_json(text)))


def _block(entry: Entry, value: JsonValue) -> DpEvent:
    try:
        return _parsed_event(canonical_bytes(value))
    except (EventError, CanonicalError) as error:
        raise LedgerError(f"{entry.kind}: block: {error}") from error


@lru_cache(maxsize=1024)
def _parsed(text: bytes) -> tuple[DpEvent, tuple[Mechanism, ...]]:
    """Event and mechanisms in canonical JSON; a ledger holds few different ones, very often."""
    told, listed = cast("list[JsonValue]", parse_json(text))
    event = event_from_json(told)
    if not isinstance(listed, list):
        raise EventError("mechanisms are a list")
    mechanisms = tuple(mechanism_from_json(each) for each in listed)
    check_mechanisms(mechanisms, event)
    return event, mechanisms


def _spent(
    entry: Entry, event: JsonValue, mechanisms: JsonValue
) -> tuple[DpEvent, tuple[Mechanism, ...]]:
    try:
        return _parsed(canonical_bytes([event, mechanisms]))
    except (EventError, CanonicalError) as error:
        raise LedgerError(f"{entry.kind}: {error}") from error


def _mechanisms_to_json(mechanisms: tuple[Mechanism, ...], event: DpEvent) -> list[JsonValue]:
    check_mechanisms(mechanisms, event)
    return [mechanism.to_json() for mechanism in mechanisms]

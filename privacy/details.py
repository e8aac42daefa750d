"""The details of entries that decide about money: budget, reservation, commit, destruction.

Each class reads its own entry (`from_entry`) and writes it (`to_json`). Reading fails closed: a
missing or extra field, a wrong type, an amount or an event that is not valid is a `LedgerError`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from dp_accounting.dp_event import DpEvent

from privacy.budget import Budget
from privacy.canonical import JsonValue
from privacy.entries import Entry
from privacy.errors import BudgetAmountError, EventError, LedgerError
from privacy.events import event_from_json, event_to_json

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
        dataset_version: hash of the data it touches.
        code_sha256: hash over everything executed, as approved.
        request: id of the approved request.
    """

    reservation: str
    event: DpEvent
    dataset_version: str
    code_sha256: str
    request: str

    def __post_init__(self) -> None:
        check_identifier(self.reservation, "a reservation id")
        check_identifier(self.dataset_version, "a dataset version")
        check_identifier(self.code_sha256, "a code hash")
        check_identifier(self.request, "a request id")

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``spend_reserved`` entry.

        Raises:
            EventError: the event cannot be accounted for.
        """
        return {
            "reservation": self.reservation,
            "event": event_to_json(self.event),
            "dataset_version": self.dataset_version,
            "code_sha256": self.code_sha256,
            "request": self.request,
        }

    @classmethod
    def from_entry(cls, entry: Entry) -> "Reservation":
        """Read a ``spend_reserved`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        names = ("reservation", "event", "dataset_version", "code_sha256", "request")
        detail = cast("dict[str, str]", dict(_exactly(entry, names)))
        event = _event(entry, detail.pop("event"))
        return cls(event=event, **detail)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A spend that happened.

    Attributes:
        reservation: id of the reservation it settles.
        event: what was really spent (steps actually taken).
    """

    reservation: str
    event: DpEvent

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``spend_committed`` entry.

        Raises:
            EventError: the event cannot be accounted for.
        """
        return {"reservation": self.reservation, "event": event_to_json(self.event)}

    @classmethod
    def from_entry(cls, entry: Entry) -> "Commit":
        """Read a ``spend_committed`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        detail = _exactly(entry, ("reservation", "event"))
        name = check_identifier(detail["reservation"], "a reservation id")
        return cls(reservation=name, event=_event(entry, detail["event"]))


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


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """An un-noised release: epsilon of the units concerned is infinite from then on.

    Attributes:
        units: how many units of privacy it concerns, >= 1.
        scope: what it shows of them, e.g. ``"report of case 17"``.
    """

    units: int
    scope: str

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int) or self.units < 1:
            raise LedgerError(f"a disclosure concerns at least one unit, got {self.units!r}"[:200])
        if not isinstance(self.scope, str) or not self.scope:
            raise LedgerError("a disclosure must say in its scope what it shows")

    def to_json(self) -> dict[str, JsonValue]:
        """The detail of a ``disclosure`` entry."""
        from privacy.events import non_private

        return {"units": self.units, "scope": self.scope, "event": event_to_json(non_private())}

    @classmethod
    def from_entry(cls, entry: Entry) -> "Disclosure":
        """Read a ``disclosure`` entry.

        Raises:
            LedgerError: the detail is malformed.
        """
        detail = _exactly(entry, ("units", "scope", "event"))
        _event(entry, detail["event"])
        return cls(units=cast("int", detail["units"]), scope=cast("str", detail["scope"]))


def budget_to_json(budget: Budget) -> dict[str, JsonValue]:
    """The detail of a ``budget_set`` entry."""
    return {"epsilon": budget.epsilon, "delta": budget.delta}


def budget_from_entry(entry: Entry) -> Budget:
    """Read a ``budget_set`` entry.

    Raises:
        LedgerError: the detail is malformed or an amount is not usable.
    """
    detail = _exactly(entry, ("epsilon", "delta"))
    try:
        return Budget(
            epsilon=cast("float", detail["epsilon"]), delta=cast("float", detail["delta"])
        )
    except BudgetAmountError as error:
        raise LedgerError(f"{entry.kind}: {error}") from error


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
        return event_from_json(value)
    except EventError as error:
        raise LedgerError(f"{entry.kind}: {error}") from error

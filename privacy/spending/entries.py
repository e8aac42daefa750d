"""Ledger entries: what happened, who did it, to what, why, and when.

Guarantees: a kind from the list below, non-empty actor, action and resource, UTC time ending in Z,
and a detail that survives a round trip through JSON unchanged; values are copied, so a caller who
keeps the detail cannot change the entry. What the details of spends and budgets must hold is said
by `privacy.spending.payloads`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import cast

from privacy.errors import CanonicalError, LedgerError
from privacy.signing import JsonValue, normalise

MAX_TEXT = 4000
"""Longest actor, action, resource or reason, in characters."""
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z", re.ASCII)
_FIELDS = frozenset({"kind", "actor", "action", "resource", "reason", "time", "detail"})


class EntryKind(StrEnum):
    """Everything that a hospital's ledger records."""

    LEDGER_OPENED = "ledger_opened"
    LEDGER_REPAIRED = "ledger_repaired"
    BUDGET_SET = "budget_set"
    DATASET_INGESTED = "dataset_ingested"
    PEER_PAIRED = "peer_paired"
    PEER_UNPAIRED = "peer_unpaired"
    KEY_ROTATED = "key_rotated"
    PLAN_RECEIVED = "plan_received"
    PLAN_APPROVED = "plan_approved"
    PLAN_REJECTED = "plan_rejected"
    APPROVAL_REVOKED = "approval_revoked"
    SPEND_RESERVED = "spend_reserved"
    SPEND_COMMITTED = "spend_committed"
    SPEND_DESTROYED = "spend_destroyed"
    RUN_REFUSED = "run_refused"
    JOB_FAILED = "job_failed"
    OUTPUT_HELD = "output_held"
    OUTPUT_EDITED = "output_edited"
    OUTPUT_REDACTED = "output_redacted"
    OUTPUT_RELEASED = "output_released"
    OUTPUT_WITHHELD = "output_withheld"
    IMAGES_POOLED = "images_pooled"
    SYNTHETIC_ACCEPTED = "synthetic_accepted"
    SYNTHETIC_DISCARDED = "synthetic_discarded"
    RELEASE_RULE_SET = "release_rule_set"
    RELEASE_RULE_REVOKED = "release_rule_revoked"
    RECEIPT_COUNTERSIGNED = "receipt_countersigned"
    DISCLOSURE = "disclosure"
    UNSAFE_OPTION_USED = "unsafe_option_used"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened.

    Attributes:
        kind: what happened.
        actor: who did it (a person's name, ``"agent"``, a peer's fingerprint).
        action: the verb, e.g. ``"reserve"``.
        resource: to what, e.g. a plan's or a dataset version's hash.
        reason: why, in the actor's words or a coded reason; may be empty.
        time: UTC, ISO 8601 with ``Z``, e.g. ``"2026-11-23T21:10:00Z"``.
        detail: figures and hashes, by kind; JSON, read-only.

    Raises:
        LedgerError: a field is empty, too long, of the wrong type or has no JSON form.
    """

    kind: EntryKind
    actor: str
    action: str
    resource: str
    reason: str
    time: str
    detail: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, EntryKind):
            raise LedgerError(f"an entry's kind must be an EntryKind, got {self.kind!r}")
        _check_texts(self.__dict__)
        check_time(self.time)
        if not isinstance(self.detail, Mapping):
            raise LedgerError(
                f"an entry's detail must be an object, got {type(self.detail).__name__}"
            )
        try:
            detail = cast("dict[str, JsonValue]", normalise(dict(self.detail)))
        except CanonicalError as error:
            raise LedgerError(f"an entry's detail must be plain JSON: {error}") from error
        object.__setattr__(self, "detail", MappingProxyType(detail))


def _check_texts(fields: Mapping[str, object]) -> None:
    for name in ("actor", "action", "resource", "reason"):
        text = fields[name]
        if not isinstance(text, str) or len(text) > MAX_TEXT or not (text or name == "reason"):
            raise LedgerError(
                f"an entry's {name} must be a text of 1 to {MAX_TEXT} characters "
                f"(a reason may be empty), got {type(text).__name__}"
            )


def check_time(time: object) -> str:
    """Return `time` if it is UTC in ISO 8601 with ``Z``.

    Raises:
        LedgerError: anything else.
    """
    if not isinstance(time, str) or not _TIME.fullmatch(time):
        raise LedgerError(f"a time must look like 2026-11-23T21:10:00Z (UTC), got {time!r}"[:200])
    try:
        datetime.fromisoformat(time)
    except ValueError as error:
        raise LedgerError(f"{time} is not a date that exists") from error
    return time


def entry_to_json(entry: Entry) -> dict[str, JsonValue]:
    """The entry as a JSON object."""
    return {
        "kind": entry.kind.value,
        "actor": entry.actor,
        "action": entry.action,
        "resource": entry.resource,
        "reason": entry.reason,
        "time": entry.time,
        "detail": dict(entry.detail),
    }


def entry_from_json(value: JsonValue) -> Entry:
    """Rebuild an entry.

    Args:
        value: what `entry_to_json` returned, after a round trip.

    Returns:
        The entry.

    Raises:
        LedgerError: unknown kind, missing or extra field, wrong type.
    """
    if not isinstance(value, Mapping) or set(value) != _FIELDS:
        raise LedgerError(f"an entry is an object with exactly the fields {sorted(_FIELDS)}")
    fields = cast("dict[str, str]", dict(value))
    try:
        kind = EntryKind(fields.pop("kind"))
    except (ValueError, TypeError) as error:
        raise LedgerError(f"unknown entry kind {value['kind']!r}"[:200]) from error
    detail = cast("Mapping[str, JsonValue]", fields.pop("detail"))
    return Entry(kind=kind, detail=detail, **fields)

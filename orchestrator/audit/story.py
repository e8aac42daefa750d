"""What a hospital's own code would never have done, and what its receipts must agree with. Pure.

The chain shows that nothing was changed, and the fold that the entries can have happened in this
order (`privacy.ledger.story`). A hospital that holds its own key can still tell a false story in
both. `check_story` looks at the ledger by itself:

    opening     the first entry names the key that sealed it
    approval    no run of a plan was reserved before the plan was approved, nor after that approval
                was withdrawn
    release     what left is of a run whose spend was committed before; a case report was recorded
                as a disclosure before

`check_receipt_of` joins one receipt of the hospital to exactly one committed spend: request, study,
round, plan, data version and event are the spend's; it was committed at or before the entry that
the receipt names; the spend fitted the budget and caps in force when it was reserved; and delta,
total, unit and disclosures are those that the ledger up to that entry gives, computed anew.

Each refusal names the entry or the receipt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from orchestrator.errors import VerificationError
from privacy import (
    Account,
    Entry,
    EntryKind,
    PlacedSpend,
    PrivacyError,
    Receipt,
    Replay,
    SpendState,
    check_reservation,
    event_to_json,
    weakest,
)

KEPT = frozenset(
    {
        EntryKind.LEDGER_OPENED,
        EntryKind.PLAN_APPROVED,
        EntryKind.PLAN_REJECTED,
        EntryKind.APPROVAL_REVOKED,
        EntryKind.OUTPUT_RELEASED,
        EntryKind.DISCLOSURE,
    }
)
"""Kinds of entries that a replay keeps for these checks."""
_TRAIN = "train/"
_RUNS = frozenset({"generate", "pool", "report"})
_UN_NOISED = "case"
_TOLERANCE = 1e-3
"""Two versions of the accountant may differ by so much, relatively."""


def check_story(replay: Replay, *, public_hex: str) -> None:
    """Check what a ledger tells by itself.

    Args:
        replay: of the verified ledger, with the kinds `KEPT`.
        public_hex: the key that sealed it.

    Raises:
        VerificationError: names the first entry that cannot be.
    """
    for number, problem in _problems(replay, public_hex):
        raise VerificationError(f"ledger entry {number}: {problem}")


def check_receipt_of(replay: Replay, receipt: Receipt) -> None:
    """Check a receipt against the ledger of its hospital.

    Args:
        replay: with the account at the receipt's checkpoint and before its reservation.
        receipt: signed by the hospital.

    Raises:
        VerificationError: says what does not agree.
    """
    for problem in _disagreements(replay, receipt):
        raise VerificationError(problem)


def _problems(replay: Replay, public_hex: str) -> Iterator[tuple[int, str]]:
    opening = replay.kept[0]
    if opening.entry.resource != public_hex:
        yield opening.sequence, "the opening names another key than the one that seals this ledger"
    yield from _unapproved(replay)
    committed = {
        placed.spend.reserved.reservation: placed.settled_at
        for placed in replay.spends
        if placed.spend.state is SpendState.COMMITTED
    }
    disclosed: set[str] = set()
    for sealed in replay.kept:
        if sealed.entry.kind is EntryKind.DISCLOSURE:
            disclosed.add(sealed.entry.resource)
        elif sealed.entry.kind is EntryKind.OUTPUT_RELEASED:
            problem = _released(sealed.entry, sealed.sequence, committed, disclosed)
            if problem:
                yield sealed.sequence, problem


def _unapproved(replay: Replay) -> Iterator[tuple[int, str]]:
    """Runs of plans that were not approved when they were reserved."""
    moments: list[tuple[int, Entry | PlacedSpend]] = [
        (sealed.sequence, sealed.entry) for sealed in replay.kept
    ]
    moments += [(placed.reserved_at, placed) for placed in replay.spends]
    approved: dict[str, bool] = {}
    for number, what in sorted(moments, key=lambda moment: moment[0]):
        if isinstance(what, Entry):
            if what.kind is EntryKind.PLAN_APPROVED:
                approved[what.resource] = True
            elif what.kind in (EntryKind.PLAN_REJECTED, EntryKind.APPROVAL_REVOKED):
                approved[what.resource] = False
            continue
        reserved = what.spend.reserved
        is_run = reserved.request in _RUNS or reserved.request.startswith(_TRAIN)
        if is_run and not approved.get(reserved.code_sha256, False):
            known = "was withdrawn" if reserved.code_sha256 in approved else "is not recorded"
            yield number, f"{reserved.request} was reserved of a plan whose approval {known}"


def _released(
    entry: Entry, number: int, committed: Mapping[str, int | None], disclosed: set[str]
) -> str:
    request = str(entry.detail.get("request", ""))
    settled = committed.get(request)
    if settled is None or settled > number:
        return f"{entry.resource} was released of a run ({request!r}) whose spend was not committed"
    if entry.detail.get("kind") == _UN_NOISED and entry.resource not in disclosed:
        return f"the case report {entry.resource} was released without being disclosed before"
    return ""


def _disagreements(replay: Replay, receipt: Receipt) -> Iterator[str]:
    at = receipt.checkpoint.sequence
    placed = next(
        (one for one in replay.spends if one.spend.reserved.reservation == receipt.request), None
    )
    if placed is None:
        yield f"no spend for {receipt.request} is in the ledger"
        return
    spend = placed.spend
    if spend.state is not SpendState.COMMITTED:
        yield f"the spend of {receipt.request} was not committed, it is {spend.state}"
        return
    if placed.settled_at is None or placed.settled_at > at:
        yield (
            f"the spend of {receipt.request} was committed by entry {placed.settled_at}, after "
            f"entry {at}, which the receipt names"
        )
    reserved = spend.reserved
    said = {
        "study": (receipt.study, reserved.study),
        "plan": (receipt.plan_sha256, reserved.code_sha256),
        "data version": (receipt.dataset_version, reserved.dataset_version),
        "round": (f"{_TRAIN}{receipt.round}" if receipt.round else "", _round_of(reserved.request)),
        "event": (_plain(receipt.event), event_to_json(spend.event)),
    }
    for name, (told, kept) in said.items():
        if told != kept:
            yield f"the {name} of {receipt.request} is another one in the ledger"
    yield from _unfitting(replay, placed)
    yield from _other_totals(replay.then[at], receipt)


def _unfitting(replay: Replay, placed: PlacedSpend) -> Iterator[str]:
    reserved = placed.spend.reserved
    try:
        check_reservation(replay.before[reserved.reservation], reserved, time=placed.spend.time)
    except PrivacyError as error:
        yield f"ledger entry {placed.reserved_at}: reserved although it did not fit ({error})"


def _other_totals(account: Account, receipt: Receipt) -> Iterator[str]:
    delta = account.required_budget().delta
    if receipt.delta != delta:
        yield f"its delta is {receipt.delta:g}; the budget in force had {delta:g}"
        return
    total = account.epsilon(delta=delta)
    close = math.isclose(receipt.epsilon_total, total, rel_tol=_TOLERANCE, abs_tol=1e-6)
    if not close:
        yield (
            f"its total is {receipt.epsilon_total:.6g}; the ledger up to entry "
            f"{receipt.checkpoint.sequence} gives {total:.6g} at the same delta and unit"
        )
    if account.units and receipt.unit is not weakest(account.units):
        yield f"its unit is {receipt.unit}; the ledger says {account.unit}"
    if dict(receipt.disclosed) != account.disclosed_by_kind():
        yield (
            f"it counts the disclosures {dict(receipt.disclosed)}; the ledger "
            f"{account.disclosed_by_kind()}"
        )


def _round_of(request: str) -> str:
    """What names the round of a run; empty where it has none, and itself where it is no run."""
    return "" if request in _RUNS else request


def _plain(value: object) -> object:
    """Read-only mappings as plain JSON values."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value

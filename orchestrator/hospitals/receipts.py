"""Receipts as the researcher keeps them: JSON text, read back and checked.

A hospital is not believed because it signs. Of each receipt a researcher can check alone, without
the ledger, that it is for the task that was sent (`check_implied`), and that it agrees with what
the same hospital told before (`check_beside`): one story, growing, whose total is not below what
the researcher's own runs compose to. What only the ledger can tell is left to `dura audit verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from datasites import Bundle, PlanError, Task, TrainTask, task_event
from orchestrator.errors import VerificationError
from privacy import (
    DisclosureKind,
    PrivacyError,
    Receipt,
    SignedReceipt,
    epsilon,
    event_from_json,
    event_to_json,
    parse_json,
    per_unit,
    signed_receipt_from_json,
    verify_receipt,
)

_TOLERANCE = 1e-3
"""Two versions of the accountant may differ by so much, relatively."""


def read_receipt(text: str) -> SignedReceipt:
    """A signed receipt from its text; `check_receipt` still has to be called.

    Raises:
        VerificationError: the text is not a receipt.
    """
    try:
        return signed_receipt_from_json(parse_json(text.encode(errors="surrogatepass")))
    except PrivacyError as error:
        raise VerificationError(f"not a receipt: {error}") from error


def check_receipt(text: str, *, public_hex: str) -> SignedReceipt:
    """A receipt that the holder of `public_hex` signed.

    Raises:
        VerificationError: the text is not a receipt, or somebody else signed it.
    """
    signed = read_receipt(text)
    try:
        verify_receipt(signed, public_hex=public_hex)
    except PrivacyError as error:
        raise VerificationError(f"the receipt does not hold: {error}") from error
    return signed


def check_implied(receipt: Receipt, *, bundle: Bundle, task: Task) -> None:
    """Check that a receipt is for what a task asked under a plan, at its whole cost.

    Raises:
        VerificationError: its study, plan, request or round is another one, or its event is not the
            one that the task implies: it would make epsilon smaller than what left.
    """
    named = (receipt.study, receipt.plan_sha256, receipt.request, receipt.round)
    asked = (
        bundle.plan.study,
        bundle.sha256,
        task.request,
        task.round if isinstance(task, TrainTask) else 0,
    )
    if named != asked:
        raise VerificationError("its receipt is for another request, round, plan, study or site")
    try:
        implied = event_to_json(task_event(bundle.plan, task))
    except (PrivacyError, PlanError, ValueError) as error:
        raise VerificationError(f"the plan has no such task: {error}") from error
    if event_to_json(event_from_json(receipt.event)) != implied:
        raise VerificationError("its receipt names another privacy event than the task implies")


def check_beside(receipt: Receipt, kept: Iterable[Receipt]) -> None:
    """Check a receipt against those that the same hospital gave before.

    Args:
        receipt: the one that came.
        kept: the earlier ones, of other requests.

    Raises:
        VerificationError: its ledger was forked or set back, or its total is below an earlier one
            at the same delta or below what these runs alone compose to.
    """
    earlier = list(kept)
    at = receipt.checkpoint
    lost = DisclosureKind.LEDGER_LOST.value
    whose = per_unit(receipt.unit.words)
    for other in earlier:
        if receipt.disclosed.get(lost, 0) > other.disclosed.get(lost, 0):
            continue  # it says itself that entries were lost, and that epsilon is infinite
        if other.checkpoint.sequence >= at.sequence:
            raise VerificationError(
                f"its receipt names entry {at.sequence} of its ledger; it showed entry "
                f"{other.checkpoint.sequence} before, so the ledger was set back or forked"
            )
        if other.delta == receipt.delta and other.epsilon_total > receipt.epsilon_total:
            raise VerificationError(
                f"its receipt says epsilon {receipt.epsilon_total:.6g} {whose} in all; it said "
                f"{other.epsilon_total:.6g} before, at the same delta"
            )
    own = composed([*earlier, receipt], delta=receipt.delta)
    if receipt.epsilon_total < own * (1 - _TOLERANCE):
        raise VerificationError(
            f"its receipt says epsilon {receipt.epsilon_total:.6g} {whose} in all; the runs of "
            f"this study alone compose to {own:.6g} at the same delta"
        )


def check_kept(text: str, kept: Mapping[str, str]) -> None:
    """`check_beside` for a verified receipt's text, against the texts kept of this hospital.

    Args:
        text: of the receipt that came.
        kept: request to text; one that was kept before was checked then.

    Raises:
        VerificationError: they do not tell one story, or there are two receipts for one run.
    """
    receipt = read_receipt(text).receipt
    before = kept.get(receipt.request)
    if before is None:
        check_beside(receipt, [read_receipt(other).receipt for other in kept.values()])
    elif before != text:
        raise VerificationError(f"two receipts for {receipt.request}")


def is_newer(text: str, before: str) -> bool:
    """Whether a receipt's text was given after another of the same hospital.

    Its ledger grew; or it lost entries, as it says itself, and numbers them anew.
    """
    lost = DisclosureKind.LEDGER_LOST.value
    new, old = read_receipt(text).receipt, read_receipt(before).receipt
    return (new.disclosed.get(lost, 0), new.checkpoint.sequence) > (
        old.disclosed.get(lost, 0),
        old.checkpoint.sequence,
    )


def composed(receipts: Sequence[Receipt], *, delta: float) -> float:
    """Epsilon of the runs that receipts are for, at a delta: what was spent at the least."""
    return epsilon([event_from_json(receipt.event) for receipt in receipts], delta=delta)

"""Which entry a spend needs: reserve, commit, destroy, disclose, set a budget. Pure.

Check, record, then act: a decision here is a value; it holds only once `Ledger.transact` has
appended it, and only then may data be touched (reserve), an output leave (commit), or an amount be
offered again (destroy). Each function refuses what the account cannot bear, so a refusal leaves no
trace except the one its caller writes.

    reserved --commit--> committed          (outputs may leave)
    reserved --destroy-> destroyed          (nothing left; outputs provably gone)
"""

from dp_accounting.dp_event import DpEvent

from privacy.accounts import Account, check_commit
from privacy.budget import Budget, check_spend
from privacy.details import Commit, Destruction, Disclosure, Reservation, budget_to_json
from privacy.entries import Entry, EntryKind
from privacy.errors import LedgerError


def set_budget(budget: Budget, *, reason: str, time: str, actor: str) -> Entry:
    """The owner sets, tops up or lowers the budget; nothing spent is forgiven.

    Args:
        budget: the new budget.
        reason: why this epsilon and delta (required).
        time: UTC, ISO 8601 with ``Z``.
        actor: the owner.

    Returns:
        The entry to append.

    Raises:
        LedgerError: no reason given.
    """
    return Entry(
        kind=EntryKind.BUDGET_SET,
        actor=actor,
        action="set budget",
        resource="budget",
        reason=_required(reason, "why this epsilon and delta?"),
        time=time,
        detail=budget_to_json(budget),
    )


def reserve(
    account: Account,
    *,
    reservation: str,
    event: DpEvent,
    dataset_version: str,
    code_sha256: str,
    request: str,
    time: str,
    actor: str,
) -> Entry:
    """Set a spend aside before a run touches any data.

    Args:
        account: fresh state of the ledger.
        reservation: a new id for it.
        event: what the run may cost at most.
        dataset_version: hash of the data it touches.
        code_sha256: hash over everything executed, as approved.
        request: id of the approved request.
        time: UTC, ISO 8601 with ``Z``.
        actor: who reserves, usually the hospital's agent.

    Returns:
        The entry to append.

    Raises:
        BudgetExceededError: everything spent plus this exceeds the budget (a non-private event
            always does).
        LedgerError: no budget is set, the id was used before, or an id is malformed.
        EventError: the event cannot be accounted for.
    """
    reserved = Reservation(
        reservation=reservation,
        event=event,
        dataset_version=dataset_version,
        code_sha256=code_sha256,
        request=request,
    )
    detail = reserved.to_json()
    if reservation in account.spends:
        raise LedgerError(f"reservation {reservation} exists already; use a new id")
    check_spend(budget=account.required_budget(), spent=account.spent_events(), asked=[event])
    return Entry(
        kind=EntryKind.SPEND_RESERVED,
        actor=actor,
        action="reserve",
        resource=dataset_version,
        reason=f"a run of {request}",
        time=time,
        detail=detail,
    )


def commit(account: Account, *, reservation: str, event: DpEvent, time: str, actor: str) -> Entry:
    """Turn a reservation into a spend, before an output leaves.

    Args:
        account: fresh state of the ledger.
        reservation: id of an open reservation.
        event: the event of the steps actually taken.
        time: UTC, ISO 8601 with ``Z``.
        actor: who commits.

    Returns:
        The entry to append.

    Raises:
        LedgerError: no such open reservation, or the event costs more than it.
        EventError: the event cannot be accounted for.
    """
    settled = Commit(reservation=reservation, event=event)
    detail = settled.to_json()
    spend = account.open_spend(reservation)
    check_commit(spend, settled)
    return Entry(
        kind=EntryKind.SPEND_COMMITTED,
        actor=actor,
        action="commit",
        resource=spend.reserved.dataset_version,
        reason=f"a run of {spend.reserved.request}",
        time=time,
        detail=detail,
    )


def destroy(account: Account, *, reservation: str, reason: str, time: str, actor: str) -> Entry:
    """Give a reservation back: only when nothing left and the outputs are provably gone.

    Args:
        account: fresh state of the ledger.
        reservation: id of the open reservation.
        reason: how it is known that nothing left (required).
        time: UTC, ISO 8601 with ``Z``.
        actor: who destroyed the outputs.

    Returns:
        The entry to append.

    Raises:
        LedgerError: no such open reservation, or no reason given.
    """
    spend = account.open_spend(reservation)
    return Entry(
        kind=EntryKind.SPEND_DESTROYED,
        actor=actor,
        action="destroy",
        resource=spend.reserved.dataset_version,
        reason=_required(reason, "how is it known that nothing left?"),
        time=time,
        detail=Destruction(reservation=reservation).to_json(),
    )


def disclose(disclosure: Disclosure, *, resource: str, reason: str, time: str, actor: str) -> Entry:
    """Record an un-noised release, before it leaves.

    Args:
        disclosure: how many units it concerns, and what it shows.
        resource: hash of what is released.
        reason: why it may leave without noise (required).
        time: UTC, ISO 8601 with ``Z``.
        actor: the owner who released it.

    Returns:
        The entry to append.

    Raises:
        LedgerError: no reason given.
    """
    return Entry(
        kind=EntryKind.DISCLOSURE,
        actor=actor,
        action="disclose",
        resource=resource,
        reason=_required(reason, "why may this leave without noise?"),
        time=time,
        detail=disclosure.to_json(),
    )


def _required(reason: str, question: str) -> str:
    if not reason.strip():
        raise LedgerError(f"this entry needs a reason: {question}")
    return reason

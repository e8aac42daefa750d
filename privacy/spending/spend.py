"""Which entry a spend needs: reserve, commit, destroy, disclose, set a budget. Pure.

Check, record, then act: a decision here is a value; it holds only once `Ledger.transact` has
appended it, and only then may data be touched (reserve), an output leave (commit), or an amount be
offered again (destroy). Each function refuses what the account cannot bear, so a refusal leaves no
trace except the one its caller writes.

    reserved --commit--> committed          (outputs may leave)
    reserved --destroy-> destroyed          (nothing left; outputs provably gone)
"""

from collections.abc import Sequence

from dp_accounting.dp_event import DpEvent

from privacy.accounting import Mechanism, check_event, leaves, plan_charges
from privacy.errors import LedgerError
from privacy.spending.account import Account
from privacy.spending.budget import Budget, Limit, Scope, SpendDecision, check_spend
from privacy.spending.entries import Entry, EntryKind
from privacy.spending.payloads import BudgetChange, Commit, Destruction, Disclosure, Reservation
from privacy.spending.replay import check_commit


def set_budget(
    budget: Budget,
    *,
    reason: str,
    time: str,
    actor: str,
    scope: Scope = Scope.HOSPITAL,
    name: str = "",
    reset: bool = False,
) -> Entry:
    """The owner sets, tops up or lowers a budget or a cap; nothing spent is forgiven.

    Args:
        budget: the new amount.
        reason: why this epsilon and delta (required).
        time: UTC, ISO 8601 with ``Z``.
        actor: the owner.
        scope: the whole hospital, or one researcher or study within it.
        name: the researcher's address or the study's name.
        reset: whether older spends stop counting against budgets and caps; they still compose into
            epsilon over all time.

    Returns:
        The entry to append.

    Raises:
        LedgerError: no reason given, no name for a cap, or a reset of a cap.
    """
    limit = Limit(scope=scope, name=name, budget=budget)
    return Entry(
        kind=EntryKind.BUDGET_SET,
        actor=actor,
        action="reset budget" if reset else "set budget",
        resource="budget" if scope is Scope.HOSPITAL else f"cap of {limit}",
        reason=_required(reason, "why this epsilon and delta?"),
        time=time,
        detail=BudgetChange(limit=limit, reset=reset).to_json(),
    )


def check_fits(
    account: Account, *, events: Sequence[DpEvent], researcher: str, study: str, time: str
) -> SpendDecision:
    """Whether a whole plan fits the hospital's budget and every cap that applies.

    Args:
        account: fresh state of the ledger.
        events: what it may cost at most, fixed beforehand: its sampled steps are one block.
        researcher: who asks.
        study: for which study.
        time: now, UTC.

    Returns:
        The figures against the hospital's budget.

    Raises:
        BudgetExceededError: a budget or cap would be exceeded (a non-private event always does);
            names which.
        LedgerError: no budget is set.
    """
    plan = plan_charges(events)
    decisions = []
    for limit in account.limits(researcher=researcher, study=study):
        spent = account.charged(limit, time=time)
        decisions.append(
            check_spend(budget=limit.budget, spent=spent, after=spent + plan, whose=str(limit))
        )
    return decisions[0]


def check_reservation(account: Account, reservation: Reservation, *, time: str) -> None:
    """Whether one run fits the hospital's budget and every cap that applies.

    Args:
        account: the state of the ledger before it.
        reservation: what is to be set aside; its block is charged whole if no run of it counts yet.
        time: now, UTC.

    Raises:
        BudgetExceededError: a budget or cap would be exceeded; names which.
        LedgerError: no budget is set.
    """
    for limit in account.limits(researcher=reservation.researcher, study=reservation.study):
        check_spend(
            budget=limit.budget,
            spent=account.charged(limit, time=time),
            after=account.charged(limit, time=time, asked=reservation),
            whose=str(limit),
        )


def reserve(account: Account, reservation: Reservation, *, time: str, actor: str) -> Entry:
    """Set a spend aside before a run touches any data.

    Args:
        account: fresh state of the ledger.
        reservation: what is to be set aside, under a new id.
        time: UTC, ISO 8601 with ``Z``.
        actor: who reserves, usually the researcher whose request it is.

    Returns:
        The entry to append.

    Raises:
        BudgetExceededError: everything that counts plus this exceeds a budget or a cap. The first
            run of a plan needs room for all of the plan's sampled steps.
        LedgerError: no budget is set, or the id was used before.
        EventError: the event cannot be accounted for, or the mechanisms are not its own.
    """
    detail = reservation.to_json()
    if reservation.reservation in account.states:
        raise LedgerError(f"reservation {reservation.reservation} exists already; use a new id")
    check_reservation(account, reservation, time=time)
    return Entry(
        kind=EntryKind.SPEND_RESERVED,
        actor=actor,
        action="reserve",
        resource=reservation.dataset_version,
        reason=f"a run of {reservation.request}{_at_no_cost(reservation.event)}",
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
    check_event(event)
    spend = account.open_spend(reservation)
    settled = Commit(
        reservation=reservation,
        event=event,
        mechanisms=_used(spend.reserved.mechanisms, event),
        dataset_version=spend.reserved.dataset_version,
        code_sha256=spend.reserved.code_sha256,
    )
    check_commit(spend, settled)
    detail = settled.to_json()
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


def _used(mechanisms: tuple[Mechanism, ...], event: DpEvent) -> tuple[Mechanism, ...]:
    """Those of a reservation's mechanisms that the committed event holds."""
    noises = {leaf.noise_multiplier for leaf, _ in leaves(event) if leaf is not None}
    return tuple(each for each in mechanisms if each.noise_multiplier in noises)


def _at_no_cost(event: DpEvent) -> str:
    """Said where a run is logged although it reads nothing private."""
    return "" if list(leaves(event)) else ", at no cost: post-processing of what was released"


def _required(reason: str, question: str) -> str:
    if not reason.strip():
        raise LedgerError(f"this entry needs a reason: {question}")
    return reason

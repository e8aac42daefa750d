"""Sequences of sampled steps that were fixed as a whole before their first run. Pure.

The filter charges a block whole, when the first of its runs is reserved
(`privacy.accounting.filter`). That is right only if the block is what it was then, and if no more
runs under it than it holds. So refused, as a story that cannot have happened, are: runs under one
code hash that name different blocks, different researchers or studies; an event with steps that its
block does not have; and runs that together, open ones in full and destroyed ones not, take more
steps than the block holds. Full-batch Gaussians are charged by themselves and may run as often as
the budget allows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dp_accounting.dp_event import DpEvent

from privacy.accounting import Charges, Merged, charges, full_batch, sampled_only
from privacy.errors import LedgerError
from privacy.spending.payloads import Reservation


@dataclass
class _Block:
    event: DpEvent
    whose: tuple[str, str]
    used: Counter[tuple[str, float, float]] = field(default_factory=Counter)


def block_cost(reserved: Reservation) -> Merged:
    """What the filter charges for the sampled steps of a run's block."""
    return full_batch([reserved.event if reserved.block is None else reserved.block])[1]


def costs_of(spends: Iterable[tuple[Reservation, DpEvent]]) -> dict[str, Merged]:
    """Block -> what the filter charges for it, of every block of which some steps count.

    Args:
        spends: each that counts: its reservation, and the event that counts.
    """
    return {
        reserved.block_id: block_cost(reserved) for reserved, event in spends if sampled_only(event)
    }


def charges_of(spends: Sequence[tuple[Reservation, DpEvent]]) -> Charges:
    """What the filter charges for some spends, each block whole, once."""
    gaussians, _, private = full_batch(event for _, event in spends)
    return charges(gaussians, Counter(costs_of(spends).values()), private=private)


class Blocks:
    """The blocks of a ledger, and how much of each was used.

    Attributes:
        costs: block -> what the filter charges for it. Grows; what is in it does not change.
    """

    def __init__(self) -> None:
        self.costs: dict[str, Merged] = {}
        self._plans: dict[str, _Block] = {}

    def check(self, reserved: Reservation) -> None:
        """Refuse a reservation that its block does not hold.

        Raises:
            LedgerError: it names another block, or another researcher or study, than the runs
                before it under the same code hash, or takes steps that are not there any more.
        """
        if reserved.block is None:
            return
        known = self._plans.get(reserved.block_id)
        if known is None:
            known = _Block(reserved.block, (reserved.researcher, reserved.study))
        if known.event != reserved.block or known.whose != (reserved.researcher, reserved.study):
            raise LedgerError(
                f"reservation {reserved.reservation} names another fixed sequence, researcher or "
                f"study than the runs before it of {reserved.code_sha256}; what was fixed "
                "beforehand cannot change: submit a new plan"
            )
        held = sampled_only(reserved.block)
        for step, count in sampled_only(reserved.event).items():
            if known.used[step] + count > held[step]:
                raise LedgerError(
                    f"reservation {reserved.reservation} takes {count} steps of {step}, but its "
                    f"plan fixed {held[step]} beforehand and {known.used[step]} are taken; submit "
                    "a new plan for more"
                )

    def reserved(self, reserved: Reservation) -> None:
        """Take note of a reservation that was checked."""
        steps = sampled_only(reserved.event)
        if steps and reserved.block_id not in self.costs:
            self.costs[reserved.block_id] = block_cost(reserved)
        if reserved.block is not None:
            plan = self._plans.setdefault(
                reserved.block_id,
                _Block(reserved.block, (reserved.researcher, reserved.study)),
            )
            plan.used.update(steps)

    def settled(self, reserved: Reservation, event: DpEvent | None) -> None:
        """Give back what a settled reservation did not take: all of it if `event` is None."""
        plan = self._plans.get(reserved.block_id)
        if plan is not None:
            plan.used.subtract(sampled_only(reserved.event))
            plan.used.update(Counter() if event is None else sampled_only(event))

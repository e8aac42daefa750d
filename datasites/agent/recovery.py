"""What becomes of a request that an agent left open when it died. Pure.

An agent may die, or its disk fill up, between any two writes. What is on disk then tells how far
it was, in this order:

    ledger has the request's ending         CLOSE    the record follows; nothing is logged twice
    outputs were collected and checked      FINISH   commit, place, answer: each step that is
                                                     done already is found done
    a spend was reserved                    FAIL     its sandbox died, what was reserved stays spent
    nothing was reserved                    START    as if it had just come

So a request is run at most once, and ends exactly once.
"""

from __future__ import annotations

from enum import StrEnum


class RecoveryAction(StrEnum):
    """How an open request goes on; see the module's docstring."""

    CLOSE = "close"
    FINISH = "finish"
    FAIL = "fail"
    START = "start"


def course(*, ended: bool, collected: bool, reserved: bool) -> RecoveryAction:
    """How a request that is queued or running, but runs nowhere, goes on.

    Args:
        ended: the ledger says that it was refused or failed.
        collected: its checked outputs lie beside its record.
        reserved: the ledger has a spend for it, in whatever state.
    """
    if ended:
        return RecoveryAction.CLOSE
    if collected:
        return RecoveryAction.FINISH
    return RecoveryAction.FAIL if reserved else RecoveryAction.START

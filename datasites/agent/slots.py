"""A job in its slot, and what of a slot is left after a restart. Pure but for the clock that runs.

The slot began when the job was handed to its sandbox, and its length is the plan's. Within a
process it is measured on the monotonic clock; over a restart by the end that was written down, and
never longer than the whole slot, whatever became of the machine's clock.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime

from datasites.agent.admission import ReadyJob
from datasites.agent.request_store import Request
from datasites.sandbox import SandboxProcess


@dataclass(frozen=True)
class Running:
    """A request in its slot.

    Attributes:
        request: it.
        job: None where its outputs were collected by an agent that ended since.
        sandbox: None once its outputs are collected.
        due: when the slot is over, on the monotonic clock.
    """

    request: Request
    job: ReadyJob | None
    sandbox: SandboxProcess | None
    due: float

    def left_s(self) -> float:
        """Seconds until there is something to do, if that is known: infinite while it works."""
        return math.inf if self.sandbox is not None else max(0.0, self.due - time.monotonic())


def left_after_restart_s(request: Request, *, now: datetime) -> float:
    """Seconds of a request's slot that are left; 0 or less where it is over or had none."""
    if not request.due:
        return 0.0
    left_s = (datetime.fromisoformat(request.due) - now).total_seconds()
    return min(left_s, request.slot_s)

"""One study from its start to its end, in which somebody dies at a named point.

Whoever dies is started again the way a person would: the agent by `serve`, the owner by deciding
again, the orchestrator by `resume`, or by `run` where no run had begun.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from crashkit.world import HOSPITALS, PATIENCE_S, World, Zygote, mail

from datasites.agent.request_store import RequestStore
from datasites.desk import Desk, ItemState
from datasites.site.site import Site

KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Point:
    """Where somebody dies.

    Attributes:
        victim: `A`, `C`, `orchestrator` or `owner`.
        label, ordinal: the boundary, see `crashkit.boundaries`; empty for no death.
        fault: `kill`, `machine` (all processes at once) or `power` (and what was not synced).
    """

    victim: str
    label: str = ""
    ordinal: int = 0
    fault: str = "kill"

    def __str__(self) -> str:
        return f"{self.victim} {self.fault} at {self.label} #{self.ordinal}"


@dataclass
class Scenario:
    """See the module's docstring."""

    world: World
    zygote: Zygote
    point: Point
    record: bool = False
    fault: Callable[[Scenario], bool] | None = None
    odd_relay: bool = False
    pids: dict[str, int] = field(default_factory=dict)
    died: bool = False
    short: bool = False
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def logs(self) -> Path:
        return self.world.root.with_name(self.world.root.name + "-logs")

    def run(self) -> None:
        """Take the study to its end."""
        self.logs.mkdir()
        try:
            for name in (*HOSPITALS, "orchestrator"):
                self._start(name)
            self._until(self._study_done, "the study to end")
            self._until(self._all_answered, "the last answers")
            self._until(self._all_taken, "the last countersignatures to be taken")
            self._end_agents()
        finally:
            self.kill_all()

    def start(self, name: str) -> int:
        """Start one of them; returns its process id."""
        self._start(name)
        return self.pids[name]

    def kill_all(self) -> None:
        """End whoever runs."""
        for pid in self.pids.values():
            if self.zygote.ended(pid) is None:
                os.kill(pid, signal.SIGKILL)
        for pid in self.pids.values():
            self.zygote.wait(pid, 30)

    def states(self, name: str) -> dict[str, str]:
        """Request id to state, at one hospital."""
        book = RequestStore(Site.open(self.world.site(name)))
        return {request.id: request.state.value for request in book.all()}

    def running(self, name: str) -> bool:
        """Whether a hospital runs a job now."""
        return "running" in self.states(name).values()

    # --- who runs -------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        order: dict[str, object] = {
            "root": str(self.world.root),
            "log": str(self.logs / f"{name}.log"),
        }
        if self.odd_relay:
            order["odd_relay"] = True
        if self.record:
            order["record"] = str(self.logs / f"{name}.boundaries")
        if name == self.point.victim and not self.died and self.point.label:
            order["kill"] = [self.point.label, self.point.ordinal]
            if self.point.fault == "power":
                homes = [self.world.site(name)]
                if name == "orchestrator":
                    homes = [self.world.study, self.world.out]
                order["power"] = [[str(home) for home in homes], str(self.logs / "undo")]
        if name == "orchestrator":
            begun = (self.world.out / "state.json").exists()
            order |= {
                "role": "orchestrator",
                "study": str(self.world.study),
                "out": str(self.world.out),
                "test": str(self.world.test),
                "resume": begun,
            }
        elif name == "owner":
            order |= {"role": "owner", "site": str(self.world.site("C"))}
        else:
            order |= {"role": "agent", "site": str(self.world.site(name))}
        self.pids[name] = self.zygote.start(**order)

    def _until(self, done, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            late = time.monotonic() > deadline
            assert not late, f"{self.point}: waited in vain for {what}:\n{self.log('A')}"
            self._tend()
            time.sleep(0.05)

    def _tend(self) -> None:
        """Start again who died, and let C's owner decide on what waits."""
        if self.fault is not None and self.fault(self):
            self.fault = None
        for name, pid in list(self.pids.items()):
            code = self.zygote.ended(pid)
            if code is None or (name in ("owner", "orchestrator") and code == 0):
                continue
            if self._missed_quorum(name):
                self._start(name)
                break
            expected = name == self.point.victim and code == KILLED and not self.died
            assert expected, f"{self.point}: {name} ended with {code}:\n{self.log(name)}"
            self.died = True
            dead = {name}
            if self.point.fault == "machine":
                dead |= {one for one, pid in self.pids.items() if self.zygote.ended(pid) is None}
                self.kill_all()
            self.losses.update((one, "job_interrupted") for one in dead & set(HOSPITALS))
            self._start_again()
            break
        self._tend_owner()

    def _missed_quorum(self, name: str) -> bool:
        """Whether a round fell short because the machine took the jobs of two hospitals with it.

        That is said as it is, and the researcher resumes; it may happen once.
        """
        missed = (
            name == "orchestrator"
            and (self.died, self.point.fault, self.short) == (True, "machine", False)
            and "QuorumError" in self.log(name)
        )
        self.short = self.short or missed
        return missed

    def _start_again(self) -> None:
        for name, pid in list(self.pids.items()):
            code = self.zygote.ended(pid)
            if name == "owner" and code is not None:
                del self.pids[name]  # decides again when something waits
            elif code is not None and code != 0:
                self._start(name)

    def _tend_owner(self) -> None:
        pid = self.pids.get("owner")
        if pid is not None and self.zygote.ended(pid) is None:
            return
        desk = Desk(Site.open(self.world.site("C")))
        if any(item.state is ItemState.HELD and item.kind == "weights" for item in desk.items()):
            self._start("owner")

    # --- when it is over --------------------------------------------------------------------

    def _study_done(self) -> bool:
        return self.zygote.ended(self.pids["orchestrator"]) == 0

    def _all_answered(self) -> bool:
        books = [RequestStore(Site.open(self.world.site(name))) for name in HOSPITALS]
        return all(request.answered for book in books for request in book.all())

    def _all_taken(self) -> bool:
        inboxes = (self.world.relay / "channels" / mail(name) / "inbox" for name in HOSPITALS)
        return not any(path.is_file() for inbox in inboxes for path in inbox.rglob("msg*"))

    def _end_agents(self) -> None:
        for name in HOSPITALS:
            os.kill(self.pids[name], signal.SIGTERM)
            code = self.zygote.wait(self.pids[name], 60)
            assert code == 0, f"{self.point}: {name} ended with {code}:\n{self.log(name)}"

    def log(self, name: str) -> str:
        """The end of what a process said."""
        path = self.logs / f"{name}.log"
        return path.read_text()[-3000:] if path.exists() else ""

"""How moves are drawn, counted and bounded.

A machine is a Hypothesis state machine. `move` is a rule that is counted; `play` runs a machine for
a number of moves. Which moves are drawn depends on `turn` and on nothing else, so a run can be
repeated; another turn takes others. Nothing is shrunk: a play costs a fresh network, and the moves
of the one that failed are printed.

For the same choices to be drawn again a rule must draw the same things whatever the network holds:
a rule picks by number from what there is, and what cannot be done is an attempt that counts.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.hostile.machinery.ground import playing

MOVES_A_PLAY = 40
PICK = st.integers(0, 255)
T = TypeVar("T")


def move(**drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """A counted rule."""

    def wrap(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def counted(self: Machine, **values: Any) -> None:
            name = function.__name__.replace("_", " ")
            self.moves[f"{name}: {values['how']}" if "how" in values else name] += 1
            function(self, **values)

        return rule(**drawn)(counted)

    return wrap


def picked(items: Sequence[T], number: int) -> T | None:
    """One of what there is; None where there is nothing."""
    return items[number % len(items)] if items else None


class Violation(AssertionError):
    """An invariant, named first, does not hold."""

    found: ClassVar[list[str]] = []

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.found.append(name)


class Machine(RuleBasedStateMachine):
    """What all machines have."""

    moves: ClassVar[Counter[str]] = Counter()
    patch: ClassVar[pytest.MonkeyPatch]

    def check(self) -> None:
        """Every invariant; called after each move.

        Raises:
            Violation: names the one that does not hold.
        """
        raise NotImplementedError

    @invariant()
    def _holds(self) -> None:
        self.check()


def play(machine: type[Machine], *, moves: int, turn: int = 0) -> Counter[str]:
    """Run a machine for so many moves; returns how many of each kind were made."""
    machine.moves = Counter()
    Violation.found.clear()
    with playing() as machine.patch:
        while (left := moves - sum(machine.moves.values())) > 0:
            hypothesis.seed(turn)(machine)
            run_state_machine_as_test(machine, settings=_settings(left))
            turn += 1_000
    return machine.moves


def _settings(moves: int) -> settings:
    return settings(
        max_examples=max(1, math.ceil(moves / MOVES_A_PLAY)),
        stateful_step_count=MOVES_A_PLAY,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )

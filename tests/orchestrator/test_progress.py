"""What is shown while a study runs, on a terminal and elsewhere."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from orchestrator.rounds.progress import RoundProgress, RoundScore

SCORE = RoundScore(round=1, loss=0.51234, accuracy=0.8264, macro_f1=0.8)


def run(progress: RoundProgress) -> None:
    with progress:
        progress.begin("round 1", 2)
        progress.answered("north", "done")
        progress.answered("[bold]south\x1b[2J", "budget_exceeded")
        progress.answered("north", "norm_too_large")
        progress.scored(SCORE)


def show(*, terminal: bool, rounds_done: int = 0) -> str:
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=terminal, width=110, _environ={})
    ticks = itertools.count(100.0, 0.5)
    run(
        RoundProgress(rounds=4, rounds_done=rounds_done, console=console, clock=lambda: next(ticks))
    )
    return seen.getvalue()


def test_plain_lines_are_one_for_each_event() -> None:
    assert show(terminal=False).splitlines() == [
        "round 1: asking 2 hospitals",
        "round 1: north: done after 0.5 s (1 of 2)",
        "round 1: [bold]south<U+001B>[2J: problem, budget_exceeded after 1.0 s (2 of 2)",
        "round 1: north: problem, norm_too_large after 1.5 s (2 of 2)",
        "round 1: accuracy 82.6%, macro F1 80.0%, loss 0.512",
    ]


def test_a_terminal_gets_bars_and_keeps_what_went_wrong() -> None:
    shown = show(terminal=True, rounds_done=0)
    assert "1/4" in shown
    assert "2/2" in shown
    assert "accuracy 82.6%" in shown
    assert "[bold]south<U+001B>[2J: budget_exceeded after" in shown
    assert "north: norm_too_large after" in shown
    assert "\x1b[2J" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_a_resumed_study_starts_where_it_was() -> None:
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=110, _environ={})
    with RoundProgress(rounds=4, rounds_done=3, console=console):
        pass
    assert "3/4" in seen.getvalue()


def test_the_terminal_is_given_back_after_an_interruption() -> None:
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=110, _environ={})

    def interrupted() -> None:
        with RoundProgress(rounds=4, console=console) as progress:
            progress.begin("round 1", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "\x1b[?25h" in seen.getvalue()


def test_one_hospital_is_not_many_and_long_names_are_cut() -> None:
    seen = io.StringIO()
    with RoundProgress(rounds=1, console=Console(file=seen, width=40)) as progress:
        progress.begin("round 1", 1)
        progress.answered("x" * 500, "done")
    first, second = seen.getvalue().splitlines()
    assert first == "round 1: asking 1 hospital"
    assert len(second) < 130

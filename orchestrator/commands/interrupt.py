"""What surrounds a run at the command line: progress, and an orderly end on Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import StudyInterruptedError
from orchestrator.rounds import RoundProgress
from orchestrator.study import Study


@contextmanager
def watch(study: Study, *, rounds_done: int = 0) -> Iterator[RoundProgress]:
    """Progress bars (or plain lines) for a run of `study`."""
    with RoundProgress(rounds=study.rounds, rounds_done=rounds_done) as progress:
        yield progress


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Turn Ctrl-C into an error that says how to go on.

    Raises:
        StudyInterruptedError: the person stopped the run.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise StudyInterruptedError(
            f"stopped; nothing is lost: `dura study resume {folder}` goes on from here"
        ) from error

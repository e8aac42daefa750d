"""What a person sees while a study runs: two bars on a terminal, plain lines everywhere else.

`RoundProgress` is told when a step begins, when a hospital answers and when a round is scored. On
a terminal it shows the rounds and the hospitals of the current step as bars; what went wrong
scrolls by above them and stays. Into a file, a pipe or a CI log it writes one line for each
event, with no control codes, so that the same run can be read afterwards.

An outcome that is not one of `usable` ("done", "held") is a problem and is shown as such. A
hospital counts once a step; its later outcomes (an update that fails a check after it arrived)
are shown, not counted. Names and reasons come from outside: they are never read as markup, and
what cannot be seen in them is written out. The clock is an argument and is only used for elapsed
times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from datasites import bars, visible
from orchestrator.errors import ReportingError

if TYPE_CHECKING:
    from rich.console import Console

USABLE = frozenset({"done", "held"})
UNSANDBOXED = "UNSAFE: the job ran without a sandbox"


@dataclass(frozen=True, kw_only=True)
class RoundScore:
    """How the global model after one round does on the researcher's own test set.

    Attributes:
        round: the study's round; 0 is the model before training.
        loss: mean cross-entropy in nats per image.
        accuracy: share of images classified correctly, in [0, 1].
        macro_f1: mean of the classes' F1 scores, in [0, 1].

    Raises:
        ReportingError: a value is out of range or not finite.
    """

    round: int
    loss: float
    accuracy: float
    macro_f1: float

    def __post_init__(self) -> None:
        shares = (self.accuracy, self.macro_f1)
        if self.round < 0 or not math.isfinite(self.loss):
            raise ReportingError(f"round {self.round} with loss {self.loss} cannot be drawn")
        if not all(0 <= share <= 1 for share in shares):
            message = f"round {self.round}: accuracy and macro F1 are {shares}, not in [0, 1]"
            raise ReportingError(message)


class Watcher(Protocol):
    """Who is told how a run goes (progress bars, logs)."""

    def begin(self, what: str, hospitals: int) -> None:
        """A step begins in which this many hospitals are asked."""

    def answered(self, hospital: str, outcome: str) -> None:
        """A hospital answered, or was given up."""

    def scored(self, score: RoundScore) -> None:
        """A round was aggregated and scored."""


class RoundProgress:
    """Shows how a run goes; use it as a context manager around the run.

    Args:
        rounds: rounds of the study.
        rounds_done: rounds that were done before this run (a resumed study); at most `rounds`.
        console: where to show it; standard error unless told.
        usable: outcomes that are no problem.
        clock: seconds from any fixed point.
    """

    def __init__(
        self,
        *,
        rounds: int,
        rounds_done: int = 0,
        console: Console | None = None,
        usable: Collection[str] = USABLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console if console is not None else bars()
        self._usable = frozenset(usable)
        self._clock = clock
        self._started = clock()
        self._step, self._asked, self._heard = "", 0, set[str]()
        self._bars: Progress | None = None
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False, style="dim"),
                TimeElapsedColumn(),
                console=self._console,
                get_time=clock,
            )
            self._study_bar = self._bars.add_task(
                "rounds", total=rounds, completed=rounds_done, note=""
            )
            self._step_bar = self._bars.add_task("waiting", total=None, note="")

    def __enter__(self) -> RoundProgress:
        """Start showing."""
        self._started = self._clock()
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing; the terminal is left as it was, also after Ctrl-C."""
        if self._bars is not None:
            self._bars.stop()

    def begin(self, what: str, hospitals: int) -> None:
        """A step begins in which this many hospitals are asked."""
        self._step, self._asked, self._heard = _plain(what), hospitals, set()
        self._started = self._clock()
        if self._bars is None:
            self._line(f"{self._step}: asking {hospitals} {_hospitals(hospitals)}")
            return
        self._bars.reset(self._step_bar, total=hospitals, description=self._step, note="")

    def answered(self, hospital: str, outcome: str) -> None:
        """A hospital answered, or was given up."""
        self._heard.add(hospital)
        name, said = _plain(hospital), _plain(outcome)
        problem = outcome not in self._usable
        of = f"{len(self._heard)} of {self._asked}"
        if self._bars is None:
            mark = "problem, " if problem else ""
            self._line(f"{self._step}: {name}: {mark}{said} after {self._elapsed()} ({of})")
            return
        self._bars.update(self._step_bar, completed=len(self._heard), note=f"last: {name}")
        if problem:
            text = f"{self._step}: {name}: {said} after {self._elapsed()}"
            style = "bold red" if outcome == UNSANDBOXED else "yellow"
            self._bars.console.print(Text(text, style=style))

    def scored(self, score: RoundScore) -> None:
        """A round was aggregated and scored; round 0 is the model before training."""
        figures = f"accuracy {score.accuracy:.1%}, macro F1 {score.macro_f1:.1%}"
        if self._bars is None:
            self._line(f"round {score.round}: {figures}, loss {score.loss:.3f}")
            return
        self._bars.update(self._study_bar, completed=score.round, note=figures)

    def _elapsed(self) -> str:
        """Seconds since the step began."""
        return f"{self._clock() - self._started:.1f} s"

    def _line(self, text: str) -> None:
        """One line as it is: no wrapping, no markup, no highlighting."""
        self._console.print(Text(text), soft_wrap=True, highlight=False)


def _hospitals(count: int) -> str:
    """The noun that goes with a count."""
    return "hospital" if count == 1 else "hospitals"


def _plain(text: str) -> str:
    """Text from outside with what cannot be seen written out, cut to a line's length."""
    return visible(text)[:80]

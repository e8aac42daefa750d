"""The one way out to a screen: whatever a terminal is told passes here, made visible.

Nothing else in the packages writes to standard output or error (`tests/repository/test_screens.py`
walks the source). `say` writes one line: a line end within it is written out as well, so that no
name can add a line of its own. `say_text` writes a text of many lines. Logs go the same way, each
entry as one line. No markup is read in what is said; colour is put around it here.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO

import typer

from datasites.escaping import visible

if TYPE_CHECKING:
    from rich.console import Console


def say(line: str = "", *, error: bool = False) -> None:
    """Write one line, to standard error if it is about an `error`."""
    typer.echo(visible(line), err=error)


def say_text(text: str) -> None:
    """Write a text of many lines."""
    typer.echo(visible(text, keep="\n"))


def alarm(line: str) -> None:
    """Write one line in red, where there is colour."""
    typer.secho(visible(line), fg=typer.colors.RED, bold=True)


def bars() -> Console:
    """Where progress bars are drawn, standard error; what they say is made visible by who says it.

    Rich takes markup and control characters out of no text: pass `rich.text.Text` of `visible`.
    """
    from rich.console import Console

    return Console(stderr=True)


class VisibleFormatter(logging.Formatter):
    """Log entries as one line each; a traceback's lines are kept below its entry."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The entry without its traceback."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        """The traceback, whose last line holds an error's words."""
        return visible(super().formatException(ei), keep="\n")  # type: ignore[arg-type]


class _Screen(logging.StreamHandler[TextIO]):
    """Standard error as it is when an entry is made."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where the entry goes."""
        return sys.stderr


def log_to_terminal(*, level: int = logging.WARNING, times: bool = False) -> None:
    """Send the log to standard error, and nothing of it there raw.

    Args:
        level: of what is written.
        times: whether an entry tells when it was made, and its level.
    """
    handler = _Screen()
    handler.setFormatter(
        VisibleFormatter("%(asctime)s %(levelname)s %(message)s" if times else "%(message)s")
    )
    root = logging.getLogger()
    for before in [one for one in root.handlers if isinstance(one, _Screen)]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level)

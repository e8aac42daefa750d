"""How the command line writes: plain text, one fact a line, figures with their unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from datasites.plans import Finding


def say(line: str = "") -> None:
    """Write one line."""
    typer.echo(line)


def amount(epsilon: float) -> str:
    """An epsilon for people; infinity by its word."""
    return "infinite" if math.isinf(epsilon) else f"{epsilon:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table with columns as wide as needed."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say("  ".join(cells).rstrip())


def findings_text(findings: Iterable[Finding]) -> list[str]:
    """How the assumptions behind epsilon stand, one a line; what to do in a line below."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity.value:8s}{finding.code.value}: {finding.what}")
        if finding.do:
            lines.append(f"        -> {finding.do}")
    return lines

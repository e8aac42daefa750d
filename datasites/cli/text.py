"""How the command line writes: plain text, one fact a line, figures with their unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from datasites.console import alarm, say
from datasites.escaping import visible

if TYPE_CHECKING:
    from datasites.plans import Finding
    from datasites.site import Site


def alarm_if_unsafe(site: Site) -> None:
    """Say in red when jobs of this site ran without a sandbox."""
    from datasites.site import unsafe_uses

    times = unsafe_uses(site)
    if times:
        alarm(
            f"UNSAFE: --unsafe-no-sandbox was used {len(times)} time(s) here, last at {times[-1]}"
        )


def alarm_if_behind(site: Site) -> None:
    """Say in red when the ledger is behind, so that nothing runs."""
    from datasites.errors import RefusedError
    from datasites.site import must_not_be_behind

    try:
        must_not_be_behind(site)
    except RefusedError as error:
        alarm(f"LEDGER BEHIND: {error}")


def amount(epsilon: float) -> str:
    """An epsilon for people; infinity by its word."""
    return "infinite" if math.isinf(epsilon) else f"{epsilon:.3f}"


def several(by_units: Mapping[int, float], unit: str) -> str:
    """What follows an epsilon where one person may change more than one unit.

    Args:
        by_units: number of units changed at once -> epsilon.
        unit: in words; of patients nothing more is said, who are one unit each.
    """
    from privacy import UNITS_AT_ONCE

    if unit == "patient":
        return ""
    more = [f"{words} at once {amount(by_units[k])}" for k, words in UNITS_AT_ONCE.items()]
    return f" ({', '.join(more)})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table with columns as wide as needed."""
    lines = [tuple(header), *(tuple(visible(cell) for cell in row) for row in rows)]
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

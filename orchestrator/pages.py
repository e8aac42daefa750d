"""The template engine of every page that Dura writes, and figures as pages and pictures show them.

Everything is escaped, and an unknown name is an error. Epsilon is rounded upwards, never without
its delta beside it.
"""

from __future__ import annotations

import math
from datetime import UTC
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from models import Estimate


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The template engine: everything escaped, an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["infinity"] = math.inf
    environment.filters |= {
        "epsilon": shown_epsilon,
        "delta": shown_delta,
        "percent": _percent,
        "interval": _interval,
        "decimal": _decimal,
        "grouped": lambda value: f"{value:,.0f}".replace(",", "\u2009"),
        "utc": lambda time: time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "paragraphs": lambda text: [part for part in text.split("\n\n") if part.strip()],
    }
    return environment


def shown_epsilon(value: float) -> str:
    """An epsilon to two digits after the point, rounded up: what is shown stays an upper bound."""
    if math.isinf(value):
        return "no guarantee"
    return str(Decimal(repr(value)).quantize(Decimal("0.01"), rounding=ROUND_CEILING))


def shown_delta(value: float) -> str:
    """A delta to two significant digits, rounded up, such as `1e-5` or `2.4e-5`."""
    if value == 0:
        return "0"
    exact = Decimal(repr(value))
    digit = Decimal(1).scaleb(exact.adjusted() - 1)
    return f"{exact.quantize(digit, rounding=ROUND_CEILING):.1e}".replace(".0e", "e")


def _percent(value: float | None) -> str:
    """A share as per cent; a dash where it is not defined."""
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def _interval(estimate: Estimate) -> str:
    """A share with its interval, both as per cent; words where nothing is known."""
    if estimate.low <= 0.0 and estimate.high >= 1.0:
        return "drowned in noise"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _decimal(value: float | None) -> str:
    """A score to three digits; a dash where it is not defined."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"

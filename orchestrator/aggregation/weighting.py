"""How much a hospital's number of units weighs in an average. Pure.

A hospital says itself how many units it has (its data card), and nobody can check that: a card
that claims 1e15 units would take the aggregate over. So what counts of a claim is bounded by what
the others claim, and a claim beyond the bounds buys nothing:

1. no more than `MOST_TIMES_MEDIAN` times the median claim (of an even number the lower of the two
   in the middle), which liars cannot move beyond an honest hospital's claim while they are at most
   half of all;
2. then no more than all others together, so that no hospital has more than half of the weight.

Within the bounds weights are proportional to the claims. Of two hospitals each has half, whatever
they claim: there is no third to say whose claim is off. A hospital alone has all.

What it costs: a hospital that honestly has more than four times the median weighs as if it had
four times. Its update is the least noisy one, so a study of unlike hospitals gets somewhat noisier
weights than it could; four leaves every hospital between a quarter of the median and four times
it its own weight, which is where most are, and holds a liar among ten hospitals to 4/13 of the
weight (against 1/10 if it were honest and like the others).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

MOST_TIMES_MEDIAN = 4.0


def counted_units(claims: Mapping[str, float]) -> dict[str, float]:
    """What counts of each hospital's units; proportional to its weight.

    Args:
        claims: hospital to units, positive and finite.

    Returns:
        Hospital to units, each at most its claim; empty for no claims. In the order of `claims`,
        which changes no value.
    """
    ordered = sorted(claims.values())
    if len(ordered) < 2:
        return dict(claims)
    bound = MOST_TIMES_MEDIAN * ordered[(len(ordered) - 1) // 2]
    within = {site: min(claim, bound) for site, claim in claims.items()}
    *others, largest = sorted(within.values())
    half = math.fsum(others)
    return {site: min(units, half) for site, units in within.items()} if largest > half else within


def weights_by_units(claims: Mapping[str, float]) -> dict[str, float]:
    """Each hospital's weight in an average: `counted_units` over their sum.

    Args:
        claims: hospital to units, positive and finite.
    """
    counted = counted_units(claims)
    total = math.fsum(counted.values())
    return {site: units / total for site, units in counted.items()}

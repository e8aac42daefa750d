"""The audit report as one HTML page that loads nothing and runs nothing. No file is written here.

The curve of running epsilon is drawn as SVG inside the page, in the reader's own light or dark
colours; everything from outside is escaped by the template engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.audit.account import SiteAccount
from orchestrator.audit.report import DISJOINT, AuditReport
from orchestrator.pages import environment
from privacy import UNITS_AT_ONCE

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 190, 46, 26, 14
_TEMPLATE = "audit.html.j2"

NOT_PROMISED = (
    "Epsilon bounds what one unit's data can change in everything that left, whoever looks at it. "
    "It does not hide that a hospital took part, nor what is true of patients in general.",
    "A ledger that holds shows that no recorded entry was changed, removed or reordered since it "
    "was signed. It cannot show that a hospital's computer ran nothing else.",
    "A unit that was disclosed without noise (a released case report) has no epsilon any more; the "
    "figure is for the others.",
    "A green empirical audit says that these attacks, on this run, found nothing above the claim. "
    "It proves nothing about other attacks, and one on phantoms says nothing about a hospital's "
    "computer.",
    "Where the unit is a near-duplicate group the figure is not one for a person: one person may "
    "be in several groups, change one that is there without them, or join two into one. The "
    "figures for two and three groups say what holds then; nothing bounds how many it can be.",
)


@dataclass(frozen=True)
class Chart:
    """The running epsilon of one hospital, in pixels of the page's SVG.

    Attributes:
        line: points of the stepped curve. budget_y: of the budget's line, None if it is off.
        top: epsilon at the upper edge. spends: how many spends the axis spans.
    """

    line: str
    budget_y: float | None
    top: float
    spends: int


def render_audit(report: AuditReport) -> str:
    """The report as one HTML page; the same value gives the same page."""
    charts = {
        site.hospital: chart(site.account) for site in report.sites if site.account is not None
    }
    return (
        environment()
        .get_template(_TEMPLATE)
        .render(
            report=report,
            charts=charts,
            disjoint=DISJOINT,
            limits=NOT_PROMISED,
            words=UNITS_AT_ONCE,
            frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": BOTTOM, "top": TOP},
        )
    )


def chart(account: SiteAccount) -> Chart | None:
    """The stepped curve of running epsilon; None where there is nothing finite to draw."""
    points = [
        (index, line.running)
        for index, line in enumerate(account.spends)
        if line.running is not None and math.isfinite(line.running)
    ]
    if not points:
        return None
    reach = max(value for _, value in points)
    budget = account.budget if account.budget is not None and account.budget < 4 * reach else None
    top = 1.08 * max(reach, budget or 0.0, 1e-6)
    spends = len(account.spends)
    inner = WIDTH - LEFT - 8

    def x(index: float) -> float:
        return LEFT + inner * index / spends

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top

    corners = [(x(0), y(0.0))]
    for index, value in points:
        corners += [(x(index + 0.5), corners[-1][1]), (x(index + 0.5), y(value))]
    corners.append((x(spends), corners[-1][1]))
    return Chart(
        line=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners),
        budget_y=None if budget is None else round(y(budget), 1),
        top=top,
        spends=spends,
    )

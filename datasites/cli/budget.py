"""`dura site budget`, and the lines on privacy that `dura site status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datasites.cli.site import SiteArg, Who, Why, app
from datasites.cli.text import amount
from datasites.console import say

if TYPE_CHECKING:
    from datasites.site import Site
    from privacy import Account, Scope


@app.command()
def budget(
    site: SiteArg,
    epsilon: Annotated[float, typer.Option(help="The new amount's epsilon.")],
    who: Who,
    reason: Why,
    delta: Annotated[float, typer.Option(help="The new amount's delta.")] = 1e-5,
    researcher: Annotated[
        str, typer.Option(metavar="EMAIL", help="Cap this researcher within the hospital's budget.")
    ] = "",
    study: Annotated[
        str, typer.Option(metavar="NAME", help="Cap this study within the hospital's budget.")
    ] = "",
    window_days: Annotated[
        int | None,
        typer.Option(
            help="Count only the spends of the last so many days; epsilon over all time "
            "still composes everything."
        ),
    ] = None,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="Stop counting older spends against budgets and caps; they "
            "stay in epsilon over all time.",
        ),
    ] = False,
) -> None:
    """Set, top up or reset the privacy budget, or cap a researcher or a study within it."""
    from datasites.site import Site, now_utc, stamp
    from privacy import Budget, per_unit, set_budget

    scope, name = _whose(researcher, study)
    new = Budget(epsilon=epsilon, delta=delta, window_days=window_days)
    entry = set_budget(
        new, scope=scope, name=name, reset=reset, actor=who, reason=reason, time=stamp(now_utc())
    )
    opened = Site.open(site)
    opened.ledger.append(entry)
    unit = opened.unit(opened.ledger.account())
    say(f"{scope} {name}".strip() + f": {new} {per_unit(unit)}")
    if reset:
        say("older spends no longer count against budgets and caps; nothing that left came back:")
    for line in privacy_lines(opened):
        say(line)


@app.command("settle-loss")
def settle_loss(site: SiteArg, who: Who, reason: Why) -> None:
    """Go on without entries that the ledger lost for good; epsilon is infinite from then on.

    First choice is to put the newest ledger.jsonl back: then nothing is to be settled.
    """
    from datasites.site import Site
    from datasites.site import ledger_behind as behind

    opened = Site.open(site)
    behind.settle_loss(opened, actor=who, reason=reason)
    say("settled: what was lost is unknown, so nothing is promised about it any more")
    for line in privacy_lines(opened):
        say(line)


def privacy_lines(site: Site) -> list[str]:
    """What a site has spent: over all time, against its budget and caps, and without noise."""
    from privacy import UNITS_AT_ONCE, per_unit

    account = site.ledger.account()
    current = account.required_budget()
    unit = site.unit(account)
    whose = per_unit(unit)
    lines = [
        f"privacy: epsilon {amount(account.epsilon())} over all time at delta {current.delta:g} "
        f"{whose} (every study, researcher and version of the data composed, plans chosen late)",
        f"if all plans had been fixed beforehand: epsilon {amount(account.epsilon_if_fixed())} "
        f"{whose}",
    ]
    if unit != "patient":
        lines += [
            f"{words} units at once ({unit}; added, removed or replaced): epsilon "
            f"{amount(account.epsilon_of_units(k))} at delta {current.delta:g}"
            for k, words in UNITS_AT_ONCE.items()
        ]
    if len(account.units) > 1:
        lines.append(
            "the unit changed over time: the sum bounds only somebody who is one unit of each kind"
        )
    lines += _limit_lines(account, whose)
    lines += [str(shown) for shown in account.disclosures]
    return lines


def _limit_lines(account: Account, whose: str) -> list[str]:
    from datasites.site import now_utc, stamp
    from privacy import Limit, Scope, filter_epsilon

    whole = Limit(scope=Scope.HOSPITAL, name="", budget=account.required_budget())
    caps = [Limit(scope=s, name=n, budget=b) for (s, n), b in sorted(account.caps.items())]
    moment = stamp(now_utc())
    return [
        f"budget of the {limit}: epsilon "
        f"{amount(filter_epsilon(account.charged(limit, time=moment), delta=limit.budget.delta))} "
        f"spent or reserved of {limit.budget} {whose}"
        for limit in (whole, *caps)
    ]


def _whose(researcher: str, study: str) -> tuple[Scope, str]:
    from datasites.errors import SettingsError
    from privacy import Scope

    if researcher and study:
        raise SettingsError("give --researcher or --study, not both: a cap is on one of them")
    if researcher:
        return Scope.RESEARCHER, researcher
    return (Scope.STUDY, study) if study else (Scope.HOSPITAL, "")

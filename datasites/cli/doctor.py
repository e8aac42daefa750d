"""`dura site doctor`: checks a site and its machine, and says how to mend what is missing."""

from __future__ import annotations

import typer

from datasites.cli.site import SiteArg, app
from datasites.console import alarm, say

PROBLEM_EXIT_CODE = 6


@app.command()
def doctor(site: SiteArg) -> None:
    """Check sandbox, limits, files, keys, ledger, clock, disk, relay and peers of a site."""
    from datasites.owner import Health, examine
    from datasites.site import Site

    found = examine(Site.open(site))
    for one in found:
        show = alarm if one.health is Health.PROBLEM else say
        show(f"{one.health.value:8s} {one.name}: {one.what}")
        if one.mend:
            say(f"         -> {one.mend}")
    problems = sum(one.health is Health.PROBLEM for one in found)
    warnings = sum(one.health is Health.WARNING for one in found)
    say(f"{problems} problem(s), {warnings} warning(s) in {len(found)} checks")
    if problems:
        raise typer.Exit(PROBLEM_EXIT_CODE)

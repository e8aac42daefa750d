"""`dura site requests|show|approve|reject|revoke`: what a data owner decides about plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

from datasites.cli.site import SiteArg, Who, Why, app
from datasites.cli.text import alarm_if_unsafe, amount, findings_text, several, table
from datasites.console import alarm, say, say_text
from datasites.escaping import count_invisible

PlanArg = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's hash, or its beginning.")]


@app.command()
def requests(site: SiteArg) -> None:
    """List the plans researchers submitted, and what was decided."""
    from datasites.owner import altered_submissions, list_submissions
    from datasites.site import Site

    rows = []
    opened = Site.open(site)
    alarm_if_unsafe(opened)
    for item, approval in list_submissions(opened):
        state = "waits for a decision"
        if approval is not None:
            state = "revoked" if approval.revoked else approval.decision
            state += f" by {', '.join(approval.reviewers)}"
        rows.append(
            (item.bundle.sha256[:12], item.bundle.plan.study, item.sender, item.received, state)
        )
    altered = altered_submissions(opened)
    rows += [(one.plan[:12], "-", "-", "-", "ALTERED, will not run") for one in altered]
    table(("plan", "study", "researcher", "received", "state"), rows)
    for one in altered:
        say(f"ALTERED: {one.problem}")


@app.command()
def show(site: SiteArg, plan: PlanArg) -> None:
    """Show a plan for review: every byte that will run, its cost here, changes, assumptions."""
    from datasites.owner import review
    from datasites.site import Site, runtime_sha256
    from privacy import per_unit

    opened = Site.open(site)
    seen = review(opened, plan)
    bundle = seen.submission.bundle
    account = opened.ledger.account()
    budget = account.required_budget()
    say(f"plan {bundle.sha256}")
    say(f"study {bundle.plan.study} by {seen.submission.sender} (key {seen.submission.sender_key})")
    say(f"runs on this hospital's own code {runtime_sha256()[:12]}; no code of theirs is executed")
    for name, data in sorted(bundle.files.items()):
        say()
        say(f"--- {name}")
        hidden = count_invisible(data.decode())
        if hidden:
            alarm(
                f"{name} HOLDS {hidden} CHARACTER(S) THAT CANNOT BE SEEN, written below as "
                "<U+...>: ask the researcher what for before you approve"
            )
        say_text(data.decode().rstrip())
    say()
    say("--- difference from the last approved version")
    say_text(seen.difference)
    say()
    say("--- what epsilon rests on")
    for line in findings_text(seen.findings):
        say(line)
    say()
    say("--- privacy, computed here")
    whose = per_unit(opened.unit(account))
    cost, unit = seen.cost, opened.unit(account)
    say(f"every epsilon at delta {budget.delta:g} {whose}")
    say(f"this plan alone: epsilon {amount(cost.epsilon_alone)}{several(cost.alone, unit)}")
    say(
        f"with everything that ever left: epsilon {amount(cost.epsilon_ever)}"
        f"{several(cost.ever, unit)}"
    )
    say(f"the same if all plans had been fixed beforehand: epsilon {amount(cost.ever_if_fixed)}")
    if seen.cost.decision is None:
        say(f"DOES NOT FIT: {seen.cost.refusal}")
    else:
        decision = seen.cost.decision
        say(
            f"against the budget: epsilon now {amount(decision.epsilon_before)}, after the whole "
            f"plan {amount(decision.epsilon_after)} of {budget.epsilon}; left "
            f"{amount(decision.epsilon_left)}"
        )


@app.command()
def copies(
    site: SiteArg,
    plan: PlanArg,
    accept: Annotated[bool, typer.Option("--accept", help="Let jobs train on them.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Remove them for good.")] = False,
    who: Annotated[str, typer.Option("--as", help="Who decides.")] = "",
    reason: Why = "",
) -> None:
    """Compare a plan's synthetic images with the real ones, then accept or discard them.

    What is shown is for the owner's eyes only. No job trains on them before they are accepted.
    """
    from datasites.errors import PlanError
    from datasites.owner import check_copies, decide, state_of
    from datasites.site import PlanStore, Site

    opened = Site.open(site)
    if accept and discard:
        raise PlanError("--accept or --discard, not both")
    if accept or discard:
        decide(opened, plan, accept=accept, owner=who, reason=reason)
        say("accepted: jobs of this plan may train on them" if accept else "discarded, and removed")
        return
    found = check_copies(opened, plan)
    say("computed from private images without noise: for your eyes, must not leave this hospital")
    near, among = found.nearest, found.reference
    say(f"synthetic to nearest real image: least {near.min():.4f}, median {_median(near):.4f}")
    say(f"real to nearest of another unit: least {among.min():.4f}, median {_median(among):.4f}")
    say(f"{len(found.suspects)} of {len(near)} nearer than {found.threshold:.4f}: suspects")
    for index in found.suspects[:20]:
        say(f"  synthetic image {index} is {near[index]:.4f} from image {found.neighbour[index]}")
    say(f"state: {state_of(opened, PlanStore(opened).get(plan).bundle.sha256).value}")
    say("decide: --accept or --discard, with --as NAME --reason TEXT; no job uses them before that")


def _median(values: NDArray[np.float64]) -> float:
    return float(sorted(values)[len(values) // 2])


@app.command()
def approve(
    site: SiteArg,
    plan: PlanArg,
    who: Who,
    reason: Why = "",
    max_rounds: Annotated[int | None, typer.Option(help="Training runs at most.")] = None,
    days: Annotated[int | None, typer.Option(help="Days until the approval expires.")] = None,
    standing_release: Annotated[
        bool, typer.Option(help="Let DP weights of this plan leave without a further click.")
    ] = False,
    accept_synthetic: Annotated[
        bool, typer.Option(help="Accept synthetic images beforehand, whatever they show.")
    ] = False,
) -> None:
    """Approve a plan, byte for byte; the approval is signed."""
    from datasites.owner import Terms, approve
    from datasites.site import Site

    opened = Site.open(site)
    decision = approve(
        opened,
        plan,
        reviewer=who,
        reason=reason,
        terms=Terms(
            max_rounds=max_rounds,
            days=days,
            standing_release=standing_release,
            accept_synthetic=accept_synthetic,
        ),
    )
    missing = opened.settings.quorum - len(decision.reviewers)
    say(f"plan {decision.plan_sha256[:12]} approved by {', '.join(decision.reviewers)}")
    if missing > 0:
        say(f"{missing} more reviewer(s) must agree before it counts")
    say(
        f"at most {decision.max_rounds} rounds until {decision.expires}; DP weights leave "
        + ("without a further decision" if decision.standing_release else "only when released")
    )
    if decision.accept_synthetic:
        say("synthetic images are accepted beforehand, whatever they show")


@app.command()
def reject(site: SiteArg, plan: PlanArg, who: Who, reason: Why) -> None:
    """Reject a plan; the researcher is told that, not why."""
    from datasites.owner import reject
    from datasites.site import Site

    reject(Site.open(site), plan, reviewer=who, reason=reason)
    say("rejected")


@app.command()
def revoke(site: SiteArg, plan: PlanArg, who: Who, reason: Why) -> None:
    """Withdraw an approval; nothing starts under it any more."""
    from datasites.owner import revoke
    from datasites.site import Site

    revoke(Site.open(site), plan, reviewer=who, reason=reason)
    say("revoked; what was spent stays spent")

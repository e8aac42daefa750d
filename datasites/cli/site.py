"""`dura site`: what a hospital's data owner does from a terminal."""

from __future__ import annotations

import getpass
import logging
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from datasites.cli.text import alarm_if_behind, alarm_if_unsafe
from datasites.console import alarm, log_to_terminal, say, say_text

if TYPE_CHECKING:
    from datasites.site import Site

app = typer.Typer(no_args_is_help=True, help="Run a hospital's datasite: data, people, approvals.")

SiteArg = Annotated[Path, typer.Argument(metavar="SITE", help="The site's folder.")]
Who = Annotated[
    str, typer.Option("--as", metavar="NAME", help="Who decides; goes into the signed log.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; stays at this hospital.")]


@app.command()
def init(
    site: SiteArg,
    name: Annotated[str, typer.Option(help="Short display name, such as A.")],
    email: Annotated[str, typer.Option(help="The site's syft identity.")],
    relay: Annotated[str, typer.Option(help="URL or folder of the relay.")],
    epsilon: Annotated[float, typer.Option(help="Privacy budget per unit, for good.")] = 8.0,
    delta: Annotated[float, typer.Option(help="Delta at which epsilon is computed.")] = 1e-5,
    classes: Annotated[
        str, typer.Option(help="Comma-separated class names.")
    ] = "glioma,meningioma,notumor,pituitary",
    image_size: Annotated[int, typer.Option(help="Pixels a side of stored images.")] = 160,
    reviewers: Annotated[str, typer.Option(help="Comma-separated people who may approve.")] = "",
    quorum: Annotated[int, typer.Option(help="How many of them must agree.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads a job may use.")] = 1,
    report_model: Annotated[str, typer.Option(help="Folder or Hub id of another LLaMa.")] = "",
) -> None:
    """Create a site: keys, settings, an empty ledger with its budget."""
    from datasites.site import Site, make_settings
    from privacy import Budget, per_unit

    settings = make_settings(
        name=name,
        email=email,
        relay=relay_url(relay),
        classes=_listed(classes),
        image_size=image_size,
        reviewers=_listed(reviewers),
        quorum=quorum,
        threads=threads,
        report_model=report_model,
    )
    made = Site.create(
        site, settings, budget=Budget(epsilon=epsilon, delta=delta), actor=getpass.getuser()
    )
    say(f"site {name} ({email}) created in {site}")
    say(f"budget: epsilon {epsilon} at delta {delta} {per_unit('privacy unit')}")
    say(f"ledger key: {made.key.public_hex}")


@app.command()
def ingest(
    site: SiteArg,
    folder: Annotated[Path, typer.Argument(help="Folder with one folder a class.")],
    test: Annotated[
        Path | None, typer.Option(help="Folder of the hospital's own test cases.")
    ] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="(?P<patient>...) is the number in a file's name."),
    ] = None,
    patient_csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table with the columns file and patient.")
    ] = None,
    persons_csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table with the columns patient, other and decision."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="auto, patient, group (of near-duplicates) or image, by name only."),
    ] = None,
) -> None:
    """Read images into the private store; publish a mock set and a card with noised counts."""
    from datasites.owner import open_link, publish_mock, rule_from, take_in
    from datasites.site import Site
    from privacy import per_unit

    opened = Site.open(site)
    rule = rule_from(
        opened.settings,
        unit=unit,
        pattern=patient_pattern,
        csv=patient_csv,
        persons=persons_csv,
    )
    intake = take_in(opened, folder, test, actor=getpass.getuser(), rule=rule)
    say_text(intake.train.to_text())
    if intake.test is not None:
        say_text(intake.test.to_text())
    publish_mock(opened, open_link(opened))
    card = intake.card
    say(f"data set {card.dataset_version[:12]}: about {card.units:.0f} units ({card.unit}), noised")
    for count, what, noise in (
        (card.straddling_units, "had images in both folders", card.side_noise),
        (card.new_units, "are new or changed", card.change_noise),
        (card.gone_units, "of the former version are gone or changed", card.change_noise),
        (card.regrouped_units, "were joined or fell apart", card.regrouped_noise),
    ):
        if count is not None:
            say(f"  about {count:.0f} {what}, noised by {noise:g}")
    say(f"every epsilon of this data is {per_unit(card.unit)}: {card.unit_meaning}")
    if intake.against is not None:
        say_text(f"exactly, for your eyes: {intake.against.to_text()}")
    if not intake.changed:
        say("the same images were here already: nothing changed, nothing was spent")


@app.command()
def serve(
    site: SiteArg,
    unsafe_no_sandbox: Annotated[
        bool,
        typer.Option(
            "--unsafe-no-sandbox", help="Run jobs without a sandbox; logged and shown in red."
        ),
    ] = False,
) -> None:
    """Run the site's agent until it is told to stop (Ctrl-C or SIGTERM)."""
    from datasites.agent import Agent
    from datasites.sandbox import UnsafeNoSandbox
    from datasites.site import Site, log_unsafe_serve

    log_to_terminal(level=logging.INFO, times=True)
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    opened = Site.open(site)
    agent = Agent(opened, unsafe=UnsafeNoSandbox() if unsafe_no_sandbox else None)
    if unsafe_no_sandbox:
        log_unsafe_serve(opened)
        alarm("UNSAFE: jobs run WITHOUT A SANDBOX, with this account's files and network")
    alarm_if_behind(opened)
    say(f"site {site} is served; Ctrl-C ends it")
    agent.serve(stopped=lambda: bool(stopping))


@app.command()
def status(site: SiteArg) -> None:
    """Show budget, data, peers, plans and the release desk in a few lines."""
    from datasites.cli.budget import privacy_lines
    from datasites.desk import Desk
    from datasites.owner import Synthetic, damaged, list_submissions, state_of
    from datasites.site import FOLDER, Site, causes

    opened = Site.open(site)
    alarm_if_unsafe(opened)
    alarm_if_behind(opened)
    say(f"site {opened.settings.name} ({opened.settings.email})")
    for line in privacy_lines(opened):
        say(line)
    for problem in damaged(opened):
        alarm(f"DAMAGED: {problem}")
    say(f"data: {_data_line(opened)}")
    waiting = [item for item in Desk(opened).items() if item.is_open]
    undecided = [item for item, approval in list_submissions(opened) if approval is None]
    say(f"plans to decide on: {len(undecided)}; outputs to decide on: {len(waiting)}")
    for cause in causes(opened):
        say(f"noise alone left for {cause.request} ({cause.time}): {cause.what.splitlines()[0]}")
        say(f"  whoever asked cannot see it; more in {opened.root / FOLDER}/{cause.request}.json")
    for item, _ in list_submissions(opened):
        if state_of(opened, item.bundle.sha256) is Synthetic.UNDECIDED:
            say(f"synthetic images to decide on: dura site copies {site} {item.bundle.sha256[:12]}")


def _data_line(site: Site) -> str:
    from datasites.errors import DatasitesError

    try:
        return site.card().dataset_version[:12] if site.has_data else "none yet"
    except DatasitesError:
        return "not to be told"


def relay_url(relay: str) -> str:
    """A relay as a URL: a plain folder becomes a file URL."""
    return relay if "://" in relay else Path(relay).absolute().as_uri()


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())

"""`dura site releases ...`: the release desk, where the owner sees why and decides."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datasites.cli.site import SiteArg, Who, Why
from datasites.cli.site import app as site_app
from datasites.cli.text import alarm_if_unsafe, table
from datasites.console import say, say_text
from datasites.errors import Reason
from datasites.reportfile import Format

if TYPE_CHECKING:
    from datasites.cli.deskview import Shown
    from datasites.desk import Desk, Item, Span
    from datasites.site import Site

app = typer.Typer(
    no_args_is_help=True, help="The release desk: what jobs produced, and who lets it go."
)
site_app.add_typer(app, name="releases")

ItemArg = Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")]
ContentOption = Annotated[
    str, typer.Option(help="Content hash that `show` gave: refuses if it was changed since.")
]


@app.command(name="list")
def list_items(
    site: SiteArg,
    everything: Annotated[bool, typer.Option("--all", help="Decided items as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what waits for a decision; the safe default is to do nothing."""
    from datasites.cli.deskview import short_cost
    from datasites.desk import Desk
    from datasites.site import Site

    opened = Site.open(site)
    if not as_json:
        alarm_if_unsafe(opened)
    desk = Desk(opened)
    items = desk.items()
    shown = [item for item in items if everything or item.is_open]
    shown.sort(key=lambda item: (not item.is_open, item.held, item.id))
    if as_json:
        say_text(json.dumps([_as_json(desk, item) for item in shown], indent=1))
        return
    rows = [
        (
            item.id,
            item.kind.value,
            item.study,
            item.researcher,
            item.state.value,
            *_findings(desk, item),
            short_cost(item) if item.is_open else "decided",
        )
        for item in shown
    ]
    header = ("item", "kind", "study", "asked by", "state", "check", "identifiers", "release")
    table(header, rows)
    waiting = sum(item.is_open for item in items)
    if not everything:
        say(f"{waiting} wait(s); {len(items) - waiting} decided (--all); nothing leaves by itself")


@app.command()
def show(site: SiteArg, item: ItemArg) -> None:
    """Show an item: who asked, whether it is true, whom it may name, what releasing it costs."""
    from datasites.cli.deskview import view
    from datasites.site import Site

    for line in view(_seen(Site.open(site), item), site=str(site)):
        say(line)


@app.command()
def release(
    site: SiteArg, item: ItemArg, who: Who, reason: Why = "", content: ContentOption = ""
) -> None:
    """Release a held output; it leaves, once."""
    from datasites.desk import Desk, ItemState
    from datasites.site import Site

    done = Desk(Site.open(site)).decide(
        item, state=ItemState.RELEASED, actor=who, reason=reason, content=content
    )
    say(f"{done.id} released; the agent sends it to {done.researcher}")
    if done.is_disclosure:
        say("recorded as a non-private disclosure of one unit")


@app.command()
def withhold(
    site: SiteArg,
    item: ItemArg,
    who: Who,
    reason: Why,
    code: Annotated[
        Reason, typer.Option(help="What the researcher is told: a withheld_... code.")
    ] = Reason.WITHHELD_BY_OWNER,
) -> None:
    """Withhold an output; the researcher is told a code (of a case report: nothing)."""
    from datasites.desk import Desk, ItemState
    from datasites.errors import DeskError
    from datasites.site import Site

    codes = [known.value for known in Reason if known.value.startswith("withheld_")]
    if code.value not in codes:
        raise DeskError(f"{code.value} is no reason to withhold; choose {', '.join(codes)}")
    done = Desk(Site.open(site)).decide(
        item, state=ItemState.WITHHELD, actor=who, reason=reason, code=code
    )
    told = done.code if done.is_always_there else "nothing, not even that it was there"
    say(f"{done.id} withheld; the researcher is told {told}")


@app.command()
def edit(
    site: SiteArg,
    item: ItemArg,
    file: Annotated[Path, typer.Option(help="The whole new text; `export --format text` starts.")],
    who: Who,
    reason: Why,
    content: ContentOption = "",
) -> None:
    """Change a report's words; refused unless the facts bear out the new ones."""
    from datasites.desk import Desk
    from datasites.errors import DeskError
    from datasites.site import Site

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DeskError(f"{file} is no UTF-8 text: {error.reason}") from error
    done = Desk(Site.open(site)).edit(item, text, actor=who, reason=reason, content=content)
    say(f"{done.id} edited and verified again; it is {done.state}, and nothing has left")
    say(f"content {done.content_sha256[:12]}")


@app.command()
def redact(
    site: SiteArg,
    item: ItemArg,
    who: Who,
    reason: Why,
    words: Annotated[
        list[str] | None, typer.Option(help="Words to block wherever they stand.")
    ] = None,
    span: Annotated[list[str] | None, typer.Option(help="START:END in the text.")] = None,
    clear: Annotated[bool, typer.Option(help="Take all blocks away again.")] = False,
    content: ContentOption = "",
) -> None:
    """Block words of a report; whole words and whole figures, and its facts stay here."""
    from datasites.desk import Desk, occurrences
    from datasites.errors import RedactionError
    from datasites.site import Site

    if clear == bool(words or span):
        raise RedactionError("say what to block (--words TEXT or --span START:END), or --clear")
    desk = Desk(Site.open(site))
    text = desk.report(desk.get(item)).text
    spans = [_span(given) for given in span or []]
    spans += [found for given in words or [] for found in occurrences(text, given)]
    done = desk.redact(item, spans, actor=who, reason=reason, content=content)
    say(f"{done.id}: {done.redactions} block(s); it is {done.state}, and nothing has left")
    say_text(desk.report(done).visible.rstrip())


@app.command()
def export(
    site: SiteArg,
    item: ItemArg,
    out: Annotated[Path, typer.Option(help="The new file; it stays on this machine.")],
    kind: Annotated[Format, typer.Option("--format", help="Its format.")] = Format.PDF,
    header: Annotated[
        Path | None,
        typer.Option(help="A DICOM file of the study here: files the report under its patient."),
    ] = None,
) -> None:
    """Write a report to a file for this hospital: text, HTML, PDF, JSON or DICOM."""
    from datasites.reportfile import export_report
    from datasites.site import Site

    found = export_report(Site.open(site), item, out, kind=kind, header=header)
    say(f"{found.id} ({found.state}) written to {out} as {kind.value}")
    if found.is_open:
        say("it says NOT RELEASED; nothing has left this hospital")
    if header is not None:
        say("it names the patient of that DICOM file: treat it as you treat the images")


@app.command()
def rule(
    site: SiteArg,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's hash, or its beginning.")],
    who: Who,
    reason: Why,
    kinds: Annotated[str, typer.Option(help="Kinds of cohort reports.")] = "hospital,global",
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
) -> None:
    """Let cohort reports of a plan go when they verify and no identifier is marked."""
    from datasites.desk import Desk, RuleBook, listed_kinds
    from datasites.site import Site

    opened = Site.open(site)
    named = listed_kinds(part.strip() for part in kinds.split(",") if part.strip())
    made = RuleBook(opened, Desk(opened)).set(
        plan, kinds=named, reviewer=who, reason=reason, days=days
    )
    missing = opened.settings.quorum - len(made.reviewers)
    say(f"{made.id}: {', '.join(made.kinds)} reports of plan {made.plan_sha256[:12]} may go")
    say("when they verify, are noised and no identifier is marked; never case reports or weights")
    say(f"until {made.expires}; `dura site releases unrule {site} {made.id}` withdraws it")
    if missing > 0:
        say(f"{missing} more reviewer(s) must set the same rule before it counts")


@app.command()
def rules(site: SiteArg) -> None:
    """List release rules and how often each was used."""
    from datasites.desk import Desk, RuleBook
    from datasites.site import Site

    opened = Site.open(site)
    desk = Desk(opened)
    used = [item.rule for item in desk.items()]
    rows = []
    for one in RuleBook(opened, desk).all():
        state = "in force"
        if one.revoked:
            state = f"withdrawn by {one.revoked_by}"
        elif opened.now() >= datetime.fromisoformat(one.expires):
            state = "expired"
        elif len(one.reviewers) < opened.settings.quorum:
            state = "waits for reviewers"
        by = ", ".join(one.reviewers)
        about = ",".join(one.kinds)
        rows.append(
            (one.id, one.plan_sha256[:12], about, by, one.expires, state, str(used.count(one.id)))
        )
    table(("rule", "plan", "kinds", "set by", "expires", "state", "used"), rows)


@app.command()
def unrule(
    site: SiteArg,
    rule_id: Annotated[str, typer.Argument(metavar="RULE", help="The rule's id.")],
    who: Who,
    reason: Why,
) -> None:
    """Withdraw a release rule; it covers nothing any more."""
    from datasites.desk import Desk, RuleBook
    from datasites.site import Site

    opened = Site.open(site)
    done = RuleBook(opened, Desk(opened)).revoke(rule_id, reviewer=who, reason=reason)
    say(f"{done.id} withdrawn; what it let go is gone")


def _span(text: str) -> Span:
    import pydantic

    from datasites.desk import Span
    from datasites.errors import RedactionError

    start, _, end = text.partition(":")
    try:
        return Span(start=int(start), end=int(end))
    except (ValueError, pydantic.ValidationError) as error:
        raise RedactionError(f"--span wants START:END, not {text!r}") from error


def _seen(opened: Site, item_id: str) -> Shown:
    from datasites.cli.deskview import Shown
    from datasites.desk import Desk, read_words
    from datasites.errors import DeskError
    from datasites.site import now_utc

    desk = Desk(opened)
    item = desk.get(item_id)
    report = assessment = None
    if item.is_report:
        try:
            report, assessment = desk.report(item), desk.assessment(item)
        except DeskError as error:
            say(f"!! {error}")
    return Shown(
        item=item,
        approval=desk.approval(item),
        quorum=opened.settings.quorum,
        report=report,
        assessment=assessment,
        differences=desk.differences(item),
        disclosed=opened.ledger.account().disclosed_units,
        listed_words=len(read_words(opened.root)),
        files=desk.files(item),
        now=now_utc(),
    )


def _findings(desk: Desk, item: Item) -> tuple[str, str]:
    from datasites.errors import DeskError

    try:
        found = desk.assessment(item)
    except DeskError:
        return "UNREADABLE", "-"
    if found is None:
        return "-", "-"
    marks = f"{len(found.marks)} MARKED" if found.marks else "none marked"
    return "verified" if found.verified else "FAILED", marks


def _as_json(desk: Desk, item: Item) -> dict[str, object]:
    check, identifiers = _findings(desk, item)
    return {
        "item": item.id,
        "kind": item.kind.value,
        "study": item.study,
        "researcher": item.researcher,
        "plan_sha256": item.plan_sha256,
        "state": item.state.value,
        "check": check,
        "identifiers": identifiers,
        "discloses": item.is_disclosure,
        "edits": item.edits,
        "redactions": item.redactions,
        "sent": item.sent,
    }

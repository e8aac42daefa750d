"""`dura study`: what a researcher does from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datasites import say
from orchestrator.study import DEFAULT, recipe_names

if TYPE_CHECKING:
    from models import Evaluation
    from orchestrator.results import InboxRow

app = typer.Typer(no_args_is_help=True, help="Write, submit and run a study over hospitals.")

_RECIPES = f"Kind of plan: {', '.join(recipe_names())}; {DEFAULT} without."
StudyArg = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")]


@app.command()
def init(
    study: StudyArg,
    name: Annotated[str, typer.Option(help="The study's name.")],
    email: Annotated[str, typer.Option(help="Your syft identity.")],
    relay: Annotated[str, typer.Option(help="URL or folder of the relay.")],
    hospitals: Annotated[str, typer.Option(help="Comma-separated e-mails of the hospitals.")],
    epsilon: Annotated[float, typer.Option(help="What the study may cost a privacy unit.")] = 7.8,
    delta: Annotated[float, typer.Option(help="Delta at which epsilon is computed.")] = 1e-5,
    rounds: Annotated[int | None, typer.Option(help="Rounds; the recipe's without.")] = None,
    recipe: Annotated[str | None, typer.Option(help=_RECIPES)] = None,
    model: Annotated[
        str | None, typer.Option(help="Registered classifier, or model.py; its recipe's without.")
    ] = None,
    generator: Annotated[
        bool | None, typer.Option(help="Train a DP diffusion generator; by recipe without.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Folder of the encoder; the shipped one without.")
    ] = None,
) -> None:
    """Create a study folder with a commented study.toml, and your keys."""
    from datasites import parse_relay_url, write_file
    from orchestrator.errors import StudyError
    from orchestrator.hospitals import Submissions
    from orchestrator.study import given_encoder, recipe_for, study_template

    chosen = recipe_for(model, recipe=recipe, epsilon=epsilon, rounds=rounds, generator=generator)
    if (study / "study.toml").exists():
        raise StudyError(f"{study} holds a study already; edit its study.toml")
    url = relay if "://" in relay else Path(relay).absolute().as_uri()
    parse_relay_url(url)
    own = "" if encoder is None else given_encoder(encoder, model=chosen.model)
    sites = tuple(part.strip() for part in hospitals.split(",") if part.strip())
    text = study_template(
        name=name,
        email=email,
        relay=url,
        hospitals=sites,
        epsilon=epsilon,
        delta=delta,
        recipe=chosen,
        encoder=own,
    )
    write_file(study / "study.toml", text.encode(), mode=0o644)
    office = Submissions(study)
    say(f"study {name} created in {study}; edit study.toml, then `dura study check {study}`")
    say(f"your key's fingerprint: {office.researcher.link.fingerprint}")


@app.command()
def pair(
    study: StudyArg,
    pin: Annotated[
        list[str] | None,
        typer.Option(help="EMAIL=WORDS or EMAIL=FINGERPRINT, compared by telephone."),
    ] = None,
) -> None:
    """Ask the hospitals to pair; pin their keys once words or fingerprints were compared."""
    from datasites import DatasitesError, fingerprint_words
    from orchestrator.errors import StudyError
    from orchestrator.hospitals import Submissions

    office = Submissions(study)
    link = office.researcher.link
    for entry in pin or []:
        email, _, mark = entry.partition("=")
        if not mark:
            raise StudyError(f"--pin wants EMAIL=FINGERPRINT, not {entry!r}")
        link.pin(email, mark)
        say(f"pinned {email}")
    pinned = link.pinned()
    say(f"your fingerprint, to be told to data owners: {link.fingerprint}")
    say(f"or, in words: {fingerprint_words(link.fingerprint)}")
    for site in office.study.hospitals:
        if site in pinned:
            say(f"{site}: paired, {pinned[site]}")
            continue
        link.request(site)
        try:
            mark = link.site_fingerprint(site)
            say(f"{site}: published {mark}; compare, then --pin it")
            say(f"    or, in words: {fingerprint_words(mark)}")
        except DatasitesError:
            say(f"{site}: asked; its owner has not answered yet")


@app.command()
def check(study: StudyArg) -> None:
    """Check the study, show what it costs, and rehearse its jobs on mock data in the sandbox."""
    from datasites import bundle_facts, check_assumptions, findings_text, plan_events, rehearse
    from models import initial_weights, weights_to_bytes
    from orchestrator.hospitals import draft_bundle
    from orchestrator.study import look_at_encoder, plan_encoder, read_study
    from privacy import epsilon, filter_epsilon, per_unit, plan_charges

    spec = read_study(study)
    bundle = draft_bundle(study, spec)
    plan = bundle.plan
    delta = spec.privacy.delta
    cost = filter_epsilon(plan_charges(plan_events(plan)), delta=delta)
    fixed = epsilon(plan_events(plan), delta=delta)
    say(f"plan {bundle.sha256[:12]}: {plan.rounds} rounds of {plan.train.steps} steps")
    say(f"noise multiplier {plan.train.noise_multiplier} (training)")
    say(
        f"costs epsilon {cost:.3f} at delta {delta:g} {per_unit('privacy unit')} "
        "(patient, near-duplicate group or image: each hospital's approval says which); by itself, "
        f"without plans chosen later beside it, {fixed:.3f}"
    )
    # Hospitals publish their own counts; here the smallest one that is no warning is assumed.
    findings = check_assumptions(
        plan,
        units_published=8 / plan.train.sampling_rate,
        model=bundle_facts(bundle),
        encoder=look_at_encoder(plan, spec.model),
    )
    for line in findings_text(findings):
        say(line)
    encoder = plan_encoder(plan, spec.model)
    weights = weights_to_bytes(
        initial_weights(
            plan.model.name,
            text=bundle.model_text,
            classes=len(plan.classes),
            image_size=plan.model.image_size,
            seed=spec.seed,
            encoder=encoder,
        )
    )
    for done in rehearse(bundle, weights, checkpoint=spec.checkpoint, encoder=encoder):
        say(
            f"rehearsed {done.kind} on {done.images} mock images: {done.steps_taken} steps in "
            f"{done.work_s:.1f} s of a slot of {done.slot_s:g} s"
        )
        if done.is_near:
            say(
                "    warning slots: a hospital has more images, or a slower machine; a job "
                "that is not done in its slot leaves noise alone and costs the same: ask for "
                "longer slots"
            )
    say("all well; `dura study submit` sends it to the hospitals")


@app.command()
def submit(study: StudyArg) -> None:
    """Send the plan to every hospital for review."""
    from orchestrator.hospitals import Submissions

    office = Submissions(study)
    bundle = office.submit()
    say(f"plan {bundle.sha256} sent to {len(office.study.hospitals)} hospitals")


@app.command()
def status(study: StudyArg) -> None:
    """Show where every hospital stands."""
    from orchestrator.hospitals import Submissions
    from privacy import per_unit

    for standing in Submissions(study).standings():
        heard = standing.heard
        decision = None if heard is None else heard.decision
        if not standing.paired:
            text = "not paired"
        elif heard is not None and heard.problem:
            text = f"left out [{heard.problem}]: {heard.details}"
        elif decision is None:
            text = "paired; no decision on the plan yet"
        elif decision.approved:
            text = (
                f"approved: {decision.max_rounds} rounds until {decision.expires}, "
                f"epsilon {decision.epsilon:.3f} at delta {decision.delta} "
                f"{per_unit(decision.unit)}"
            )
        else:
            text = f"refused [{decision.reason}]"
        say(f"{standing.hospital}: {text}")
        if standing.refusals:
            say(f"    the last run went on without it: {', '.join(standing.refusals)}")


@app.command()
def run(
    study: StudyArg,
    test: Annotated[Path, typer.Option(help="Your own labelled test folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the run goes.")] = None,
    wait_s: Annotated[float, typer.Option(help="Seconds to wait for undecided hospitals.")] = 0.0,
) -> None:
    """Run the approved study: rounds, aggregation, evaluation, report requests."""
    from orchestrator.commands.interrupt import interruptible, watch
    from orchestrator.conduct import RunService

    conductor = RunService(study)
    target = out if out is not None else study / "run"
    with interruptible(study), watch(conductor.study) as watcher:
        evaluation = conductor.run(target, test, watcher, wait_s=wait_s)
    _say_done(evaluation, target)


@app.command()
def resume(study: StudyArg) -> None:
    """Continue the last run after an interruption or a missed quorum."""
    from orchestrator.commands.interrupt import interruptible, watch
    from orchestrator.conduct import RunService

    conductor = RunService(study)
    with interruptible(study), watch(conductor.study) as watcher:
        evaluation = conductor.resume(watcher)
    _say_done(evaluation, conductor.last_run())


@app.command()
def report(
    study: StudyArg,
    model: Annotated[
        Path | None, typer.Option(help="A model.safetensors; the last run's without.")
    ] = None,
    hospitals: Annotated[str, typer.Option(help="Comma-separated e-mails; all without.")] = "",
    wait_s: Annotated[float, typer.Option(help="Seconds to wait for their answers.")] = 120.0,
) -> None:
    """Ask approved hospitals for reports, outside a run; each pays for one more noised matrix."""
    from orchestrator.conduct import RunService
    from privacy import epsilon, gaussian, per_unit

    named = [part.strip() for part in hospitals.split(",") if part.strip()]
    conductor = RunService(study)
    part = conductor.office.submitted().plan.reports
    if part is not None:
        delta = conductor.study.privacy.delta
        cost = epsilon([gaussian(noise_multiplier=part.metrics_noise_multiplier)], delta=delta)
        say(
            f"each hospital spends epsilon {cost:.3f} at delta {delta} (alone) for it, "
            f"{per_unit('privacy unit')}"
        )
    rows = conductor.ask_for_reports(model=model, hospitals=named, wait_s=wait_s)
    for row in rows:
        say(_inbox_line(row))
    say(f"`dura study reports {study}` fetches what their owners release")


@app.command()
def reports(
    study: StudyArg,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="html or pdf besides text and JSON.")
    ] = None,
) -> None:
    """Fetch the reports that owners released since, and renew the run's results."""
    from orchestrator.conduct import RunService
    from orchestrator.results import save

    conductor = RunService(study)
    rows = conductor.report_inbox()
    asked = {request for _, request in conductor.report_requests().all()}
    own = [row for row in rows if row.request in asked]
    save(own, study / "reports", formats or [])
    for row in rows:
        say(_inbox_line(row))
    if not own or (study / "last_run.json").exists():
        out = conductor.gather_reports()
        save([row for row in rows if row not in own], out / "reports", formats or [])
        counts = json.loads((out / "summary.json").read_text())["reports"]
        say(
            f"reports: {counts['released']} released, {counts['held']} held by their owners, "
            f"{counts['withheld']} withheld; see {out / 'reports'}"
        )
    if own:
        say(f"asked for outside the run: see {study / 'reports'}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="A released model.safetensors.")],
    data: Annotated[Path, typer.Option(help="Folder with one folder a class.")],
    encoder: Annotated[
        Path | None, typer.Option(help="Folder of the encoder it stands on, if not the shipped.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a model file on any labelled folder."""
    from orchestrator.rounds import evaluate_file

    evaluation = evaluate_file(model, data, encoder=encoder)
    if as_json:
        say(json.dumps(evaluation.to_json()))
        return
    say(
        f"{evaluation.n} images: accuracy {evaluation.accuracy:.4f}, "
        f"macro F1 {evaluation.macro_f1:.4f}"
    )
    for score in evaluation.per_class:
        say(
            f"  {score.name:12s} precision {score.precision:.3f}  recall {score.recall:.3f}  "
            f"F1 {score.f1:.3f}  ({score.support} images)"
        )


def _say_done(evaluation: Evaluation, out: Path) -> None:
    say(
        f"done: accuracy {evaluation.accuracy:.4f}, macro F1 {evaluation.macro_f1:.4f} on "
        f"{evaluation.n} test images; see {out / 'report.html'}"
    )


def _inbox_line(row: InboxRow) -> str:
    if row.state == "held":
        return f"{row.hospital}: its {row.kind} report is held by its owner ({row.request})"
    if not row.item:
        return f"{row.hospital}: {row.state} {row.code} ({row.request})".replace("  ", " ")
    code = f" [{row.code}]" if row.code else ""
    return f"{row.hospital}: {row.kind} report {row.item} {row.state}{code}"

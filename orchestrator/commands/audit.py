"""`dura audit`: what a privacy officer or auditor does from a terminal, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datasites import say, say_text, write_file

app = typer.Typer(no_args_is_help=True, help="Verify, recompute, attack the claim; offline.")


@app.callback()
def _audit() -> None:
    """Verify, recompute, attack the claim; offline."""


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or one ledger file.")],
    key: Annotated[
        str | None, typer.Option(help="Public key (hex) to verify one ledger with.")
    ] = None,
) -> None:
    """Verify every ledger in a run: chain, signatures, and against receipts on both sides."""
    from orchestrator.audit import verify_run
    from orchestrator.errors import VerificationError

    findings = verify_run(folder, key=key)
    for finding in findings:
        where = f" ({finding.path})" if finding.path else ""
        if finding.verified:
            head = finding.head[:12]
            say(
                f"{finding.hospital}{where}: {finding.entries} entries hold, head {head}; "
                f"{finding.receipts} receipts and {finding.countersigned} countersignatures agree"
            )
        else:
            say(f"{finding.hospital}{where}: DOES NOT HOLD: {finding.problem}")
    broken = [finding for finding in findings if not finding.verified]
    if broken:
        raise VerificationError(f"{len(broken)} of {len(findings)} ledgers do not hold")
    say(f"all {len(findings)} ledgers hold")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON document.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where the HTML goes; RUN/audit.html without it.")
    ] = None,
) -> None:
    """Recompute every epsilon of a run from its ledgers, and say what it rests on."""
    import json

    from orchestrator.audit import make_report, render_audit
    from orchestrator.errors import VerificationError

    made = make_report(folder)
    if as_json:
        say_text(json.dumps(made.to_json(), indent=1))
    if out is not None or not as_json:
        target = out if out is not None else folder / "audit.html"
        write_file(target, render_audit(made).encode())
        say(f"audit report: {target}", error=as_json)
    if not made.sound:
        raise VerificationError("the audit found what does not hold; read the report")


@app.command()
def empirical(
    mechanism: Annotated[
        bool,
        typer.Option("--mechanism", help="Attack the installed release itself, on phantoms."),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="With --mechanism: fewer tries.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --mechanism: print the JSON document.")
    ] = False,
    target: Annotated[str, typer.Option(help="classifier or generator.")] = "classifier",
    model: Annotated[
        str, typer.Option(help="Registered classifier, or a released model.safetensors to attack.")
    ] = "small_cnn",
    image_size: Annotated[int, typer.Option(help="Pixels a side of the phantoms.")] = 64,
    epsilon: Annotated[float, typer.Option(help="The claim to be attacked.")] = 2.0,
    delta: Annotated[float, typer.Option(help="Delta of the claim.")] = 1e-5,
    steps: Annotated[int, typer.Option(help="Noised steps.")] = 24,
    sampling_rate: Annotated[float, typer.Option(help="Of units, in each step.")] = 0.3,
    learning_rate: Annotated[float, typer.Option(help="Of the training.")] = 0.5,
    units: Annotated[int, typer.Option(help="Phantoms beside the canaries.")] = 240,
    image_canaries: Annotated[int, typer.Option(help="Wrongly labelled phantoms.")] = 100,
    gradient_canaries: Annotated[int, typer.Option(help="Canaries of one coordinate.")] = 1000,
    shadows: Annotated[
        int, typer.Option(help="Reference models of the membership attack; 0 for none.")
    ] = 2,
    encoder: Annotated[
        Path | None, typer.Option(help="Folder of the encoder it stands on, if not the shipped.")
    ] = None,
    members: Annotated[
        Path | None, typer.Option(help="Images that the released model was trained on.")
    ] = None,
    others: Annotated[
        Path | None, typer.Option(help="Images of the same kind that it never saw.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the result goes, JSON; RUN/empirical-audit.json.")
    ] = None,
    consented: Annotated[
        Path | None,
        typer.Option(
            "--unsafe-train-on-consented-patients",
            metavar="SITE",
            help="Hide the canaries among this site's patients; spends its budget, is logged.",
        ),
    ] = None,
    who: Annotated[str, typer.Option("--as", help="The owner who consents.")] = "",
    reason: Annotated[str, typer.Option(help="Why; goes into the ledger.")] = "",
) -> None:
    """Attack the claim: train with canaries through the hospitals' trainer, and bound epsilon."""
    if mechanism:
        _attack_mechanism(quick=quick, as_json=as_json, out=out)
        return
    from orchestrator.empirical import (
        EmpiricalSettings,
        attack_released,
        audit_consented,
        mock_records,
        run_audit,
    )
    from orchestrator.errors import StudyError, VerificationError
    from orchestrator.rounds import open_model
    from orchestrator.study import given_encoder

    if quick or as_json:
        raise StudyError("--quick and --json go with --mechanism")
    if target not in ("classifier", "generator"):
        raise StudyError(f"--target is classifier or generator, not {target!r}")
    released = None
    if model.endswith(".safetensors"):
        released = open_model(Path(model), encoder=encoder)
    elif encoder is not None:
        given_encoder(encoder, model=model)
    if (released is None) != (members is None) or (members is None) != (others is None):
        raise StudyError(
            "attacking a released model takes --model FILE.safetensors, --members FOLDER and "
            "--others FOLDER together"
        )
    settings = EmpiricalSettings(
        target="classifier" if target == "classifier" else "generator",
        model=model if released is None else released.name,
        model_text=None if released is None else released.text,
        encoder=encoder,
        epsilon=epsilon,
        delta=delta,
        steps=steps,
        sampling_rate=sampling_rate,
        learning_rate=learning_rate,
        image_canaries=image_canaries,
        gradient_canaries=gradient_canaries,
        shadows=shadows,
        others=1000,
    )
    if consented is None:
        size = image_size if released is None else released.image_size
        found = run_audit(settings, mock_records(units, image_size=size, seed=1))
    else:
        found = audit_consented(settings, consented, owner=who, reason=reason)
    if released is not None and members is not None and others is not None:
        attack = attack_released(settings, released, members=members, others=others)
        found = found.model_copy(update={"released": attack})
    say_text(found.to_text())
    if out is not None:
        out.write_text(found.model_dump_json(indent=1) + "\n")
    if found.red:
        raise VerificationError("the lower bound exceeds the claim: do not trust this epsilon")


def _attack_mechanism(*, quick: bool, as_json: bool, out: Path | None) -> None:
    from orchestrator.errors import VerificationError
    from orchestrator.mechanism import attack_mechanism

    found = attack_mechanism(quick=quick)
    say_text(found.model_dump_json(indent=1) if as_json else found.to_text())
    if out is not None:
        out.write_text(found.model_dump_json(indent=1) + "\n")
    if found.red:
        raise VerificationError(
            "an attack on the mechanism succeeds: do not trust any epsilon of it"
        )

"""`dura report`: what anybody can check about a released report, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from datasites import say

app = typer.Typer(no_args_is_help=True, help="Check released reports, offline.")


@app.callback()
def _report() -> None:
    """Check released reports, offline."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A released report (.json).")],
    key: Annotated[str, typer.Option(help="The hospital's public key, 64 hex digits.")] = "",
    study: Annotated[
        Path | None, typer.Option(help="A study that pinned the hospital's key, or a run of it.")
    ] = None,
) -> None:
    """Verify a released report: whose it is, signature, hash, facts against text."""
    from datasites import check_released
    from orchestrator.audit import key_named_in, known_keys
    from orchestrator.errors import StudyError, VerificationError

    data = file.read_bytes()
    keys = known_keys(key=key, study=study)
    if not keys:
        raise StudyError("say whose key it must be: --key HEX, or --study STUDY that knows it")
    named = key_named_in(data)
    # A key that nobody vouched for is compared with the first known one, and so refused by name.
    public = named if named in keys else next(iter(keys))
    checks = check_released(data, public_hex=public)
    for check in checks:
        said = "holds" if check.holds else f"DOES NOT HOLD: {check.problem}"
        say(f"{check.name:<10} {said}" + (f" ({check.note})" if check.note else ""))
    failed = [check.name for check in checks if not check.holds]
    if failed:
        raise VerificationError(f"{file} does not hold: {', '.join(failed)}; do not rely on it")
    report = json.loads(data)
    say(
        f"{report['kind']} report {report['item']}, released by {keys[public] or 'that key'} "
        f"({report['hospital']}) on {report['released']}: holds"
    )

"""`dura audit`: what a privacy officer or auditor does from a terminal, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Verify ledgers offline.")


@app.callback()
def _audit() -> None:
    """Verify ledgers offline."""


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or one ledger file.")],
    key: Annotated[
        str | None, typer.Option(help="Public key (hex) to verify one ledger with.")
    ] = None,
) -> None:
    """Verify every ledger in a run: chain, signatures, order, and reach against receipts."""
    from orchestrator.audit import verify_run
    from orchestrator.errors import VerificationError

    findings = verify_run(folder, key=key)
    for finding in findings:
        where = f" ({finding.path})" if finding.path else ""
        if finding.verified:
            head = finding.head[:12]
            typer.echo(f"{finding.hospital}{where}: {finding.entries} entries hold, head {head}")
        else:
            typer.echo(f"{finding.hospital}{where}: DOES NOT HOLD: {finding.problem}")
    broken = [finding for finding in findings if not finding.verified]
    if broken:
        raise VerificationError(f"{len(broken)} of {len(findings)} ledgers do not hold")
    typer.echo(f"all {len(findings)} ledgers hold")

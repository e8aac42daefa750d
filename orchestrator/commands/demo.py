"""`dura demo`: the whole main job on one machine, every step told and every part real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder with one folder a class; phantoms without it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="New folder for everything.")] = Path("runs/demo"),
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds; 4 without, 40 with --default-plan.")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="What the study may cost each unit.")] = 7.8,
    default_plan: Annotated[
        bool,
        typer.Option("--default-plan", help="The plan of `dura study init`: no generator."),
    ] = False,
    replace: Annotated[bool, typer.Option(help="Remove an earlier demo in the folder.")] = False,
) -> None:
    """Five hospitals as five processes: data, approvals, DP rounds, reports, audit."""
    from orchestrator.demo import Demo

    Demo(
        out, data, epsilon=epsilon, rounds=rounds, default_plan=default_plan, replace=replace
    ).run()

"""`dura bench`: measurements that the documents quote, with the command that gave them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Measure what Dura's documents claim.")


@app.callback()
def _bench() -> None:
    """Measure what Dura's documents claim."""


@app.command()
def accuracy(
    data: Annotated[Path, typer.Option(help="Folder with one folder a class.")],
    test: Annotated[
        Path | None, typer.Option(help="Judge on this folder; on a fifth of the data without.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the JSON goes; the curve lies beside it.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Seeds; 1 with --quick.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, ten minutes.")] = False,
    validation: Annotated[
        bool, typer.Option("--validation", help="Judge on a part of the training images.")
    ] = False,
    tuned: Annotated[
        int, typer.Option(help="Seeds of the late blocks trained along, without DP: slow.")
    ] = 1,
) -> None:
    """Accuracy for epsilon over five hospitals in this process, by the default plan."""
    import json

    from datasites import write_file
    from orchestrator.accuracy import DELTA, AccuracyBench, cases, run
    from orchestrator.accuracy_tables import curve_png, document, said, table
    from privacy import per_unit

    bench = AccuracyBench(data, test=test, validation=validation)
    typer.echo(
        f"{bench.train_images} images in {int(bench.units.max()) + 1} units ({bench.unit}), "
        f"data set {bench.version[:12]}; epsilon is of the whole study at delta {DELTA:g} "
        f"{per_unit(bench.unit)}"
    )
    wanted = cases(quick=quick, seeds=1 if quick else seeds, tuned=0 if quick else tuned)
    rows = run(bench, wanted, say=lambda row: typer.echo(said(row)))
    command = " ".join(["dura", *sys.argv[1:]])
    found = document(bench, rows, command=command)
    typer.echo(table(found["summary"]))
    if out is not None:
        write_file(out, (json.dumps(found, indent=1) + "\n").encode(), mode=0o644)
        write_file(out.with_suffix(".png"), curve_png(found["summary"]), mode=0o644)
        typer.echo(f"written: {out}, {out.with_suffix('.png')}")

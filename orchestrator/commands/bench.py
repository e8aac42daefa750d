"""`dura bench`: measurements that the documents quote, with the command that gave them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datasites import say, say_text

if TYPE_CHECKING:
    from orchestrator.bench import Case

app = typer.Typer(no_args_is_help=True, help="Measure what Dura's documents claim.")


@app.callback()
def _bench() -> None:
    """Measure what Dura's documents claim."""


_DATA = Annotated[Path, typer.Option(help="Folder with one folder a class.")]
_TEST = Annotated[
    Path | None, typer.Option(help="Judge on this folder; on a fifth of the data without.")
]
_OUT = Annotated[Path | None, typer.Option(help="Where the JSON goes.")]
_SEEDS = Annotated[int, typer.Option(min=1, max=20, help="Seeds.")]
_VALIDATION = Annotated[
    bool, typer.Option("--validation", help="Judge on a part of the training images.")
]


@app.command()
def accuracy(
    data: _DATA,
    test: _TEST = None,
    out: _OUT = None,
    seeds: _SEEDS = 10,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, ten minutes.")] = False,
    validation: _VALIDATION = False,
) -> None:
    """Accuracy for epsilon over five hospitals in this process, by the default plan.

    With --out the curve lies beside the JSON.
    """
    from orchestrator.bench import cases

    wanted = cases(quick=quick, seeds=1 if quick else seeds)
    _measure(wanted, data=data, test=test, out=out, validation=validation, curve=True)


@app.command()
def tuned(
    data: _DATA,
    test: _TEST = None,
    out: _OUT = None,
    seeds: _SEEDS = 1,
    validation: _VALIDATION = False,
) -> None:
    """What noise takes: the encoder's late blocks trained along, without DP; slow."""
    from orchestrator.bench import tuned_cases

    _measure(tuned_cases(seeds=seeds), data=data, test=test, out=out, validation=validation)


@app.command()
def ablation(
    data: _DATA,
    test: _TEST = None,
    out: _OUT = None,
    seeds: _SEEDS = 3,
    validation: _VALIDATION = False,
) -> None:
    """What augmentation does at epsilon 8: none, classical, and diffusion of three kinds."""
    from orchestrator.bench import ablation_cases

    _measure(ablation_cases(seeds=seeds), data=data, test=test, out=out, validation=validation)


@app.command()
def recipes(
    data: _DATA,
    test: _TEST = None,
    out: _OUT = None,
    seeds: _SEEDS = 3,
    validation: _VALIDATION = False,
    recipe: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given again.")
    ] = None,
    dirichlet: Annotated[
        float, typer.Option(min=0.01, help="How skewed the second division is; less is more.")
    ] = 0.5,
) -> None:
    """Every recipe of `dura study init` at epsilon 8, IID and skewed hospitals."""
    from orchestrator.bench import recipe_cases
    from orchestrator.study import recipe_names

    wanted = recipe_cases(seeds=seeds, names=recipe or recipe_names(), alpha=dirichlet)
    _measure(wanted, data=data, test=test, out=out, validation=validation)


def _measure(
    wanted: list[Case],
    *,
    data: Path,
    test: Path | None,
    out: Path | None,
    validation: bool,
    curve: bool = False,
) -> None:
    from datasites import write_file
    from orchestrator.bench import (
        DELTA,
        AccuracyBench,
        as_text,
        curve_png,
        document,
        run,
        said,
        table,
    )
    from privacy import per_unit

    bench = AccuracyBench(data, test=test, validation=validation)
    say(
        f"{bench.data.train_images} images in {int(bench.data.units.max()) + 1} units "
        f"({bench.data.unit}), data set {bench.data.version[:12]}; epsilon is of the whole study "
        f"at delta {DELTA:g} {per_unit(bench.data.unit)}"
    )
    rows = run(bench, wanted, say=lambda row: say(said(row)))
    command = " ".join(["dura", *sys.argv[1:]])
    found = document(bench, rows, command=command)
    say_text(table(found["summary"]))
    if out is not None:
        write_file(out, as_text(found).encode(), mode=0o644)
        say(f"written: {out}")
        if curve:
            write_file(out.with_suffix(".png"), curve_png(found["summary"]), mode=0o644)
            say(f"written: {out.with_suffix('.png')}")

"""`dura data`: preparing data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datasites.console import say_text

app = typer.Typer(no_args_is_help=True, help="Divide a data set among hospitals.")


@app.callback()
def _data() -> None:
    """Divide a data set among hospitals."""


@app.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with one folder a class.")],
    out: Annotated[Path, typer.Option(help="New folder for the clients' folders.")],
    clients: Annotated[int, typer.Option(help="Number of hospitals.")] = 5,
    test: Annotated[float, typer.Option(help="Each client's own test share.")] = 0.2,
    holdout: Annotated[float, typer.Option(help="Share for the researcher's own test set.")] = 0.0,
    alpha: Annotated[
        float | None, typer.Option(help="Dirichlet parameter; none divides evenly.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the division.")] = 0,
) -> None:
    """Make client_A_train, client_A_test, ... so that no near-duplicate group straddles them."""
    from datasites.ingest import SplitSettings, split_dataset

    settings = SplitSettings(clients=clients, test=test, holdout=holdout, alpha=alpha, seed=seed)
    say_text(split_dataset(source, out, settings).to_text())

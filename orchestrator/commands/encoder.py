"""`dura study encoder`: a folder with an encoder on a published backbone, for all who take part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datasites import say


def encoder(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the encoder goes.")],
    backbone: Annotated[str, typer.Option(help="torchvision's name, such as resnet18.")],
    norm: Annotated[
        str, typer.Option(help="frozen or group: what stands for batch normalisation.")
    ] = "frozen",
    weights: Annotated[
        Path | None, typer.Option(help="A state_dict; torchvision's ImageNet weights without.")
    ] = None,
    saw: Annotated[str, typer.Option(help="What --weights were trained on; for the card.")] = "",
    licence: Annotated[str, typer.Option(help="Of --weights; for the card.")] = "",
    dimension: Annotated[int, typer.Option(help="Numbers in a feature vector.")] = 96,
    phantoms: Annotated[
        int, typer.Option(help="Drawings that the projection is fitted to.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the drawings.")] = 0,
) -> None:
    """Make an encoder for `study init --encoder` of published weights; no patient is needed."""
    from models import EncoderSettings, encoder_sha256, make_encoder

    card = make_encoder(
        folder,
        EncoderSettings(
            architecture=backbone,
            norm=norm,
            weights=weights,
            saw=saw,
            licence=licence,
            dimension=dimension,
            phantoms=phantoms,
            seed=seed,
        ),
    )
    say(f"encoder {card.name} in {folder}")
    for line in card.saw:
        say(f"  saw {line}")
    say(f"  licence: {card.licence}")
    for what, value in card.measured.items():
        say(f"  {what.replace('_', ' ')}: {value}")
    say(f"  its hash, which a plan names: {encoder_sha256(folder)}")
    say(
        f"next: `dura study init STUDY --encoder {folder}`, and hand the folder to each hospital, "
        "whose owner names it as encoder in site.toml (docs/encoders.md)"
    )

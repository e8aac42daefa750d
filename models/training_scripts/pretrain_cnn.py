"""Makes the weights that `phantom_cnn` starts from, and their card, without any patient data.

    python -m models.training_scripts.pretrain_cnn   about five minutes on one core
    python -m models.training_scripts.pretrain_cnn --quick --out FOLDER   a few steps, for tests

In this order: draw varied phantoms and cut out their heads; train the network on their class, view
and contrast at once, mirrored and shifted at random (AdamW, one cycle); average its weights over
the last steps; write the average in half precision as safetensors; measure on fresh phantoms; write
the card. The same seed gives the same phantoms; weights are the same on the same machine and torch
release only.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.classifiers.phantom_cnn import CENTRE, POOLED, SIDE, cnn_trunk
from models.classifiers.phantom_cnn_card import ASSETS, WEIGHTS_FILE
from models.classifiers.registry import build_seeded
from models.images.crop_to_head import cut_to_head
from models.phantoms.varied import CLASSES, CONTRAST_NAMES, VIEWS, draw_varied
from models.weights.card import CARD_FILE, WeightsCard
from models.weights.tensors import weights_sha256, weights_to_bytes

_RATE: Final = 4e-3
_DECAY: Final = 0.05
_BATCH: Final = 64
_AVERAGED: Final = 0.99
"""Share of the average that stays at each step."""
_MOST_SHIFT: Final = 6
"""Pixels, either way."""
_ANSWERS: Final = (len(CLASSES), len(VIEWS), len(CONTRAST_NAMES))
_WEIGHTS: Final = (1.0, 0.3, 0.2)
"""Of the losses on class, view and contrast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to make a start.

    Attributes:
        seed: of phantoms, weights and order.
        phantoms: to train on; a sixteenth as many more are drawn to measure.
        epochs: passes over them.
    """

    seed: int = 0
    phantoms: int = 12_000
    epochs: int = 14


QUICK: Final = Settings(phantoms=128, epochs=2)


def pretrain(folder: Path, settings: Settings) -> WeightsCard:
    """Make a start and write it and its card into `folder`.

    Args:
        folder: made if it is not there.
        settings: how.

    Returns:
        The card.
    """
    network = build_seeded(fresh_network, seed=settings.seed)
    heads, truth = draw(settings.phantoms, seed=settings.seed)
    average = train(network, heads, truth, settings)
    network.load_state_dict({name: tensor.half().float() for name, tensor in average.items()})
    fresh, known = draw(max(settings.phantoms // 16, 64), seed=settings.seed + 1)
    measured = {"class_accuracy_on_fresh_phantoms": round(accuracy(network, fresh, known), 4)}
    folder.mkdir(parents=True, exist_ok=True)
    trunk = network.get_submodule("0")
    stored = {**trunk.state_dict(), CENTRE: centre(trunk, heads)}
    data = weights_to_bytes({name: tensor.half() for name, tensor in stored.items()})
    (folder / WEIGHTS_FILE).write_bytes(data)
    card = _card(data, settings, measured=measured)
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def fresh_network() -> nn.Sequential:
    """The trunk and, on it, what it is asked, which is not shipped."""
    return nn.Sequential(cnn_trunk(), nn.Linear(POOLED, sum(_ANSWERS)))


def draw(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Heads of phantoms, and what they show.

    Args:
        count: N.
        seed: phantom i follows from (seed, i).

    Returns:
        float16 [N, 1, 96, 96], and class, view and contrast, int64 [N, 3].
    """
    heads, truth = [], []
    for index in range(count):
        label = index % len(CLASSES)
        drawn = draw_varied(
            np.random.default_rng((seed, index)), label=CLASSES[label], size=SIDE * 4 // 3
        )
        image = torch.from_numpy(drawn.image).float().div(255)[None, None]
        heads.append(cut_to_head(image, side=SIDE).half())
        truth.append((label, drawn.view, drawn.contrast))
    return torch.cat(heads), torch.tensor(truth)


def train(
    network: nn.Module, heads: Tensor, truth: Tensor, settings: Settings
) -> dict[str, Tensor]:
    """Train in place; returns the weights averaged over the last steps."""
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    steps = settings.epochs * -(-len(heads) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=max(steps, 2), pct_start=0.15
    )
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    taken = 0
    for epoch in range(settings.epochs):
        for rows in torch.randperm(len(heads), generator=generator).split(_BATCH):
            loss = _loss(network(_varied(heads[rows].float(), generator)), truth[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            taken += 1
            kept = min(_AVERAGED, taken / (taken + 10))
            for name, tensor in network.state_dict().items():
                average[name].lerp_(tensor, 1 - kept)
        print(f"epoch {epoch + 1}: loss of its last batch {loss.item():.3f}", flush=True)
    return average


@torch.no_grad()
def centre(trunk: nn.Module, heads: Tensor) -> Tensor:
    """The mean [`POOLED`] of what the trunk pools."""
    return torch.cat([trunk(some.float()) for some in heads.split(_BATCH)]).mean(0)


def _varied(heads: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored and shifted, a draw for each image; black comes in."""
    mirrored = torch.rand((len(heads), 1, 1, 1), generator=generator) < 0.5
    wide = functional.pad(torch.where(mirrored, heads.flip(3), heads), [_MOST_SHIFT] * 4)
    tops, lefts = torch.randint(2 * _MOST_SHIFT + 1, (2, len(heads)), generator=generator).tolist()
    cut = [
        image[:, top : top + SIDE, left : left + SIDE]
        for image, top, left in zip(wide, tops, lefts, strict=True)
    ]
    return torch.stack(cut)


def _loss(answers: Tensor, truth: Tensor) -> Tensor:
    parts = zip(answers.split(_ANSWERS, dim=1), truth.T, _WEIGHTS, strict=True)
    losses = [
        weight * functional.cross_entropy(said, known, label_smoothing=0.05)
        for said, known, weight in parts
    ]
    return torch.stack(losses).sum()


@torch.no_grad()
def accuracy(network: nn.Module, heads: Tensor, truth: Tensor) -> float:
    """Share of phantoms whose class the network names."""
    said = torch.cat([network(some.float()) for some in heads.split(_BATCH)])
    right = said[:, : len(CLASSES)].argmax(1) == truth[:, 0]
    return float(right.float().mean())


def _card(data: bytes, settings: Settings, *, measured: dict[str, float]) -> WeightsCard:
    return WeightsCard(
        name="dura-phantom-cnn-1",
        sha256=weights_sha256(data),
        saw=(f"{settings.phantoms} phantoms drawn by models.phantoms.varied",),
        never_saw="any image of a patient, any photograph",
        made_by=(
            f"python -m models.training_scripts.pretrain_cnn --seed {settings.seed} "
            f"--phantoms {settings.phantoms} --epochs {settings.epochs}"
        ),
        licence="Apache-2.0",
        measured=measured,
        limits=(
            "A start for training with differential privacy. By itself it knows drawings, not "
            "patients: its accuracy on phantoms says nothing about images of patients."
        ),
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    names = [field.name for field in fields(Settings)]
    for name in names:
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args(arguments)
    base = QUICK if args.quick else Settings()
    chosen = {n: getattr(base, n) if getattr(args, n) is None else getattr(args, n) for n in names}
    card = pretrain(args.out, Settings(**chosen))
    print(card.model_dump_json(indent=2))


if __name__ == "__main__":
    main()

"""`make bench-step`: what a step under differential privacy costs beside the same step without.

Four trainers take the same step on the same drawn images, in turns, in one process: plain PyTorch
(forward, backward, update), Dura (`privacy.train_dp`), and Opacus 1.6's own optimizer over its
hooks and over functorch. Seconds of processor time of one step, least and median of the turns, and
their ratio to the plain one. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional

from datasites import MOST_KEPT_ROWS, public_rows
from models import build_model
from models.classifiers.frozen_features import FrozenStart
from privacy import DpSgdSettings, KeyStream, Sgd, os_noise, train_dp

CASES = {
    # name: classifier, pixels, units, chunk
    "default head on kept features": ("encoder_head", 160, 900, MOST_KEPT_ROWS),
    "small_cnn, 64 px, batch 128": ("small_cnn", 64, 128, 64),
    "resnet18 (GroupNorm), 64 px, batch 32": ("resnet18", 64, 32, 32),
}
RATE = 0.01


def main() -> int:
    """Time every case; prints a table, and JSON where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: _case(*case, turns=asked.turns) for name, case in CASES.items()}
    for name, times in found.items():
        plain = times["plain"]["median"]
        for trainer, value in times.items():
            ratio = value["median"] / plain
            print(f"{name:42} {trainer:16} {value['median'] * 1e3:10.1f} ms {ratio:7.2f} x")
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _case(
    name: str, size: int, units: int, chunk: int, *, turns: int
) -> dict[str, dict[str, float]]:
    labels = torch.arange(units) % 4

    def fresh() -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor], bool]:
        torch.manual_seed(0)
        model = build_model(name, text=None, classes=4, image_size=size).train()
        if isinstance(model, FrozenStart):
            rows = torch.randn(units, model.feature_size)
            return model, lambda m, i: _entropy(m.from_features(rows[i]), labels[i]), True
        images = torch.randn(units, 1, size, size)
        return model, lambda m, i: _entropy(m(images[i]), labels[i]), False

    trainers: dict[str, Callable[[], float]] = {}
    for trainer, make in (("plain", _plain), ("dura", _dura), ("opacus hooks", _hooks)):
        model, losses, kept = fresh()
        trainers[trainer] = make(model, losses, units, chunk, size=size, kept=kept)
    times: dict[str, list[float]] = {trainer: [] for trainer in trainers}
    for turn in range(turns + 1):
        for trainer, step in trainers.items():
            seconds = step()
            if turn:  # the first one warms up
                times[trainer].append(seconds)
    return {
        trainer: {"least": min(values), "median": statistics.median(values)}
        for trainer, values in times.items()
    }


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def _timed(step: Callable[[], object]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


def _plain(model, losses, units, chunk, **_how) -> Callable[[], float]:
    optimizer = Sgd(model.parameters(), lr=RATE)

    def step() -> None:
        for rows in torch.arange(units).split(chunk):
            (losses(model, rows).sum() / units).backward()
        optimizer.step()
        optimizer.zero_grad()

    return lambda: _timed(step)


def _dura(model, losses, units, chunk, *, size, kept) -> Callable[[], float]:
    """The second of two steps less nothing: two runs of 1 and 3 steps, half of the difference."""
    settings = {
        "sampling_rate": 1.0,
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "expected_units": float(units),
        "chunk_images": chunk,
    }

    def run(steps: int) -> None:
        asked = DpSgdSettings(**settings, steps=steps)
        train_dp(
            model,
            losses=losses,
            units=torch.arange(units),
            settings=asked,
            optimizer=lambda parameters: Sgd(parameters, lr=RATE),
            sampling=KeyStream(),
            noise=os_noise(),
            public_rows=public_rows(model, size=size, classes=4, rows=asked.rows, kept=kept),
        )

    return lambda: (_timed(lambda: run(3)) - _timed(lambda: run(1))) / 2


def _hooks(model, losses, units, chunk, **_how) -> Callable[[], float]:
    wrapped = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=units,
        loss_reduction="sum",
        secure_mode=False,
    )

    def step() -> None:
        parts = torch.arange(units).split(chunk)
        for place, rows in enumerate(parts):
            losses(wrapped._module, rows).sum().backward()
            optimizer.signal_skip_step(do_skip=place < len(parts) - 1)
            optimizer.step()
            optimizer.zero_grad()

    return lambda: _timed(step)


if __name__ == "__main__":
    sys.exit(main())

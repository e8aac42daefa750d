"""How often reports call a real image unusual or of poor quality, and how often a spoiled one.

    python -m tests.models.bench_flags --train FOLDER --held-out FOLDER

`make bench-flags DATA=FOLDER` divides a folder of real images first, so that no near-duplicate is
on both sides. A linear head on the shipped encoder is trained on the training part, without noise.
Then both parts are looked at as a report job looks at a case: a good image with a flag is a false
alarm, a spoiled one with a flag is detected. Thresholds are chosen on the training part and
phantoms; the held-out part is for the figures that are told. Only rates are printed or kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datasites.ingest.labelled import read_labelled
from models.classes import DEFAULT_CLASSES
from models.classifiers.encoder_head import EncoderHead, encoder_head
from models.images.pixels import normalise
from models.reports.case_look import energy_scores, energy_threshold
from models.reports.facts.parts import QUALITY_FLAGS
from models.reports.image_quality import quality_flags
from tests.models.spoiled import SPOILED

Images = NDArray[np.uint8]


def trained_head(images: Images, labels: NDArray[np.int64], *, classes: int) -> EncoderHead:
    """A head fitted to features of images uint8 [N, S, S], by L-BFGS with weight decay."""
    model = encoder_head(classes)
    with torch.no_grad():
        parts = [
            model.features(normalise(torch.from_numpy(images[start : start + 256])))
            for start in range(0, len(images), 256)
        ]
    features, truth = torch.cat(parts), torch.from_numpy(labels)
    optimiser = torch.optim.LBFGS(model.head.parameters(), max_iter=100)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        decay = 1e-4 * model.head.weight.square().sum()
        value = nn.functional.cross_entropy(model.head(features), truth) + decay
        value.backward()
        return value

    optimiser.step(loss)
    return model


def flag_rates(images: Images) -> dict[str, float]:
    """Share of images with each quality flag."""
    found = [quality_flags(image) for image in images]
    return {flag: sum(flag in one for one in found) / len(found) for flag in QUALITY_FLAGS}


def rates(model: nn.Module, images: Images, *, threshold: float) -> dict[str, float]:
    """Shares of images with any quality flag, that are unusual, and with either."""
    poor = np.array([bool(quality_flags(image)) for image in images])
    unusual = energy_scores(model, images) < threshold
    return {
        "quality": float(poor.mean()),
        "unusual": float(unusual.mean()),
        "either": float((poor | unusual).mean()),
    }


def spoiled(images: Images, name: str, *, seed: int) -> Images:
    """Every image spoiled in one way."""
    rng = np.random.default_rng(seed)
    return np.stack([SPOILED[name](image, rng) for image in images])


def measured(train: Path, held_out: Path, *, size: int, each: int, seed: int) -> dict[str, Any]:
    """All rates, as fractions; detection on `each` images of the held-out part."""
    sets = {
        name: read_labelled(folder, classes=DEFAULT_CLASSES, image_size=size)
        for name, folder in (("train", train), ("held out", held_out))
    }
    model = trained_head(*sets["train"], classes=len(DEFAULT_CLASSES))
    threshold = energy_threshold(model, classes=DEFAULT_CLASSES, size=size)
    good = {
        name: {
            "images": len(images),
            **rates(model, images, threshold=threshold),
            "by flag": flag_rates(images),
        }
        for name, (images, _) in sets.items()
    }
    images = sets["held out"][0]
    chosen = images[np.random.default_rng(seed).permutation(len(images))[:each]]
    found = {
        way: rates(model, spoiled(chosen, way, seed=seed), threshold=threshold) for way in SPOILED
    }
    return {"size": size, "good": good, "spoiled": found, "spoiled images": len(chosen)}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rates as a table, or as JSON."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--each", type=int, default=250, help="images spoiled in each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = measured(
        options.train, options.held_out, size=options.size, each=options.each, seed=options.seed
    )
    print(json.dumps(found, indent=1) if options.json else table(found))


def table(found: dict[str, Any]) -> str:
    """The rates as lines of text."""
    lines = [f"{'flagged, %':32}{'quality':>9}{'unusual':>9}{'either':>9}"]
    rows = {f"good, {part}, {row['images']}": row for part, row in found["good"].items()}
    for name, row in {**rows, **found["spoiled"]}.items():
        cells = (row[key] for key in ("quality", "unusual", "either"))
        lines.append(f"{name:32}" + "".join(f"{100 * value:9.1f}" for value in cells))
    for part, row in found["good"].items():
        each = ", ".join(f"{flag} {100 * value:.1f}" for flag, value in row["by flag"].items())
        lines.append(f"{part}: {each}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

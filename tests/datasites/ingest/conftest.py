"""Small images that look different to the perceptual hash, written where a test wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Draw = Callable[..., NDArray[np.uint8]]
Write = Callable[..., Path]
Dataset = Callable[..., Path]


def _draw(seed: int, side: int = 72) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _write(path: Path, plane: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(plane).save(path)
    return path


@pytest.fixture
def draw() -> Draw:
    return _draw


@pytest.fixture
def write() -> Write:
    return _write


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Make a data folder: `dataset(glioma=3, notumor=2)`; no two images alike."""

    def make(name: str = "data", start: int = 0, **counts: int) -> Path:
        seed = start
        for class_name, count in counts.items():
            (tmp_path / name / class_name).mkdir(parents=True)
            for index in range(count):
                _write(tmp_path / name / class_name / f"{index:03}.png", _draw(seed))
                seed += 1
        return tmp_path / name

    return make

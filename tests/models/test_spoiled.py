"""The ways to spoil an image, and the bench that counts what is found: on phantoms, in seconds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from models.classes import DEFAULT_CLASSES
from models.phantoms.draw import draw_phantoms
from tests.models import bench_flags
from tests.models.spoiled import SPOILED


@pytest.mark.parametrize("way", SPOILED)
def test_a_spoiled_image_is_another_image_of_its_size_and_drawn_again_the_same(way):
    (image,) = draw_phantoms(counts={"glioma": 1}, size=64, seed=1).images
    one, again = (SPOILED[way](image, np.random.default_rng(3)) for _ in range(2))
    assert (one.shape, one.dtype) == (image.shape, np.uint8)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, image)


def test_the_bench_tells_rates_and_no_image(tmp_path, capsys):
    for part, seed in (("train", 1), ("held", 2)):
        drawn = draw_phantoms(counts=dict.fromkeys(DEFAULT_CLASSES, 4), size=64, seed=seed)
        for index, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
            folder = tmp_path / part / DEFAULT_CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index}.png")
    parts = ["--train", str(tmp_path / "train"), "--held-out", str(tmp_path / "held")]
    bench_flags.main([*parts, "--each", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["good"]["held out"]["images"] == 16
    assert set(found["spoiled"]) == set(SPOILED)
    assert found["spoiled"]["black"]["quality"] == 1.0
    assert found["good"]["held out"]["quality"] == 0.0
    lines = bench_flags.table(found).splitlines()
    assert len(lines) == 1 + 2 + len(SPOILED) + 2

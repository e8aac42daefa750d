"""The small generator adapts, hands over what it learnt, and takes over what another learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.errors import GeneratorError, WeightsError
from models.generators.card import read_generator_card
from models.generators.lora import Trains
from models.generators.small_unet import SmallGenerator, fresh_generator, pretrained_generator

CLASSES = ("glioma", "notumor")
SHA256 = read_generator_card().sha256


def _pretrained(trains: Trains = "lora", *, rank: int = 2) -> SmallGenerator:
    return pretrained_generator(
        classes=CLASSES, image_size=32, sha256=SHA256, trains=trains, rank=rank
    )


def _step(made: SmallGenerator) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    parameters = [p for p in made.network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        losses = made.losses(
            made.network,
            made.prepare(images),
            torch.tensor([0, 1, 0, 1]),
            generator=generator,
            draws=2,
        )
        assert losses.shape == (4,)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()


def test_images_are_shrunk_and_scaled() -> None:
    made = fresh_generator(classes=CLASSES, image_size=16)
    white = made.prepare(np.full((2, 64, 64), 255, np.uint8))
    assert white.shape == (2, 1, 16, 16)
    assert torch.equal(white, torch.ones_like(white))


@pytest.mark.parametrize("trains", ["norms", "lora", "all"])
def test_another_hospital_s_generator_draws_the_same_images(trains: Trains) -> None:
    here, there = _pretrained(trains), _pretrained(trains)
    _step(here)

    def images(made: SmallGenerator) -> np.ndarray:
        return made.sample(
            torch.tensor([0, 1]), steps=2, generator=torch.Generator().manual_seed(3)
        )

    assert (images(here) != images(there)).any()
    state = here.adapted()
    there.adopt(state)
    np.testing.assert_array_equal(images(here), images(there))
    state["class_embedding.weight"].zero_()  # copies: what was handed over is not shared
    np.testing.assert_array_equal(images(here), images(there))


def test_weights_of_another_make_are_refused() -> None:
    made = _pretrained("lora", rank=2)
    for other in (_pretrained("norms"), _pretrained("lora", rank=3)):
        with pytest.raises(GeneratorError, match="another generator"):
            made.adopt(other.adapted())


def test_another_size_or_another_start_is_refused() -> None:
    with pytest.raises(GeneratorError, match="image_size = 32"):
        pretrained_generator(classes=CLASSES, image_size=16, sha256=SHA256, trains="norms")
    with pytest.raises(WeightsError, match="plan starts from"):
        pretrained_generator(classes=CLASSES, image_size=32, sha256="0" * 64, trains="norms")

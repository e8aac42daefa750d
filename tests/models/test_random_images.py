"""Images of a random process, and what is learnt from them without labels.

Proven: an image follows from its seed and row alone, uses all grey values and has structure at
coarse and fine scales; numbers out of range are refused; the loss is least where views of one
image are alike; training lowers it in the late blocks and leaves the early ones as they were.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.encoder.efficientnet import EARLY, Trunk
from models.errors import PhantomError
from models.phantoms.dead_leaves import draw_random_image, draw_random_images
from models.training_scripts.contrastive import pair_loss, train_contrastive
from models.training_scripts.pretrain_encoder import start_at_random


def test_an_image_follows_from_seed_and_row() -> None:
    many = draw_random_images(count=5, size=48, seed=3)
    assert many.shape == (5, 48, 48)
    assert many.dtype == np.uint8
    assert np.array_equal(many[:2], draw_random_images(count=2, size=48, seed=3))
    assert np.array_equal(many[4], draw_random_image(np.random.default_rng((3, 4)), size=48))
    assert len({image.tobytes() for image in many}) == 5
    assert not np.array_equal(many, draw_random_images(count=5, size=48, seed=4))


def test_grey_values_are_used_and_no_scale_is_empty() -> None:
    images = draw_random_images(count=20, size=64, seed=0).astype(np.float64)
    assert all((image.min(), image.max()) == (0, 255) for image in images)
    power = (np.abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True))) ** 2).mean(0)
    far = np.hypot(*np.meshgrid(np.fft.fftfreq(64) * 64, np.fft.fftfreq(64) * 64))
    bands = [power[(far >= low) & (far < 2 * low)].mean() for low in (1, 2, 4, 8, 16)]
    assert bands == sorted(bands, reverse=True)
    assert bands[-1] > 1e-5 * bands[0]


@pytest.mark.parametrize(("count", "size"), [(0, 64), (-1, 64), (1, 31), (1, 257)])
def test_numbers_out_of_range_are_refused(count: int, size: int) -> None:
    with pytest.raises(PhantomError, match="draw at least one"):
        draw_random_images(count=count, size=size, seed=0)


def test_the_loss_is_least_where_partners_are_alike() -> None:
    rows = torch.eye(6)
    assert pair_loss(rows, rows) < pair_loss(rows, rows.roll(1, 0))
    assert pair_loss(rows, rows) < pair_loss(rows, torch.ones(6, 6) / 6**0.5)


def test_late_blocks_learn_to_tell_images_apart() -> None:
    torch.manual_seed(0)
    trunk = Trunk()
    start_at_random(trunk)
    early = [parameter.clone() for parameter in trunk.blocks[:EARLY].parameters()]
    said: list[str] = []
    train_contrastive(trunk, count=48, epochs=4, seed=0, say=said.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in said]
    assert losses[-1] < losses[0] - 0.02
    assert all(
        torch.equal(before, after)
        for before, after in zip(early, trunk.blocks[:EARLY].parameters(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in trunk.parameters())

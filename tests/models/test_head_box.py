"""An image's box is the head in it, whatever lies round it and however bright it is.

Proven: the same head in another place, at another size of black margin or another brightness comes
out nearly the same; images do not see each other; a box that finds nothing is the whole image.
"""

from __future__ import annotations

import pytest
import torch

from models.images.crop_to_head import cut_out, cut_to_head, head_box
from models.phantoms.draw import draw_phantoms


@pytest.fixture(scope="module")
def heads() -> torch.Tensor:
    drawn = draw_phantoms(counts={"glioma": 2, "notumor": 2}, size=96, seed=4)
    return torch.from_numpy(drawn.images).float().div(255)[:, None]


def _set_in_black(images: torch.Tensor, *, side: int, top: int, left: int) -> torch.Tensor:
    out = torch.zeros(len(images), 1, side, side)
    out[:, :, top : top + 96, left : left + 96] = images
    return out


def test_a_margin_makes_no_difference(heads: torch.Tensor) -> None:
    near = cut_to_head(heads, side=64)
    far = cut_to_head(_set_in_black(heads, side=160, top=50, left=7), side=64)
    assert (near - far).abs().mean() < 0.03
    assert (near - heads[:, :, 16:80, 16:80]).abs().mean() > 0.05  # it did cut something


def test_brightness_makes_no_difference(heads: torch.Tensor) -> None:
    dim, bright = cut_to_head(heads * 0.5, side=64), cut_to_head(heads, side=64)
    assert (dim - bright).abs().mean() < 0.03


def test_every_image_is_looked_at_alone(heads: torch.Tensor) -> None:
    together = cut_to_head(heads, side=48)
    alone = torch.cat([cut_to_head(image[None], side=48) for image in heads])
    assert torch.equal(together, alone)


def test_where_nothing_is_found_the_box_is_the_image() -> None:
    black = torch.zeros(20, 30)
    assert head_box(black) == (slice(None), slice(None))
    speck = torch.zeros(40, 40)
    speck[3:5, 3:5] = 1.0
    assert head_box(speck) == (slice(None), slice(None))


def test_boxes_can_be_used_for_something_else(heads: torch.Tensor) -> None:
    boxes = [head_box(image[0]) for image in heads]
    assert cut_out(heads, boxes, side=8).shape == (4, 1, 8, 8)


def test_no_images_give_none() -> None:
    assert cut_to_head(torch.zeros(0, 1, 32, 32), side=64).shape == (0, 1, 64, 64)

"""The trunk: shapes, folding of batch normalisation, early and late parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.efficientnet import (
    BLOCKS,
    CHANNELS,
    MIDDLE,
    MIDDLE_CHANNELS,
    STRIDE,
    Trunk,
    _Convolution,
    _folded,
    fold_pretrained,
)
from models.errors import WeightsError


@pytest.mark.parametrize("side", [64, 100])
def test_maps_are_a_sixteenth_of_the_image(side: int) -> None:
    cells = -(-side // STRIDE)
    assert Trunk()(torch.zeros(2, 1, side, side)).shape == (2, CHANNELS, cells, cells)


def test_early_and_late_are_the_whole() -> None:
    trunk, images = Trunk(), torch.rand(2, 1, 64, 64)
    whole = trunk(images)
    parts = trunk.late(trunk.early(images, blocks=5), blocks=5)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert len(trunk.blocks) == BLOCKS


def test_levels_are_the_maps_before_and_after_the_last_stage() -> None:
    trunk, images = Trunk(), torch.rand(2, 1, 64, 64)
    middle, last = trunk.levels(images)
    assert middle.shape == (2, MIDDLE_CHANNELS, 4, 4)
    assert torch.allclose(middle, trunk.early(images, blocks=MIDDLE), atol=1e-5)
    assert torch.allclose(last, trunk(images), atol=1e-5)
    before, first = (trunk.blocks[place].layers[-1].conv for place in (MIDDLE - 1, MIDDLE))
    assert (before.out_channels, first.out_channels) == (MIDDLE_CHANNELS, CHANNELS)


def test_folding_gives_what_convolution_and_normalisation_gave() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8, eps=1e-3)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.uniform_(0.5, 2.0)
    source = {f"c.{n}": t for n, t in conv.state_dict().items()}
    source |= {f"n.{n}": t for n, t in norm.state_dict().items()}
    ours = _Convolution(3, 8, kernel=3, stride=2, groups=1, linear=True)
    ours.load_state_dict(
        {k.split(".", 1)[1]: v for k, v in _folded("x.conv", source, "c", "n").items()}
    )
    images = torch.rand(2, 3, 16, 16)
    padded = F.pad(images, [0, 1, 0, 1])  # TensorFlow pads the odd pixel at the end
    assert torch.allclose(ours(images), norm.eval()(conv(padded)), atol=1e-5)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="_bn0"):
        fold_pretrained({"fc.weight": torch.zeros(1)})

"""Classifiers that adapt the encoder's last stage a little: small layers in it, and a head.

    encoder_film   a scale and a shift for each channel after each block (FiLM without a condition:
                   Perez et al. 2018, arXiv 1709.07871)
    encoder_lora   low-rank additions beside each block's pointwise convolutions (LoRA: Hu et al.
                   2021, arXiv 2106.09685; under differential privacy: Yu et al. 2022, arXiv
                   2110.06500)

An adapter adds to what is there, `STEP` times its own output, and starts at zero: an untrained
model is `encoder_head`. Adapters and head are the module's only parameters. The stages before the
last one stay frozen for whoever trains, so their maps are the features that may be kept
(`models.classifiers.frozen_features`); the blocks themselves stay as shipped, hidden from torch.

`STEP` makes one learning rate fit both parts. The head stands on vectors of length 1 and wants
large steps; the same step would tear the blocks apart. It also keeps adapters from crowding the
head out of a unit's clipped gradient.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.classifiers.encoder_head import CONSTANT, fresh_head
from models.classifiers.frozen_features import FrozenStart
from models.encoder import (
    BLOCKS,
    MIDDLE,
    MIDDLE_CHANNELS,
    SIDE,
    STRIDE,
    Encoder,
    load_encoder,
    pool_levels,
    views,
)

FROZEN: Final = MIDDLE
"""Blocks before the last stage, whose maps are the smallest to keep and to work on."""
STEP: Final = 0.01
RANK: Final = 2
_MAPS: Final = (2, MIDDLE_CHANNELS, SIDE // STRIDE, SIDE // STRIDE)
"""An image and its mirror image, after the frozen blocks."""


class EncoderAdapted(FrozenStart):
    """[B, 1, S, S] to logits [B, classes]; starts undecided, its adapters without effect."""

    def __init__(self, encoder: Encoder, adapters: nn.ModuleList, *, classes: int) -> None:
        """Take an encoder into whose last stage the adapters were put already."""
        super().__init__()
        self.adapters = adapters
        self.head = fresh_head(encoder.dimension, classes=classes)
        self._hidden = (encoder,)  # in a tuple, where torch does not look for parts of a module

    @property
    def feature_size(self) -> int:
        """Numbers in the maps of an image and its mirror image."""
        return int(torch.Size(_MAPS).numel())

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Both maps after the frozen blocks: [B, 1, S, S] to [B, D]."""
        trunk = self._hidden[0].trunk
        both = [trunk.early(view, blocks=FROZEN).flatten(1) for view in views(images)]
        return torch.cat(both, dim=1)

    def from_features(self, features: Tensor) -> Tensor:
        """[B, D] to logits [B, classes]."""
        encoder = self._hidden[0]
        both = [
            pool_levels((view, encoder.trunk.late(view, blocks=FROZEN)))
            for view in features.unflatten(1, _MAPS).unbind(1)
        ]
        vectors = encoder.project(torch.stack(both).mean(0))
        logits: Tensor = self.head(F.pad(vectors, [0, 1], value=CONSTANT))
        return logits


class _Adding(nn.Module):
    """A frozen part, and an adapter that sees its input, or its output, and adds to the latter."""

    def __init__(self, frozen: nn.Module, adapter: nn.Module, *, sees_output: bool) -> None:
        super().__init__()
        self._frozen, self._adapter, self._sees_output = frozen, adapter, sees_output

    def forward(self, x: Tensor) -> Tensor:
        """What the part gives for [B, C, H, W], and a little more."""
        out: Tensor = self._frozen(x)
        more: Tensor = self._adapter(out if self._sees_output else x)
        return out + STEP * more


def encoder_film(classes: int) -> EncoderAdapted:
    """Scales and shifts after the last stage's blocks, and a head.

    Args:
        classes: number of logits.

    Raises:
        models.errors.WeightsError: the shipped encoder is damaged.
    """
    encoder, adapters = load_encoder(), nn.ModuleList()
    blocks = encoder.trunk.blocks
    for place in range(FROZEN, BLOCKS):
        channels = _convolutions(blocks[place])[-1][1].out_channels
        film = nn.Conv2d(channels, channels, 1, groups=channels)  # a scale and a shift of each
        nn.init.zeros_(film.weight)
        nn.init.zeros_(film.bias)  # type: ignore[arg-type]
        adapters.append(film)
        blocks[place] = _Adding(blocks[place], film, sees_output=True)
    return EncoderAdapted(encoder, adapters, classes=classes)


def encoder_lora(classes: int) -> EncoderAdapted:
    """Low-rank additions to the last stage's pointwise convolutions, and a head.

    Args:
        classes: number of logits.

    Raises:
        models.errors.WeightsError: the shipped encoder is damaged.
    """
    encoder, adapters = load_encoder(), nn.ModuleList()
    for place in range(FROZEN, BLOCKS):
        block = encoder.trunk.blocks[place]
        for name, layer in _convolutions(block):
            if layer.kernel_size != (1, 1):
                continue
            low = nn.Conv2d(layer.in_channels, RANK, 1, bias=False)
            up = nn.Conv2d(RANK, layer.out_channels, 1, bias=False)
            nn.init.zeros_(up.weight)
            pair = nn.Sequential(low, up)
            adapters.append(pair)
            block.set_submodule(name, _Adding(layer, pair, sees_output=False))
    return EncoderAdapted(encoder, adapters, classes=classes)


def _convolutions(block: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, part) for name, part in block.named_modules() if isinstance(part, nn.Conv2d)]

"""The trunk of the encoder: EfficientNet-Lite0 up to a sixteenth of the resolution.

EfficientNet-Lite (Tan and Le 2019, arXiv 1905.11946, in the variant without squeeze-and-excite and
with ReLU6) is small enough for two cores and for a file of two megabytes. Its batch normalisation
is folded into the convolutions (`fold_pretrained`): with fixed statistics it is an affine map, and
a trunk without it cannot mix the images of a batch. Padding is TensorFlow's "same", with which the
published weights were trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import WeightsError

CHANNELS = 112
STRIDE = 16
BLOCKS = 11
MIDDLE = 8
"""Blocks before the last stage."""
MIDDLE_CHANNELS = 80
EARLY = 5
"""Blocks that stay as published, whoever trains the others."""

# (blocks, expansion, kernel, stride of the first, channels)
_STAGES = (
    (1, 1, 3, 1, 16),
    (2, 6, 3, 2, 24),
    (2, 6, 5, 2, 40),
    (3, 6, 3, 2, 80),
    (3, 6, 5, 1, 112),
)
_BATCH_NORM_EPSILON = 1e-3


class _Convolution(nn.Module):
    """A convolution with "same" padding, then ReLU6 unless it is linear."""

    def __init__(
        self, inner: int, outer: int, *, kernel: int, stride: int, groups: int, linear: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, groups=groups)
        self._kernel, self._stride, self._linear = kernel, stride, linear

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', ceil(H / stride), ceil(W / stride)]."""
        rows, columns = (self._padding(side) for side in x.shape[-2:])
        out: Tensor = self.conv(F.pad(x, [*columns, *rows]))
        return out if self._linear else F.relu6(out)

    def _padding(self, side: int) -> tuple[int, int]:
        span = (math.ceil(side / self._stride) - 1) * self._stride + self._kernel
        both = max(span - side, 0)
        return both // 2, both - both // 2


class _Block(nn.Module):
    """Expand, filter each channel by itself, project; a skip where shapes agree."""

    def __init__(self, inner: int, outer: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inner * expansion
        layers = [
            _Convolution(wide, wide, kernel=kernel, stride=stride, groups=wide, linear=False),
            _Convolution(wide, outer, kernel=1, stride=1, groups=1, linear=True),
        ]
        if expansion > 1:
            first = _Convolution(inner, wide, kernel=1, stride=1, groups=1, linear=False)
            layers.insert(0, first)
        self.layers = nn.Sequential(*layers)
        self._skips = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        out: Tensor = self.layers(x)
        return x + out if self._skips else out


class Trunk(nn.Module):
    """[B, 1, S, S], 0 black to 1 white, to [B, 112, S/16, S/16]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, kernel=3, stride=2, groups=1, linear=False)
        blocks: list[nn.Module] = []
        inner = 32
        for count, expansion, kernel, stride, outer in _STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                block = _Block(inner, outer, expansion=expansion, kernel=kernel, stride=step)
                blocks.append(block)
                inner = outer
        self.blocks = nn.Sequential(*blocks)

    def early(self, images: Tensor, *, blocks: int) -> Tensor:
        """The stem and the first blocks."""
        grey = (images * 255.0 - 127.0) / 128.0
        x = self.stem(grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))
        out: Tensor = self.blocks[:blocks](x)
        return out

    def late(self, x: Tensor, *, blocks: int) -> Tensor:
        """The blocks after the first `blocks`."""
        out: Tensor = self.blocks[blocks:](x.contiguous(memory_format=torch.channels_last))
        return out

    def levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps before and after the last stage: [B, 80, S/16, S/16] and [B, 112, S/16, S/16]."""
        middle = self.early(images, blocks=MIDDLE)
        return middle, self.late(middle, blocks=MIDDLE)

    def forward(self, images: Tensor) -> Tensor:
        """The whole trunk."""
        return self.levels(images)[1]


def fold_pretrained(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published EfficientNet-Lite0 weights as a `Trunk`'s, batch normalisation folded in.

    Args:
        published: the state of `efficientnet_lite_pytorch`'s model; what the trunk lacks is left.

    Returns:
        A state for `Trunk.load_state_dict`.

    Raises:
        WeightsError: a tensor of the trunk is missing.
    """
    folded: dict[str, Tensor] = {}
    try:
        folded |= _folded("stem.conv", published, "_conv_stem", "_bn0")
        for index, (layers, norms) in enumerate(_block_names()):
            for place, (layer, norm) in enumerate(zip(layers, norms, strict=True)):
                name = f"blocks.{index}.layers.{place}.conv"
                source = f"_blocks.{index}."
                folded |= _folded(name, published, source + layer, source + norm)
    except KeyError as error:
        raise WeightsError(f"not EfficientNet-Lite0's weights: {error} is missing") from error
    return folded


def _block_names() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    names: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for count, expansion, *_ in _STAGES:
        layers: tuple[str, ...] = ("_depthwise_conv", "_project_conv")
        norms: tuple[str, ...] = ("_bn1", "_bn2")
        if expansion > 1:
            layers, norms = ("_expand_conv", *layers), ("_bn0", *norms)
        names += [(layers, norms)] * count
    return names


def _folded(name: str, source: Mapping[str, Tensor], conv: str, norm: str) -> dict[str, Tensor]:
    scale = source[f"{norm}.weight"] / torch.sqrt(
        source[f"{norm}.running_var"] + _BATCH_NORM_EPSILON
    )
    return {
        f"{name}.weight": source[f"{conv}.weight"] * scale[:, None, None, None],
        f"{name}.bias": source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale,
    }

"""A small CNN that is trained end to end, and starts from weights that saw phantoms.

    image -> the head in it (`models.images.crop_to_head`), 96 x 96 -> five convolutions
          -> 3 x 3 means -> their mean over phantoms taken off -> head

Made for DP-SGD as De et al. (2022, arXiv 2204.13650) train: weight standardisation (Qiao et al.
2019, arXiv 1903.10520) and GroupNorm in place of batch statistics, few parameters, and a start that
needs no patient. `models.training_scripts.pretrain_cnn` makes that start of varied phantoms; its
card stands beside the weights (`models.classifiers.phantom_cnn_card`). The head is not part of it
and starts at zero, so an untrained classifier is undecided.

Every parameter is trained, noised and sent, and one learning rate fits all of them. The head stands
on centred vectors of about length 1 and wants large steps; the same steps, and their noise, would
tear the trunk apart. So the trunk holds its weights divided by `STEP`: standardised filters do not
change by that, `ScaledGroupNorm` takes it back, and what a step does to either is `STEP` squared
of what it would be. Cutting out the head is not learnt, so its result may be kept like the features
of a frozen part (`models.classifiers.frozen_features`).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.classifiers.frozen_features import FrozenStart
from models.classifiers.phantom_cnn_card import ASSETS, MAX_BYTES, WEIGHTS_FILE, read_cnn_card
from models.encoder import read_weights
from models.errors import WeightsError
from models.images import cut_to_head

SIDE: Final = 96
GRID: Final = 3
POOLED: Final = 96 * GRID * GRID
CENTRE: Final = "centre"
"""Name, in the weights file, of the mean of what is pooled."""
_CHANNELS: Final = (16, 32, 64, 96)
_GROUPS: Final = 8
_LEAST_VARIANCE: Final = 1e-5
STEP: Final = 0.05
_LENGTH: Final = 4.0
"""About the length of what is pooled, centred."""
_MIDDLE, _SPAN = 0.3, 0.25
"""Of what `cut_to_head` gives, about; the network sees it centred."""


class StandardisedConv2d(nn.Module):
    """A convolution with each filter's weights brought to mean 0 and a length that keeps variance.

    Its weights are a function of its parameter, and of nothing else: no image bears on another's.

    Args:
        inner, outer: channels in and out.
        kernel: side, odd; padding keeps the size.
        stride: of both axes.
    """

    def __init__(self, inner: int, outer: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outer, inner, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, inner, H, W] to [B, outer, ceil(H / stride), ceil(W / stride)]."""
        return F.conv2d(
            x, standardised(self.weight), stride=self._stride, padding=self._kernel // 2
        )


def standardised(weight: Tensor) -> Tensor:
    """Filters [outer, inner, k, k] with mean 0 each and variance 1 / (inner k k)."""
    filters = weight.flatten(1)
    centred = filters - filters.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True) * filters.shape[1]
    return (centred * torch.rsqrt(variance + _LEAST_VARIANCE)).view_as(weight)


class ScaledGroupNorm(nn.GroupNorm):
    """Group normalisation whose scale and shift are `step` times its parameters."""

    def __init__(self, groups: int, channels: int, *, step: float) -> None:
        super().__init__(groups, channels)
        self._step = step

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        scale, shift = self._step * self.weight, self._step * self.bias
        return F.group_norm(x, self.num_groups, scale, shift, self.eps)


class PhantomCnn(FrozenStart):
    """[B, 1, S, S] to logits [B, classes]; features are the head cut out of an image."""

    centre: Tensor

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.trunk = cnn_trunk(step=STEP)
        self.register_buffer("centre", torch.zeros(POOLED), persistent=False)
        self.head = nn.Linear(POOLED, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def feature_size(self) -> int:
        """Pixels of the head that is cut out."""
        return SIDE * SIDE

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The head in each image: [B, 1, S, S] to [B, D]; no parameter bears on it."""
        return cut_to_head((images * 0.25 + 0.25).clamp(0.0, 1.0), side=SIDE).flatten(1)

    def from_features(self, features: Tensor) -> Tensor:
        """[B, D] to logits [B, classes]."""
        pooled: Tensor = self.trunk(features.unflatten(1, (1, SIDE, SIDE)))
        logits: Tensor = self.head((pooled - self.centre) / _LENGTH)
        return logits


class _Centred(nn.Module):
    """Grey values about 0 and of about unit variance; no parameter."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return (x - _MIDDLE) / _SPAN


def cnn_trunk(*, step: float = 1.0) -> nn.Sequential:
    """[B, 1, 96, 96], 0 black to 1 white, to [B, `POOLED`]; 116,144 random weights.

    Args:
        step: of its normalisations.
    """
    first, second, third, last = _CHANNELS
    layers: list[nn.Module] = [_Centred()]
    for inner, outer, kernel, stride in (
        (1, first, 5, 2),
        (first, second, 3, 2),
        (second, third, 3, 2),
        (third, third, 3, 1),
        (third, last, 3, 2),
    ):
        layers += [
            StandardisedConv2d(inner, outer, kernel=kernel, stride=stride),
            ScaledGroupNorm(_GROUPS, outer, step=step),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID), nn.Flatten())


def phantom_cnn(classes: int, folder: Path = ASSETS) -> PhantomCnn:
    """The classifier with the weights that saw phantoms.

    Args:
        classes: number of logits.
        folder: holds weights and card; the shipped one by default.

    Raises:
        WeightsError: a file is missing or damaged, or the weights are not those of the card.
    """
    model = PhantomCnn(classes=classes)
    stored = dict(_stored(folder / WEIGHTS_FILE, read_cnn_card(folder).sha256))
    centre = stored.pop(CENTRE, None)
    wanted = {name: tensor.shape for name, tensor in model.trunk.state_dict().items()}
    if (
        centre is None
        or centre.shape != model.centre.shape
        or {name: tensor.shape for name, tensor in stored.items()} != wanted
    ):
        raise WeightsError(f"the weights in {folder} are not those of this network")
    model.centre.copy_(centre)
    model.trunk.load_state_dict({name: tensor / STEP for name, tensor in stored.items()})
    return model


@lru_cache(maxsize=2)
def _stored(path: Path, sha256: str) -> dict[str, Tensor]:
    stored = read_weights(path, sha256=sha256, max_bytes=MAX_BYTES)
    return {name: tensor.float() for name, tensor in stored.items()}

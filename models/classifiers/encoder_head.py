"""A classifier that is a linear head on the frozen encoder, with few weights for noise to hide.

Only the head is a parameter, so only the head is trained, noised, sent and aggregated: some
thousand bytes a round. The encoder is no registered part of the module; it comes with the
installed release, and its hash is in its card. Or it lies in a folder that was handed over
(`models.encoder.open`), and is read when features are first asked for: rounds that find theirs
kept do without.

The head has no bias; a small constant stands beside the features instead. Gradient descent on a
vector of length 1 with a bias of weight 1 is badly conditioned: the constant keeps the largest
eigenvalue small, so that few and large steps get far.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from models.classifiers.frozen_features import FrozenStart
from models.classifiers.row_linear import RowLinear
from models.encoder import FrozenEncoder, load_encoder, read_card

CONSTANT = 0.2
"""What stands beside the features in place of a bias."""


class LaterEncoder:
    """The encoder in a folder, read at its first use.

    Raises:
        models.errors.WeightsError: there is no card; at the first use, whatever `open_encoder`
            refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dimension = read_card(folder).dimension

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 1, S, S] to [B, dimension]."""
        features: Tensor = self._encoder(images)
        return features

    @cached_property
    def _encoder(self) -> FrozenEncoder:
        from models.encoder import open_encoder  # and with it torchvision

        return open_encoder(self._folder)


class EncoderHead(FrozenStart):
    """[B, 1, S, S] to logits [B, classes]; starts undecided, all weights zero."""

    def __init__(self, encoder: FrozenEncoder | LaterEncoder, *, classes: int) -> None:
        super().__init__()
        self.head = fresh_head(encoder.dimension, classes=classes)
        self._hidden = (encoder,)  # in a tuple, where torch does not look for parts of a module

    def features(self, images: Tensor) -> Tensor:
        """What the head takes: [B, 1, S, S] to [B, dimension + 1], without gradients."""
        return F.pad(self._hidden[0](images), [0, 1], value=CONSTANT)

    @property
    def feature_size(self) -> int:
        """The encoder's dimension and the constant."""
        return self.head.in_features

    def from_features(self, features: Tensor) -> Tensor:
        """[B, dimension + 1] to [B, classes]."""
        logits: Tensor = self.head(features)
        return logits


def fresh_head(dimension: int, *, classes: int) -> RowLinear:
    """A head that is undecided: on features and the constant beside them, all weights zero."""
    head = RowLinear(dimension + 1, classes)
    nn.init.zeros_(head.weight)
    return head


def encoder_head(classes: int, folder: Path | None = None) -> EncoderHead:
    """A fresh head on an encoder.

    Args:
        classes: number of logits.
        folder: of the encoder; None for the shipped one.

    Raises:
        models.errors.WeightsError: the encoder is missing or damaged.
    """
    encoder = load_encoder() if folder is None else LaterEncoder(folder)
    return EncoderHead(encoder, classes=classes)

"""Encoders on a torchvision backbone, and the one way to an encoder from whatever folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.encoder.backbones import Backbone
from models.encoder.card import WEIGHTS_FILE, BackbonePart, read_card
from models.encoder.encoder import FrozenEncoder, fill_encoder, load_encoder, read_weights


class BackboneEncoder(FrozenEncoder):
    """On a torchvision backbone."""

    def __init__(self, backbone: Backbone, *, part: BackbonePart, dimension: int) -> None:
        super().__init__(length=backbone.length, dimension=dimension)
        self.trunk = backbone
        self._side = part.side
        self.requires_grad_(False)
        self.eval()

    @property
    def side(self) -> int:
        """Side of what the backbone takes, pixels."""
        return self._side

    def pool(self, view: Tensor) -> Tensor:
        """What the backbone's last layer took."""
        return self.trunk(view)


def open_encoder(folder: Path) -> FrozenEncoder:
    """The encoder in a folder, whatever it stands on, checked against its card.

    Raises:
        WeightsError: a file is missing, damaged or too large, or the weights are not those of the
            card or of its architecture.
    """
    card = read_card(folder)
    if card.backbone is None:
        return load_encoder(folder)
    stored = read_weights(folder / WEIGHTS_FILE, sha256=card.sha256, max_bytes=card.max_bytes)
    with torch.device("meta"):  # no memory, and no time for random weights
        encoder = BackboneEncoder(
            Backbone(card.backbone), part=card.backbone, dimension=card.dimension
        )
    fill_encoder(encoder, stored, folder, assign=True)
    return encoder

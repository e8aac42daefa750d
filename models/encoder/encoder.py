"""The encoder: an image to a short vector of length 1. Frozen, made without a hospital's data.

    image -> the head in it (`models.images.crop_to_head`) -> a network -> pooled
          -> mean with the same of the mirrored image
          -> public mean taken off -> public projection -> length 1

The shipped one is `Encoder`: `models.encoder.efficientnet` before and after its last stage, each
pooled by means over a 4 x 4 grid and projected by itself, and of equal weight. Others stand on a
torchvision backbone (`models.encoder.open`).

What it has seen, how it was made and its licence stand in its card (`models.encoder.card`), beside
the weights; `models.training_scripts.pretrain_encoder` makes both. Loading checks the file against
the card's SHA-256, so that a hospital runs the weights that were reviewed, or none.

Why a projection, and why length 1: differential privacy adds noise to every coordinate of a
gradient, so a head learns the more from a given epsilon the fewer directions it looks at; and a
linear head's gradient is bounded by the length of its input, so that clipping changes little.
Mean and projection were fitted to phantoms: fitted to a shard they would be a release. Left and
right are alike to all four classes, so an image and its mirror image are one: that spends no
direction, and so no noise, on the side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoder.card import ASSETS, MAX_BYTES, WEIGHTS_FILE, check_weights_hash, read_card
from models.encoder.efficientnet import CHANNELS, MIDDLE_CHANNELS, Trunk
from models.errors import WeightsError
from models.images import cut_to_head
from models.weights import weights_from_bytes, weights_sha256

SIDE = 160
"""Of the shipped encoder, pixels."""
GRID = 4
POOLED = CHANNELS * GRID * GRID
"""Length of what is pooled of the trunk's last maps."""
LEVELS = (MIDDLE_CHANNELS * GRID * GRID, POOLED)
"""Lengths of what is pooled before and after its last stage."""
_CHUNK = 32


class FrozenEncoder(nn.Module, ABC):
    """Images to features; in evaluation mode and without gradients.

    Args:
        length: of what is pooled.
        dimension: of a feature vector.
    """

    def __init__(self, *, length: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("projection", torch.zeros(length, dimension))

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return int(self.get_buffer("projection").shape[1])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images as `models.classifiers.registry.normalise` gives them to features.

        Args:
            images: float32 [B, 1, S, S].

        Returns:
            float32 [B, dimension], each row of length 1; zero for an image that overflows.
        """
        pooled = [self.pooled(chunk) for chunk in images.split(_CHUNK)]
        if not pooled:
            return images.new_zeros((0, self.dimension))
        return self.project(torch.cat(pooled))

    def project(self, pooled: Tensor) -> Tensor:
        """Features [B, dimension] from what was pooled [B, length].

        An encoder is the researcher's choice: were a job to fail where it overflows, that would
        tell of an image without noise.
        """
        centred = pooled - self.get_buffer("mean")
        found = F.normalize(centred @ self.get_buffer("projection"), dim=1)
        return torch.where(found.isfinite().all(dim=1, keepdim=True), found, 0.0)

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """What the projection is fitted to: [B, 1, S, S] to [B, length]."""
        both = (self.pool(view) for view in views(images, side=self.side))
        return torch.stack(tuple(both)).mean(0)

    @property
    @abstractmethod
    def side(self) -> int:
        """Side of what `pool` takes, pixels."""

    @abstractmethod
    def pool(self, view: Tensor) -> Tensor:
        """One view of images, 0 black to 1 white, [B, 1, side, side] to [B, length]."""


class Encoder(FrozenEncoder):
    """On Dura's own trunk."""

    def __init__(self, dimension: int, *, side: int = SIDE) -> None:
        super().__init__(length=sum(LEVELS), dimension=dimension)
        self.trunk = Trunk()
        self._side = side
        self.requires_grad_(False)
        self.eval()

    @property
    def side(self) -> int:
        """Side of what the trunk takes, pixels."""
        return self._side

    def pool(self, view: Tensor) -> Tensor:
        """Means over a grid of the trunk's maps, level after level."""
        maps = self.trunk.levels(view)
        return torch.cat([F.adaptive_avg_pool2d(level, GRID).flatten(1) for level in maps], dim=1)


def views(images: Tensor, *, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """The head in normalised images [B, 1, S, S] as a trunk takes it, and its mirror image."""
    head = cut_to_head((images * 0.25 + 0.25).clamp(0.0, 1.0), side=side)
    return head, head.flip(-1)


def load_encoder(folder: Path = ASSETS) -> Encoder:
    """An encoder on Dura's own trunk from its folder, checked against its card.

    Args:
        folder: holds `encoder.safetensors` and `card.json`; the shipped one by default.

    Raises:
        WeightsError: a file is missing or damaged, or the weights are not those of the card.
    """
    card = read_card(folder)
    if card.backbone is not None or card.side is None:
        raise WeightsError(f"{folder} holds {card.name}, not Dura's own trunk")
    encoder = Encoder(card.dimension, side=card.side)
    fill_encoder(encoder, _stored(folder / WEIGHTS_FILE, card.sha256), folder)
    return encoder


def fill_encoder(
    encoder: FrozenEncoder, stored: Mapping[str, Tensor], folder: Path, *, assign: bool = False
) -> None:
    """Put stored tensors into an encoder, as float32.

    Args:
        encoder: filled in place.
        stored: by name.
        folder: where they are from, for messages.
        assign: take the tensors themselves, for an encoder that has no memory of its own.

    Raises:
        WeightsError: other names or shapes than the encoder's.
    """
    state = {name: tensor.to(torch.float32) for name, tensor in stored.items()}
    like = encoder.state_dict()
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in like.items()}:
        raise WeightsError(f"the weights in {folder} are not those of an encoder")
    encoder.load_state_dict(state, assign=assign)


def read_weights(path: Path, *, sha256: str, max_bytes: int) -> dict[str, Tensor]:
    """The tensors of a weights file, checked against what its card says.

    Raises:
        WeightsError: it is missing, too large, altered or malformed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    check_weights_hash(path, found=weights_sha256(data), wanted=sha256)
    return weights_from_bytes(data, max_bytes=max_bytes)


@lru_cache(maxsize=2)
def _stored(path: Path, sha256: str) -> dict[str, Tensor]:
    """The same, read once a process: every head on the shipped encoder asks for it."""
    return read_weights(path, sha256=sha256, max_bytes=MAX_BYTES)

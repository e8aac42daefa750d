"""The encoder: an image to a short vector of length 1. Frozen, shipped, made without patient data.

    image -> the head in it (`models.head_box`) -> `models.trunk` -> means over a 4 x 4 grid
          -> mean with the same of the mirrored image
          -> public mean taken off -> public projection -> length 1

What it has seen, how it was made and its licence stand in its card, `card.json`, beside the
weights; `models.scripts.pretrain_encoder` makes both. Loading checks the file against the card's
SHA-256, so that a hospital runs the weights that were reviewed, or none.

Why a projection, and why length 1: differential privacy adds noise to every coordinate of a
gradient, so a head learns the more from a given epsilon the fewer directions it looks at; and a
linear head's gradient is bounded by the length of its input, so that clipping changes little.
Mean and projection were fitted to phantoms: fitted to a shard they would be a release. Left and
right are alike to all four classes, so an image and its mirror image are one: that spends no
direction, and so no noise, on the side.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import WeightsError
from models.head_box import cut_to_head
from models.trunk import CHANNELS, Trunk
from models.weights import weights_from_bytes, weights_sha256

ASSETS = Path(__file__).parent / "assets" / "encoder"
WEIGHTS_FILE, CARD_FILE = "encoder.safetensors", "card.json"
MAX_BYTES = 20 * 1024 * 1024
SIDE = 128
GRID = 4
POOLED = CHANNELS * GRID * GRID
_CHUNK = 32


class EncoderCard(BaseModel):
    """What stands in `card.json`.

    Attributes:
        version: of the card's format.
        name: of the encoder.
        sha256: of the weights file.
        dimension: length of a feature vector.
        saw: everything the weights were fitted to.
        never_saw: what they were not.
        made_by: the command, its settings and seed.
        licence: of the weights and of what they started from.
        measured: figures on phantoms, by name.
        limits: what it should not be used for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    dimension: Annotated[int, Field(ge=1, le=POOLED)]
    saw: tuple[str, ...]
    never_saw: str
    made_by: str
    licence: str
    measured: dict[str, float]
    limits: str


class Encoder(nn.Module):
    """Images to features; in evaluation mode and without gradients."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.register_buffer("mean", torch.zeros(POOLED))
        self.register_buffer("projection", torch.zeros(POOLED, dimension))
        self.requires_grad_(False)
        self.eval()

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return int(self.get_buffer("projection").shape[1])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images as `models.classifiers.normalise` gives them to features.

        Args:
            images: float32 [B, 1, S, S].

        Returns:
            float32 [B, dimension], each row of length 1.
        """
        pooled = [self.pooled(chunk) for chunk in images.split(_CHUNK)]
        if not pooled:
            return images.new_zeros((0, self.dimension))
        return self.project(torch.cat(pooled))

    def project(self, pooled: Tensor) -> Tensor:
        """Features [B, dimension] from what was pooled [B, POOLED]."""
        centred = pooled - self.get_buffer("mean")
        return F.normalize(centred @ self.get_buffer("projection"), dim=1)

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """What the projection is fitted to: [B, 1, S, S] to [B, POOLED]."""
        both = (F.adaptive_avg_pool2d(self.trunk(view), GRID) for view in views(images))
        return torch.stack(tuple(both)).mean(0).flatten(1)


def views(images: Tensor) -> tuple[Tensor, Tensor]:
    """The head in normalised images [B, 1, S, S] as the trunk takes it, and its mirror image."""
    head = cut_to_head((images * 0.25 + 0.25).clamp(0.0, 1.0), side=SIDE)
    return head, head.flip(-1)


def read_card(folder: Path = ASSETS) -> EncoderCard:
    """The card of an encoder.

    Raises:
        WeightsError: it is missing or not a card.
    """
    path = folder / CARD_FILE
    try:
        return EncoderCard.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise WeightsError(f"{path} is not an encoder's card: {error}") from error


def load_encoder(folder: Path = ASSETS) -> Encoder:
    """An encoder from its folder, checked against its card.

    Args:
        folder: holds `encoder.safetensors` and `card.json`; the shipped one by default.

    Raises:
        WeightsError: a file is missing or damaged, or the weights are not those of the card.
    """
    card = read_card(folder)
    encoder = Encoder(card.dimension)
    like = encoder.state_dict()
    stored = _stored(folder / WEIGHTS_FILE, card.sha256)
    state = {name: tensor.to(torch.float32) for name, tensor in stored.items()}
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in like.items()}:
        raise WeightsError(f"the weights in {folder} are not those of an encoder")
    encoder.load_state_dict(state)
    return encoder


@lru_cache(maxsize=2)
def _stored(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a weights file; read once a process."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    found = weights_sha256(data)
    if found != sha256:
        raise WeightsError(
            f"{path} has the SHA-256 {found}, but its card says {sha256}: "
            "these are not the weights that were reviewed; install Dura again"
        )
    return weights_from_bytes(data, max_bytes=MAX_BYTES)

"""The encoder's late blocks trained along, without differential privacy: what the noise takes.

For comparison alone. No plan can name it, so no hospital runs it; `dura bench tuned` trains it
in one process. It starts where the shipped encoder is. The early blocks stay, so their maps are
computed once an image and its mirror image (`TunedStart`), and training sees either, moved by up to
one cell of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoder.efficientnet import EARLY, Trunk
from models.encoder.encoder import GRID, POOLED, load_encoder, views
from models.images import normalise

_DROPOUT = 0.3
_SMOOTHING = 0.05
_BATCH = 32
_CHUNK = 64
_DECAY = 0.02


@dataclass(frozen=True)
class TunedStart:
    """Maps after the early blocks, float16 [N, C, H, W], of images and of their mirror images."""

    plain: Tensor
    mirrored: Tensor

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> TunedStart:
        """Those of stored images uint8 [N, S, S]."""
        trunk = load_encoder().trunk
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        with torch.no_grad():
            for start in range(0, len(images), _CHUNK):
                chunk = normalise(torch.from_numpy(np.array(images[start : start + _CHUNK])))
                for kept, view in zip(found, views(chunk), strict=True):
                    kept.append(trunk.early(view, blocks=EARLY).contiguous().half())
        return cls(torch.cat(found[0]), torch.cat(found[1]))

    def rows(self, chosen: NDArray[np.int64]) -> TunedStart:
        """Those of some images."""
        index = torch.from_numpy(chosen)
        return TunedStart(self.plain[index], self.mirrored[index])


class EncoderTuned(nn.Module):
    """Early maps [B, C, H, W] to logits [B, classes]."""

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        trunk: Trunk = load_encoder().trunk
        self.late = trunk.blocks[EARLY:].requires_grad_(True)
        self.drop = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(POOLED, classes)

    def forward(self, early: Tensor) -> Tensor:
        """Logits of one view of each image."""
        maps = self.late(early.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.head(self.drop(F.adaptive_avg_pool2d(maps, GRID).flatten(1)))
        return logits

    @torch.no_grad()
    def probabilities(self, start: TunedStart) -> NDArray[np.float64]:
        """Softmax of the mean logits of both views: float64 [N, classes]."""
        self.eval()
        parts = [
            (self(plain.float()) + self(mirrored.float())) / 2
            for plain, mirrored in zip(
                start.plain.split(_CHUNK), start.mirrored.split(_CHUNK), strict=True
            )
        ]
        return torch.softmax(torch.cat(parts).double(), dim=1).numpy()


def tune(
    model: EncoderTuned,
    start: TunedStart,
    labels: Tensor,
    rows: Tensor,
    *,
    learning_rate: float,
    proximal_mu: float,
    generator: torch.Generator,
) -> None:
    """One pass over some rows, in place; no differential privacy.

    Args:
        model: trained in place.
        start: maps of all images.
        labels: int64 [N].
        rows: which images, in any order.
        learning_rate: of AdamW.
        proximal_mu: weight of FedProx' term, which holds the model near where it began.
        generator: order, views and shifts.
    """
    model.train()
    origin = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=_DECAY)
    for batch in rows[torch.randperm(len(rows), generator=generator)].split(_BATCH):
        loss = _loss(model, start, labels, batch, generator)
        if proximal_mu:
            pairs = zip(model.parameters(), origin, strict=True)
            loss = loss + proximal_mu / 2 * sum((p - o).square().sum() for p, o in pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def one_step(
    model: EncoderTuned,
    start: TunedStart,
    labels: Tensor,
    rows: Tensor,
    *,
    generator: torch.Generator,
) -> None:
    """Move the model by its negative gradient on some rows, in place; no differential privacy.

    For a server that sees the step as a gradient. The arguments are those of `tune`.
    """
    model.train()
    model.zero_grad()
    _loss(model, start, labels, rows, generator).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()


def _loss(
    model: EncoderTuned, start: TunedStart, labels: Tensor, rows: Tensor, generator: torch.Generator
) -> Tensor:
    """The mean loss of one view of each row, all moved by the same draw."""
    mirror = torch.rand(len(rows), generator=generator) < 0.5
    views = torch.where(mirror[:, None, None, None], start.mirrored[rows], start.plain[rows])
    shift = torch.randint(-1, 2, (2,), generator=generator).tolist()
    logits = model(torch.roll(views.float(), shift, dims=(2, 3)))
    return F.cross_entropy(logits, labels[rows], label_smoothing=_SMOOTHING)

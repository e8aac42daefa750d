"""Self-supervised training of the encoder's late blocks on images of a random process.

No label is there to learn from, so the task is to tell which two views show the same image (Chen
et al. 2020, arXiv 2002.05709): one of them as drawn, the other mirrored, moved, dimmed and with
noise. As with phantoms the early blocks stay as they are, and each view's map is computed once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoder.efficientnet import BLOCKS, EARLY, Trunk
from models.encoder.encoder import GRID, POOLED, SIDE
from models.phantoms.dead_leaves import draw_random_images

BATCH = 64
_WIDE = 64
_TEMPERATURE = 0.2
_RATE, _DECAY = 5e-4, 0.02
_MOVE = 12
_NOISE = 0.03


def train_contrastive(
    trunk: Trunk, *, count: int, epochs: int, seed: int, say: Callable[[str], None]
) -> None:
    """Train the blocks after the frozen ones, in place.

    Args:
        trunk: starts from whatever it holds.
        count: random images, at least two.
        epochs: passes over them.
        seed: of images, views and order.
        say: told the loss of each pass.
    """
    generator = torch.Generator().manual_seed(seed)
    plain, varied = _early_views(trunk, count=count, seed=seed, generator=generator)
    project = nn.Sequential(
        nn.BatchNorm1d(POOLED, affine=False),  # what all images share tells none apart
        nn.Linear(POOLED, _WIDE),
        nn.ReLU(),
        nn.Linear(_WIDE, _WIDE),
    )
    trunk.requires_grad_(False)
    late = trunk.blocks[EARLY:BLOCKS].requires_grad_(True)
    parameters = [*late.parameters(), *project.parameters()]
    optimizer = torch.optim.AdamW(parameters, _RATE, weight_decay=_DECAY)

    def vectors(early: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(trunk.late(early.float(), blocks=EARLY), GRID)
        wide: Tensor = project(pooled.flatten(1))
        return F.normalize(wide, dim=1)

    for epoch in range(epochs):
        for rows in torch.randperm(count, generator=generator).split(BATCH):
            loss = pair_loss(vectors(plain[rows]), vectors(varied[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        say(f"random images, epoch {epoch + 1} of {epochs}: loss of its last {loss.item():.3f}")
    trunk.requires_grad_(False)


def pair_loss(first: Tensor, second: Tensor) -> Tensor:
    """How badly each row of one view finds its partner among all rows of the other.

    Args:
        first: float [B, D], rows of length 1.
        second: the same of the other view; row i of both is one image.
    """
    alike = first @ second.T / _TEMPERATURE
    truth = torch.arange(len(alike))
    return (F.cross_entropy(alike, truth) + F.cross_entropy(alike.T, truth)) / 2


@torch.no_grad()
def _early_views(
    trunk: Trunk, *, count: int, seed: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(draw_random_images(count=count, size=SIDE, seed=seed))
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for chunk in images.float().div(255)[:, None].split(BATCH):
        for kept, view in zip(parts, (chunk, _vary(chunk, generator)), strict=True):
            kept.append(trunk.early(view, blocks=EARLY).contiguous().half())
    return torch.cat(parts[0]), torch.cat(parts[1])


def _vary(images: Tensor, generator: torch.Generator) -> Tensor:
    """The other view of images [B, 1, S, S]."""
    rows = []
    for image in images:
        move = torch.randint(-_MOVE, _MOVE + 1, (2,), generator=generator).tolist()
        mirrored = image.flip(-1) if torch.rand((), generator=generator) < 0.5 else image
        rows.append(torch.roll(mirrored, move, dims=(1, 2)))
    shape = (len(rows), 1, 1, 1)
    dim = 0.7 + 0.3 * torch.rand(shape, generator=generator)
    noise = _NOISE * torch.randn(images.shape, generator=generator)
    return (torch.stack(rows) * dim + noise).clamp(0, 1)

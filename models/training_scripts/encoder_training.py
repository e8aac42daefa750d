"""Training of the encoder's late blocks on varied phantoms: data, tasks and loop.

The early blocks stay as published and are computed once an image; their maps are kept in half
precision (32 kB each). On top, the late blocks learn four tasks at once, so that what they pool
says more than the class: class, view, contrast, and in each cell of the map the class of the
lesion that lies there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoder.efficientnet import BLOCKS, CHANNELS, EARLY, STRIDE, Trunk
from models.encoder.encoder import GRID, POOLED, SIDE
from models.encoder.fit import BATCH, draw_batches
from models.images.crop_to_head import cut_out, cut_to_head, head_box
from models.phantoms.varied import CLASSES, CONTRAST_NAMES, VIEWS

NOTUMOR = CLASSES.index("notumor")
_TRUNK_RATE, _TASK_RATE, _DECAY = 8e-4, 2e-3, 0.02
_CELLS = SIDE // STRIDE
_WIDE = 64


@dataclass(frozen=True)
class Lessons:
    """Phantoms as training takes them.

    Attributes:
        early: float16 [N, C, H, W], maps after the frozen blocks.
        cells: float32 [N, 4, S, S] with S = SIDE / STRIDE, share of each class's lesion in each
            cell; the rest is `notumor`.
        labels, views, contrasts: int64 [N].
    """

    early: Tensor
    cells: Tensor
    labels: Tensor
    views: Tensor
    contrasts: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def draw_lessons(trunk: Trunk, *, count: int, seed: int) -> Lessons:
    """Draw phantoms and compute their early maps.

    Args:
        trunk: its first `EARLY` blocks are used.
        count: N.
        seed: phantom i follows from (seed, i).
    """
    early, cells, known = [], [], []
    for drawn, labels in draw_batches(count=count, seed=seed):
        images = torch.from_numpy(np.stack([d.image for d in drawn])).float().div(255)[:, None]
        masks = torch.from_numpy(np.stack([d.lesion for d in drawn]))[:, None]
        with torch.no_grad():
            cut = cut_to_head(images, side=SIDE)
            early.append(trunk.early(cut, blocks=EARLY).contiguous().half())
        boxes = [head_box(image[0]) for image in images]
        cells.append(_by_class(cut_out(masks, boxes, side=_CELLS), labels))
        views, contrasts = [d.view for d in drawn], [d.contrast for d in drawn]
        known.append(torch.stack([labels, torch.tensor(views), torch.tensor(contrasts)]))
    labels, views_, contrasts_ = torch.cat(known, dim=1)
    return Lessons(torch.cat(early), torch.cat(cells), labels, views_, contrasts_)


def _by_class(masks: Tensor, labels: Tensor) -> Tensor:
    """Lesion masks [B, 1, S, S] as shares of the classes [B, 4, S, S]."""
    cells = torch.zeros(len(masks), len(CLASSES), *masks.shape[2:])
    inside = masks[:, 0].clamp(0, 1)
    cells[torch.arange(len(labels)), labels] = inside
    cells[:, NOTUMOR] = 1 - inside * (labels != NOTUMOR).float()[:, None, None]
    return cells


class Tasks(nn.Module):
    """What the late maps are asked: cells by cell, and for the image as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(CHANNELS, len(CLASSES), 1)
        self.wide = nn.Linear(POOLED, _WIDE)
        self.label = nn.Linear(_WIDE, len(CLASSES))
        self.view = nn.Linear(_WIDE, len(VIEWS))
        self.contrast = nn.Linear(_WIDE, len(CONTRAST_NAMES))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, 112, S, S] to logits: cells [B, 4, S, S], label, view, contrast."""
        wide = F.relu(self.wide(F.adaptive_avg_pool2d(maps, GRID).flatten(1)))
        return self.cells(maps), self.label(wide), self.view(wide), self.contrast(wide)


def lesson_loss(answers: tuple[Tensor, ...], lessons: Lessons, rows: Tensor) -> Tensor:
    """One number for all tasks; cells with a lesion count five times."""
    cells, label, view, contrast = answers
    truth = lessons.cells[rows]
    weight = 5 - 4 * truth[:, NOTUMOR]
    local = -((truth * F.log_softmax(cells, dim=1)).sum(1) * weight).mean()
    return (
        local
        + F.cross_entropy(label, lessons.labels[rows], label_smoothing=0.05)
        + 0.3 * F.cross_entropy(view, lessons.views[rows])
        + 0.2 * F.cross_entropy(contrast, lessons.contrasts[rows])
    )


def train_late(
    trunk: Trunk,
    lessons: Lessons,
    *,
    epochs: int,
    generator: torch.Generator,
    say: Callable[[str], None],
) -> Tasks:
    """Train the blocks after the frozen ones, in place.

    Args:
        trunk: starts from whatever it holds.
        lessons: from `draw_lessons` with the same trunk.
        epochs: passes; each mirrors half of the images.
        generator: order and mirroring.
        say: told the loss now and then.

    Returns:
        The tasks' layers, which are not shipped.
    """
    tasks = Tasks()
    late = list(trunk.blocks[EARLY:BLOCKS].parameters())
    trunk.requires_grad_(False)
    for parameter in late:
        parameter.requires_grad_(True)
    groups = [{"params": late}, {"params": list(tasks.parameters())}]
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    steps = epochs * -(-len(lessons) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [_TRUNK_RATE, _TASK_RATE], total_steps=max(steps, 2), pct_start=0.15
    )
    for epoch in range(epochs):
        for rows in torch.randperm(len(lessons), generator=generator).split(BATCH):
            loss = _step(trunk, tasks, lessons, rows, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        say(f"epoch {epoch + 1} of {epochs}: loss of its last batch {loss.item():.3f}")
    trunk.requires_grad_(False)
    return tasks


def _step(
    trunk: Trunk, tasks: Tasks, lessons: Lessons, rows: Tensor, generator: torch.Generator
) -> Tensor:
    """The loss of one batch, all of it mirrored with probability one half."""
    early, mirrored = lessons.early[rows].float(), bool(torch.rand((), generator=generator) < 0.5)
    early = early.flip(-1) if mirrored else early
    cells, *rest = tasks(trunk.late(early, blocks=EARLY))
    cells = cells.flip(-1) if mirrored else cells
    return lesson_loss((cells, *rest), lessons, rows)


@torch.no_grad()
def accuracy(trunk: Trunk, tasks: Tasks, lessons: Lessons) -> float:
    """Share of phantoms whose class the tasks' layers name."""
    right = [
        tasks(trunk.late(lessons.early[rows].float(), blocks=EARLY))[1].argmax(1)
        == lessons.labels[rows]
        for rows in torch.arange(len(lessons)).split(BATCH)
    ]
    return float(torch.cat(right).float().mean())

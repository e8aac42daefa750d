"""Before private data: is a training sound, and may units share a batch?

Found out on public rows, on this very machine, in the process that the job will use. What is wrong
with a model or a loss raises here: a unit of the largest size goes through plain autograd.

The theorem of `privacy.mechanism.grid` wants a unit's rounded contribution to depend on that unit
alone. But kernels choose the order of their additions by shape and place, so the last bits of one
image's gradient can move with who else is in the batch: one unit would then change the
contributions of others, which no clipping bounds. Two ways out, and this module chooses:

- **alone**: one unit after another, by plain autograd. Right by construction; the only way for
  large models, where it is the faster one too;
- **together**: chunks of a fixed number of rows, per-image gradients by Opacus. The kernels are
  then always the same, and contents cannot choose between them; what is left is the row in which a
  unit stands. So public rows are computed in several orders and companies, under random weights,
  with the process, threads and kernels that the job will use; every gradient must come out the same
  to the last bit, or units go alone.

The same pass checks that per-image gradients are right (`check_rows`, `check_sums`); on private
batches nothing is checked, since a check that fails would tell of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from privacy.training.grad_sample import UnitGradSampleModule, check_rows, check_sums, trainable
from privacy.training.unit_gradients import Losses, UnitGradients

MOST_SHARED = 1 << 20
"""Models with more trainable numbers than that go alone (`make bench-step` has one of them)."""

_SPREAD = 0.1  # of the random weights; all-zero ones would add up the same in any order


def rehearse(wrapped: UnitGradSampleModule, *, losses: Losses, rows: int, most: int) -> bool:
    """Try a training out on public rows.

    Args:
        wrapped: the model, wrapped by `per_sample`; its weights stay as they are.
        losses: as for `privacy.train_dp`, on public rows 0 to `rows` - 1, the same at every call.
        rows: number of rows of a chunk.
        most: largest number of images of one unit, at most `rows`.

    Returns:
        Whether units may share chunks.

    Raises:
        GradientError: the loss has not one entry an image, or a gradient is missing or wrong.
    """
    UnitGradients(wrapped, losses, rows=rows).alone(torch.arange(most))
    model: nn.Module = wrapped._module
    small = sum(p.numel() for p in trainable(model).values()) <= MOST_SHARED
    return small and may_share(model, losses=losses, rows=rows)


def may_share(model: nn.Module, *, losses: Losses, rows: int) -> bool:
    """Whether a row's gradient is the same to the last bit in any company of `rows` rows.

    Args:
        model: wrapped by `per_sample`, in training mode; its weights are as before afterwards.
        losses: as for `train_dp`, on public rows 0 to `rows` - 1, the same at every call.
        rows: number of rows of a chunk.

    Returns:
        False if one gradient differed by one bit.

    Raises:
        GradientError: a per-image gradient is missing or wrong.
    """
    with _random_weights(model):
        plain = _gradients(model, losses, torch.arange(rows), check=True)
        return all(
            torch.equal(found, expected[order])
            for order in _companies(rows)
            for found, expected in zip(
                _gradients(model, losses, order, check=False), plain, strict=True
            )
        )


def _companies(rows: int) -> Iterator[Tensor]:
    """Shuffled; and thinned out, moved up and filled with one row, as chunks are."""
    draws = torch.Generator().manual_seed(rows)
    yield torch.randperm(rows, generator=draws)
    kept = torch.randperm(rows, generator=draws)[: (rows + 1) // 2].sort().values
    yield torch.cat([kept, kept[:1].expand(rows - len(kept))])


def _gradients(
    model: nn.Module,
    losses: Losses,
    index: Tensor,
    *,
    check: bool,
) -> list[Tensor]:
    losses(model, index).sum().backward()
    if check:
        check_rows(model, n_images=len(index))
        check_sums(model)
    found = []
    for parameter in trainable(model).values():
        found.append(parameter.grad_sample)  # type: ignore[attr-defined]
        parameter.grad_sample = None  # type: ignore[attr-defined]
        parameter.grad = None
    return found


@contextmanager
def _random_weights(model: nn.Module) -> Iterator[None]:
    parameters = trainable(model).values()
    before = [parameter.detach().clone() for parameter in parameters]
    draws = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.normal_(0.0, _SPREAD, generator=draws)
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(parameters, before, strict=True):
                parameter.copy_(values)

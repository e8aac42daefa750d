"""Per-unit gradients against the truth: one unit at a time, plain autograd, no Opacus.

The test that finds every way to be wrong at once: defective layers, mixed-up images, means taken
over the wrong set. Slow, so it is meant for tests, for dry runs on mock data, and for the check
that a reviewer sees; never for private data in a job.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from privacy.errors import GradientError
from privacy.training.grad_sample import check_rows, per_sample, trainable
from privacy.training.sampling import pack
from privacy.training.unit_gradients import Losses, average_by_unit

TOLERANCE = 1e-3
"""Largest relative error that float32 rounding may explain (seen: a few 1e-6)."""
_FLOOR = 1e-3


def gradient_errors(
    model: nn.Module, *, losses: Losses, units: Sequence[Tensor], seed: int = 0
) -> Mapping[str, float]:
    """Compare per-unit gradients of one batch with those of one unit at a time.

    Args:
        model: in training mode.
        losses: as for `train_dp`; must give an image the same loss whoever is beside it, so noise
            must be chosen per image, and dropout must be off.
        units: image indices of each unit, int64.
        seed: seeds PyTorch's global generator before each pass, for losses that draw from it.

    Returns:
        Parameter name -> largest relative error over the units: the norm of the difference over the
        norm of the parameter's true gradient, or over 0.001 of the unit's whole gradient if that is
        larger.

    Raises:
        GradientError: the model is refused outright.
    """
    naive = [_naive(model, losses, images, seed) for images in units]
    batched = _batched(model, losses, units, seed)
    errors = dict.fromkeys(naive[0], 0.0) if naive else {}
    for row, truth in enumerate(naive):
        floor = _FLOOR * torch.stack([g.norm() for g in truth.values()]).norm()
        for name, gradient in truth.items():
            scale = torch.maximum(gradient.norm(), floor) + 1e-30
            error = float((batched[name][row] - gradient).norm() / scale)
            errors[name] = max(errors[name], error)
    return errors


def check_gradients(
    model: nn.Module, *, losses: Losses, units: Sequence[Tensor], seed: int = 0
) -> float:
    """Refuse a model whose per-unit gradients differ from the truth.

    Args:
        model: in training mode.
        losses: as for `gradient_errors`.
        units: image indices of each unit, int64.
        seed: as for `gradient_errors`.

    Returns:
        The largest relative error found.

    Raises:
        GradientError: it exceeds `TOLERANCE`; names the parameters.
    """
    errors = gradient_errors(model, losses=losses, units=units, seed=seed)
    wrong = sorted(name for name, error in errors.items() if not error <= TOLERANCE)
    if wrong:
        raise GradientError(
            f"per-unit gradients are wrong in {len(wrong)} parameters, e.g. "
            f"{', '.join(wrong[:5])}; the model mixes images of a batch, or uses a layer that "
            "Opacus misreads"
        )
    return max(errors.values(), default=0.0)


def _naive(model: nn.Module, losses: Losses, images: Tensor, seed: int) -> dict[str, Tensor]:
    named = trainable(model)
    torch.manual_seed(seed)
    grads = torch.autograd.grad(
        losses(model, images).mean(), list(named.values()), allow_unused=True
    )
    return {
        name: torch.zeros_like(p) if g is None else g.detach()
        for (name, p), g in zip(named.items(), grads, strict=True)
    }


def _batched(
    model: nn.Module, losses: Losses, units: Sequence[Tensor], seed: int
) -> dict[str, Tensor]:
    (chunk,) = pack(list(units), rows=sum(map(len, units)))
    wrapped = per_sample(model)
    named = trainable(model)
    try:
        torch.manual_seed(seed)
        losses(model, chunk.images).sum().backward()
        check_rows(model, n_images=len(chunk.images))
        average_by_unit(list(named.values()), chunk)
        return {name: p.grad_sample.clone() for name, p in named.items()}  # type: ignore[attr-defined]
    finally:
        wrapped.unwrap()

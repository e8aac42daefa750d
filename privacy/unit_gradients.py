"""From per-image to per-unit gradients.

A unit's gradient is the mean of its images' gradients, so that a patient with many images weighs as
much as one with a single image, and one clip bounds all of them. A unit with any NaN or infinity
contributes exactly zero: it must neither poison the sum nor show in it.
"""

import torch
from torch import Tensor, nn

from privacy.sampling import Chunk


def average_by_unit(parameters: list[nn.Parameter], chunk: Chunk) -> None:
    """Replace each ``p.grad_sample`` [rows, ...] by the units' means [n_units, ...].

    Args:
        parameters: the trainable parameters, with per-image gradients of this chunk.
        chunk: which row belongs to which unit.
    """
    means: list[Tensor] = [p.grad_sample for p in parameters]  # type: ignore[attr-defined]
    if chunk.n_units < len(chunk.images):  # else every row is a unit's only one, and its mean
        images = torch.bincount(chunk.unit, minlength=chunk.n_units + 1)
        means = [_means(rows, chunk, images) for rows in means]
    for parameter, gradient in zip(parameters, drop_non_finite(means), strict=True):
        parameter.grad_sample = gradient  # type: ignore[attr-defined]


def drop_non_finite(gradients: list[Tensor]) -> list[Tensor]:
    """Set a unit's gradient to zero in every parameter if it is not finite in one, in place.

    Args:
        gradients: one tensor a parameter, [n_units, ...].

    Returns:
        The same tensors.
    """
    finite = torch.stack([torch.isfinite(_peak(g)).to(gradients[0].device) for g in gradients])
    if not finite.all():
        for gradient in gradients:
            gradient[~finite.all(0).to(gradient.device)] = 0.0
    return gradients


def _means(samples: Tensor, chunk: Chunk, images: Tensor) -> Tensor:
    """Means over the rows of each unit; rows of nobody are left out."""
    sums = samples.new_zeros((chunk.n_units + 1, *samples.shape[1:]))
    sums.index_add_(0, chunk.unit.to(samples.device), samples)
    weights = images.to(device=samples.device, dtype=samples.dtype)
    return (sums / weights.view(-1, *[1] * (samples.ndim - 1)))[: chunk.n_units]


def _peak(samples: Tensor) -> Tensor:
    return samples.flatten(1).abs().amax(dim=1)

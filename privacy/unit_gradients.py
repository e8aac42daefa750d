"""From per-image to per-unit gradients.

A unit's gradient is the mean of its images' gradients, so that a patient with many images weighs as
much as one with a single image, and one clip bounds all of them. A unit with any NaN or infinity
contributes exactly zero: it must neither poison the sum nor show in it.
"""

import torch
from torch import Tensor, nn

from privacy.sampling import Chunk


def average_by_unit(parameters: list[nn.Parameter], chunk: Chunk) -> None:
    """Replace each ``p.grad_sample`` [n_images, ...] by the units' means [n_units, ...].

    Args:
        parameters: the trainable parameters, with per-image gradients of this chunk.
        chunk: which image belongs to which unit.
    """
    if chunk.n_units < len(chunk.images):
        images = torch.bincount(chunk.unit, minlength=chunk.n_units)
        for parameter in parameters:
            parameter.grad_sample = _means(parameter.grad_sample, chunk, images)  # type: ignore[attr-defined]
    drop_non_finite(parameters)


def drop_non_finite(parameters: list[nn.Parameter]) -> None:
    """Set a unit's gradient to zero in every parameter if it is not finite in one.

    Args:
        parameters: the trainable parameters, with ``grad_sample`` of shape [n_units, ...].
    """
    samples: list[Tensor] = [p.grad_sample for p in parameters]  # type: ignore[attr-defined]
    finite = torch.stack([torch.isfinite(_peak(s)).to(samples[0].device) for s in samples]).all(0)
    if not finite.all():
        for sample in samples:
            sample[~finite.to(sample.device)] = 0.0


def _means(samples: Tensor, chunk: Chunk, images: Tensor) -> Tensor:
    sums = samples.new_zeros((chunk.n_units, *samples.shape[1:]))
    sums.index_add_(0, chunk.unit.to(samples.device), samples)
    weights = images.to(device=samples.device, dtype=samples.dtype)
    return sums / weights.view(-1, *[1] * (samples.ndim - 1))


def _peak(samples: Tensor) -> Tensor:
    return samples.flatten(1).abs().amax(dim=1)

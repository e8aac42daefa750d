"""From units to gradients: the mean over a unit's images, and zero for whatever goes wrong in it.

Two ways to the same thing; `privacy.training.rehearsal` chooses before private data is opened:

- `UnitGradients.alone`: one unit by itself, by plain autograd;
- `UnitGradients.shared`: a chunk of units, from Opacus' per-image gradients.

**What a unit adds is defined for every unit** (`UnitGradients.each`). A unit whose gradient is not
finite, or on which the computation raises anything at all, adds exactly zero: it neither poisons
the sum, nor shows in it, nor ends the training. A chunk that raises is halved, in chunks of the
same number of rows and so by the same kernels, until the unit is found; all others add what they
would have added. What is wrong with the model or the loss, and not with an image, raises in the
rehearsal.

A patient with many images weighs as much as one with a single image, and one clip bounds all of
them.
"""

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from privacy.errors import GradientError
from privacy.training.grad_sample import UnitGradSampleModule, check_rows, trainable
from privacy.training.sampling import Chunk, pack

Losses = Callable[[nn.Module, Tensor], Tensor]
log = logging.getLogger("dura.privacy")


class UnitGradients:
    """Gradients of units under one loss.

    Args:
        wrapped: the model, wrapped by `per_sample`.
        losses: as for `privacy.train_dp`.
        rows: number of rows of a chunk.
    """

    def __init__(self, wrapped: UnitGradSampleModule, losses: Losses, *, rows: int) -> None:
        self._wrapped = wrapped
        self._model: nn.Module = wrapped._module
        self._losses = losses
        self._rows = rows
        self._parameters = list(trainable(self._model).values())
        self._told = False

    def each(self, sampled: list[Tensor], *, together: bool) -> Iterator[list[Tensor]]:
        """Gradients of units, some at a time; of those that add zero there may be none.

        Args:
            sampled: image indices of each unit.
            together: whether units share chunks.

        Yields:
            One tensor a parameter, [n_units, *shape], finite.
        """
        if together:
            for chunk in pack(sampled, rows=self._rows):
                yield from self._parts(chunk)
            return
        for images in sampled:
            try:
                found = self.alone(images)
            except Exception:  # whatever one unit does, it does to itself
                self._tell()
            else:
                yield found

    def alone(self, images: Tensor) -> list[Tensor]:
        """The gradient of one unit, by plain autograd: [1, *shape] a parameter.

        Raises:
            GradientError: the loss has not one entry an image, or leaves a parameter out.
        """
        self._wrapped.disable_hooks()
        try:
            loss = self._checked(images).mean()
            grads = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        finally:
            self._wrapped.enable_hooks()
        found = []
        for (name, _), grad in zip(trainable(self._model).items(), grads, strict=True):
            if grad is None:
                raise GradientError(
                    f"no per-sample gradient for {name}: no loss uses it; freeze or use it"
                )
            found.append(grad[None])
        return drop_non_finite(found)

    def shared(self, chunk: Chunk) -> list[Tensor]:
        """The gradients of a chunk's units: [n_units, *shape] a parameter.

        Raises:
            GradientError: the loss has not one entry an image, or a parameter not one gradient.
        """
        try:
            self._checked(chunk.images).sum().backward()
            check_rows(self._model, n_images=len(chunk.images))
            average_by_unit(self._parameters, chunk)
            return [p.grad_sample for p in self._parameters]  # type: ignore[attr-defined]
        finally:
            self._wrapped.forget()

    def _parts(self, chunk: Chunk) -> Iterator[list[Tensor]]:
        try:
            found = self.shared(chunk)
        except Exception:  # as in `each`
            units = [chunk.images[chunk.unit == unit] for unit in range(chunk.n_units)]
            if len(units) == 1:
                self._tell()
                return
            half = len(units) // 2
            yield from self.each(units[:half], together=True)
            yield from self.each(units[half:], together=True)
        else:
            yield found

    def _checked(self, images: Tensor) -> Tensor:
        losses = self._losses(self._model, images)
        if losses.shape != (len(images),) or not losses.requires_grad:
            raise GradientError(
                f"losses must have one differentiable entry an image, shape [{len(images)}], "
                f"got {list(losses.shape)}; do not average over the batch"
            )
        return losses

    def _tell(self) -> None:
        """Once a training: a line for every step could fill a disk, and so end the job."""
        if not self._told:
            log.exception("the gradient of a unit cannot be computed; it counts as zero")
        self._told = True


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

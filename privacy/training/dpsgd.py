"""DP-SGD over units of privacy (Abadi et al. 2016, arXiv 1607.00133), on integers.

One step:
1. Poisson-sample units (`privacy.training.sampling`); take all their images, up to a cap each;
2. each unit's gradient: the mean over its images, by plain autograd for one unit at a time, or from
   Opacus' per-image gradients in chunks of a fixed shape where that was shown to give the same to
   the last bit in any company (`privacy.training.rehearsal`). It is defined for every unit: one
   that is not finite, or whose computation raises, counts as zero
   (`privacy.training.unit_gradients`);
3. clip each to L2 norm C, put it on the grid, add up as integers (`privacy.mechanism.grid`);
4. add integer noise of standard deviation z C, scale;
5. divide by the **expected** number of units, a published figure: dividing by the realised number
   would tell how many joined (opacus issue 571);
6. add the gradient of an optional public loss, which touches no private data; step.

An empty sample, and an empty data set, still makes a noised step. Steps are counted when taken, and
the event is built from that count: Poisson-sampled Gaussian (q, z), neighbouring relation add or
remove one unit.

Nothing that depends on private data is reported: no loss, no norm, no batch size. Refused, before a
private image is looked at: models whose per-image gradients would be wrong, losses that have not
one entry an image, an optimizer that does not hold exactly the trainable parameters, settings out
of range. Afterwards nothing that an image shows ends the training. Buffers that changed in it are
refused at the end.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from privacy.accounting import check_count, check_noise, check_rate
from privacy.errors import GradientError, SettingsError
from privacy.mechanism import Grid, KeyStream, Noise
from privacy.training.grad_sample import UnitGradSampleModule, per_sample, trainable
from privacy.training.rehearsal import rehearse
from privacy.training.sampling import UnitIndex
from privacy.training.sgd import Sgd
from privacy.training.unit_gradients import Losses, UnitGradients

if TYPE_CHECKING:
    from dp_accounting.dp_event import DpEvent

PublicLoss = Callable[[nn.Module], Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer | Sgd]


@dataclass(frozen=True, kw_only=True)
class DpSgdSettings:
    """How to train with differential privacy.

    Attributes:
        sampling_rate: probability q with which a unit joins a step, in (0, 1].
        noise_multiplier: noise standard deviation over clipping norm; its range is `Grid`'s.
        clipping_norm: largest L2 norm C of one unit's gradient; its range is `Grid`'s.
        expected_units: q times a *published, noised* count of units, > 0; never the exact count
            nor a realised batch size.
        steps: number of steps, >= 1.
        chunk_images: images whose gradients are held in memory at once.
        max_images_per_unit: images of one unit used in a step, at most `chunk_images`.

    Raises:
        SettingsError: a value is out of range.
        EventError: the rate, multiplier or steps are.
    """

    sampling_rate: float
    noise_multiplier: float
    clipping_norm: float
    expected_units: float
    steps: int
    chunk_images: int = 64
    max_images_per_unit: int = 8

    def __post_init__(self) -> None:
        check_rate(self.sampling_rate)
        check_noise(self.noise_multiplier)
        check_count(self.steps)
        value = self.expected_units
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 < value < math.inf
        ):
            raise SettingsError(f"expected_units must be finite and > 0, got {value!r}")
        _ = self.grid  # refuses noise and norms out of range
        if not 1 <= self.max_images_per_unit <= self.chunk_images:
            raise SettingsError(
                f"max_images_per_unit must lie in [1, chunk_images = {self.chunk_images}], got "
                f"{self.max_images_per_unit}; a unit is never split"
            )

    @property
    def grid(self) -> Grid:
        """Where units' gradients are added.

        Raises:
            SettingsError: noise multiplier or clipping norm is out of range.
        """
        return Grid(noise_multiplier=self.noise_multiplier, sensitivity=self.clipping_norm)

    @property
    def rows(self) -> int:
        """Rows of a chunk: what is expected in a step, if memory has room for it."""
        wanted = min(self.chunk_images, math.ceil(self.expected_units))
        return max(self.max_images_per_unit, wanted)

    def event(self, steps: int) -> "DpEvent":
        """The privacy event of `steps` steps.

        Raises:
            EventError: a value is out of range.
        """
        from privacy.accounting import poisson_gaussian  # and with it dp-accounting

        return poisson_gaussian(
            sampling_rate=self.sampling_rate, noise_multiplier=self.noise_multiplier, steps=steps
        )


@dataclass(frozen=True)
class DpSgdResult:
    """What training did.

    Attributes:
        steps_taken: number of noised steps taken.
        settings: how they were taken.
    """

    steps_taken: int
    settings: DpSgdSettings

    @property
    def event(self) -> "DpEvent":
        """The privacy event of the steps taken."""
        return self.settings.event(self.steps_taken)


def train_dp(  # noqa: PLR0913 - what it takes, by name
    model: nn.Module,
    *,
    losses: Losses,
    units: Tensor,
    settings: DpSgdSettings,
    optimizer: MakeOptimizer,
    sampling: KeyStream,
    noise: Noise,
    public_rows: Losses,
    public_loss: PublicLoss | None = None,
    on_step: Callable[[int], bool | None] | None = None,
) -> DpSgdResult:
    """Train a model in place, with differential privacy for units.

    Args:
        model: in training mode; frozen parameters stay as they are.
        losses: ``losses(model, index)``: loss of each image, shape [len(index)]; image i's loss may
            depend on image i only.
        units: unit of each image, int64, shape [n_images].
        settings: rate, noise, clipping norm, steps.
        optimizer: makes an optimizer, `Sgd` or PyTorch's, over exactly the parameters it is given.
        sampling: chooses the units; a fresh `KeyStream`, never from a plan.
        noise: draws the noise; from `privacy.os_noise`, never from a plan.
        public_rows: as `losses`, on at least `settings.rows` rows of public data of the same
            shapes, the same at every call: on them it is found out whether model and losses are
            sound, and whether units may share a chunk.
        public_loss: loss on public data, synthetic data of a DP generator, or the weights alone
            (FedProx); its gradient is added without clipping or noise.
        on_step: called with the number of steps taken after each; returning True stops.

    Returns:
        Steps taken; their event is to be committed to the ledger.

    Raises:
        GradientError: a per-unit gradient would be wrong, or a buffer changed.
        SettingsError: `units` is not a vector of indices.
    """
    index = UnitIndex(units)
    buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
    wrapped = per_sample(model)
    try:
        trainer = _Trainer(wrapped, losses, settings, optimizer, noise, public_loss)
        together = rehearse(
            wrapped, losses=public_rows, rows=settings.rows, most=settings.max_images_per_unit
        )
        taken = 0
        while taken < settings.steps:
            trainer.step(
                index.draw(
                    sampling_rate=settings.sampling_rate,
                    max_images=settings.max_images_per_unit,
                    stream=sampling,
                ),
                together=together,
            )
            taken += 1
            if on_step is not None and on_step(taken):
                break
    finally:
        wrapped.unwrap()
    _refuse_changed_buffers(model, buffers)
    return DpSgdResult(steps_taken=taken, settings=settings)


class _Trainer:
    """One model, one optimizer; `step` makes one noised step from any number of units."""

    def __init__(
        self,
        wrapped: UnitGradSampleModule,
        losses: Losses,
        settings: DpSgdSettings,
        optimizer: MakeOptimizer,
        noise: Noise,
        public_loss: PublicLoss | None,
    ) -> None:
        self._wrapped = wrapped
        self._model: nn.Module = wrapped._module
        self._gradients = UnitGradients(wrapped, losses, rows=settings.rows)
        self._settings = settings
        self._grid = settings.grid
        self._noise = noise
        self._public_loss = public_loss
        self._parameters = list(trainable(self._model).values())
        self._optimizer = optimizer(self._parameters)
        held = [p for group in self._optimizer.param_groups for p in group["params"]]
        if {id(p) for p in held} != {id(p) for p in self._parameters}:
            raise GradientError("the optimizer must hold exactly the parameters it was given")

    def step(self, sampled: list[Tensor], *, together: bool) -> None:
        totals = [torch.zeros(p.shape, dtype=torch.int64) for p in self._parameters]
        for gradients in self._gradients.each(sampled, together=together):
            self._grid.add_gradients(totals, gradients)
        for parameter, total in zip(self._parameters, totals, strict=True):
            noised = self._grid.release(total.numpy(), self._noise) / self._settings.expected_units
            parameter.grad = torch.from_numpy(noised).to(parameter)
        self._add_public_gradient()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _add_public_gradient(self) -> None:
        if self._public_loss is None:
            return
        self._wrapped.disable_hooks()
        try:
            loss = self._public_loss(self._model)
            grads = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        finally:
            self._wrapped.enable_hooks()
        for parameter, grad in zip(self._parameters, grads, strict=True):
            if grad is not None and parameter.grad is not None:
                parameter.grad += grad


def _refuse_changed_buffers(model: nn.Module, before: dict[str, Tensor]) -> None:
    after = dict(model.named_buffers())
    changed = [n for n, b in after.items() if n not in before or not torch.equal(b, before[n])]
    if changed:
        raise GradientError(
            f"buffers changed during training ({', '.join(changed[:5])}); they would carry private "
            "statistics out without noise: do not release this model"
        )

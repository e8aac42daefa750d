"""DP-SGD over units of privacy (Abadi et al. 2016, arXiv 1607.00133), by Opacus' DPOptimizer.

One step:
1. Poisson-sample units (`privacy.sampling`); take all their images, up to a cap each;
2. per-image gradients, chunk by chunk; their mean per unit (`privacy.unit_gradients`);
3. clip each unit's gradient to L2 norm C, add up;
4. add Gaussian noise of standard deviation z C, drawn four times and halved (Opacus' secure mode,
   after Holohan and Braghin 2021, arXiv 2107.10138);
5. divide by the **expected** number of units, a published figure: dividing by the realised number
   would tell how many joined (opacus issue 571);
6. add the gradient of an optional public loss, which touches no private data; step.

An empty sample still makes a noised step. Steps are counted when taken, and the event is built from
that count: Poisson-sampled Gaussian (q, z), neighbouring relation add or remove one unit.

Nothing that depends on private data is reported: no loss, no norm, no batch size. Refused: models
whose per-unit gradients would be wrong, buffers that change during training, an optimizer that does
not hold exactly the trainable parameters, settings out of range.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from privacy.errors import GradientError, SettingsError
from privacy.eventvalues import check_count, check_noise, check_rate
from privacy.grad_sample import UnitGradSampleModule, check_rows, check_sums, per_sample, trainable
from privacy.noise import DPOptimizer, Noise
from privacy.sampling import Chunk, UnitIndex, pack
from privacy.sgd import Sgd
from privacy.unit_gradients import average_by_unit

if TYPE_CHECKING:
    from dp_accounting.dp_event import DpEvent

Losses = Callable[[nn.Module, Tensor], Tensor]
PublicLoss = Callable[[nn.Module], Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer | Sgd]


@dataclass(frozen=True, kw_only=True)
class DpSgdSettings:
    """How to train with differential privacy.

    Attributes:
        sampling_rate: probability q with which a unit joins a step, in (0, 1].
        noise_multiplier: noise standard deviation over clipping norm, > 0.
        clipping_norm: largest L2 norm C of one unit's gradient, > 0.
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
        for name in ("clipping_norm", "expected_units"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not (0 < value < math.inf)
            ):
                raise SettingsError(f"{name} must be finite and > 0, got {value!r}")
        if not 1 <= self.max_images_per_unit <= self.chunk_images:
            raise SettingsError(
                f"max_images_per_unit must lie in [1, chunk_images = {self.chunk_images}], got "
                f"{self.max_images_per_unit}; a unit is never split"
            )

    def event(self, steps: int) -> "DpEvent":
        """The privacy event of `steps` steps.

        Raises:
            EventError: a value is out of range.
        """
        from privacy.events import poisson_gaussian  # and with it dp-accounting

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
    sampling: torch.Generator,
    noise: Noise,
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
        sampling: chooses the units; CPU; from `privacy.os_generator`, never from a plan.
        noise: draws the noise, on the parameters' device; from `privacy.os_noise`.
        public_loss: loss on public data, synthetic data of a DP generator, or the weights alone
            (FedProx); its gradient is added without clipping or noise.
        on_step: called with the number of steps taken after each; returning True stops.

    Returns:
        Steps taken; their event is to be committed to the ledger.

    Raises:
        GradientError: a per-unit gradient is or would be wrong; reserve stays spent.
        SettingsError: `units` is not a vector of indices.
    """
    index = UnitIndex(units)
    buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
    wrapped = per_sample(model)
    try:
        trainer = _Trainer(wrapped, model, losses, settings, optimizer, noise, public_loss)
        taken = 0
        while taken < settings.steps:
            sampled = index.draw(
                sampling_rate=settings.sampling_rate,
                max_images=settings.max_images_per_unit,
                generator=sampling,
            )
            trainer.step(pack(sampled, chunk_images=settings.chunk_images))
            taken += 1
            if on_step is not None and on_step(taken):
                break
    finally:
        _clean(wrapped)
    _refuse_changed_buffers(model, buffers)
    return DpSgdResult(steps_taken=taken, settings=settings)


class _Trainer:
    """One model, one optimizer; `step` makes one noised step from any number of chunks."""

    def __init__(
        self,
        wrapped: UnitGradSampleModule,
        model: nn.Module,
        losses: Losses,
        settings: DpSgdSettings,
        optimizer: MakeOptimizer,
        noise: Noise,
        public_loss: PublicLoss | None,
    ) -> None:
        self._wrapped = wrapped
        self._model = model
        self._losses = losses
        self._public_loss = public_loss
        self._parameters = list(trainable(model).values())
        self._sums_checked = False
        inner = optimizer(self._parameters)
        held = [p for group in inner.param_groups for p in group["params"]]
        if {id(p) for p in held} != {id(p) for p in self._parameters}:
            raise GradientError("the optimizer must hold exactly the parameters it was given")
        self._optimizer = DPOptimizer(
            inner,
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=settings.clipping_norm,
            expected_batch_size=settings.expected_units,
            loss_reduction="mean",
            generator=noise,
            secure_mode=True,
        )
        self._optimizer.attach_step_hook(self._add_public_gradient)
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            self._per_unit_gradients(chunk)
            self._optimizer.signal_skip_step(do_skip=True)
            self._optimizer.step()  # clips and accumulates only
            self._optimizer.zero_grad(set_to_none=True)
        # The noised step itself always goes through the same path: with a last chunk of no units.
        for parameter in self._parameters:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        self._optimizer.signal_skip_step(do_skip=False)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._sums_checked = True

    def _per_unit_gradients(self, chunk: Chunk) -> None:
        losses = self._losses(self._model, chunk.images)
        if losses.shape != (len(chunk.images),) or not losses.requires_grad:
            raise GradientError(
                f"losses must have one differentiable entry an image, shape [{len(chunk.images)}], "
                f"got {list(losses.shape)}; do not average over the batch"
            )
        losses.sum().backward()
        check_rows(self._model, n_images=len(chunk.images))
        if not self._sums_checked:
            check_sums(self._model)
        average_by_unit(self._parameters, chunk)

    def _add_public_gradient(self, _optimizer: DPOptimizer) -> None:
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


def _clean(wrapped: UnitGradSampleModule) -> None:
    for parameter in wrapped.unwrap().parameters():
        if hasattr(parameter, "summed_grad"):
            del parameter.summed_grad


def _refuse_changed_buffers(model: nn.Module, before: dict[str, Tensor]) -> None:
    after = dict(model.named_buffers())
    changed = [n for n, b in after.items() if n not in before or not torch.equal(b, before[n])]
    if changed:
        raise GradientError(
            f"buffers changed during training ({', '.join(changed[:5])}); they would carry private "
            "statistics out without noise: do not release this model"
        )

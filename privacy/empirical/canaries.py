"""A training run with canaries in it, through the trainer that hospitals use.

`train_with_canaries` tosses a fair coin for each canary, lets those that won it join the units, and
trains with `privacy.train_dp`: the same sampling, clipping, noise and accounting as any run. Two
kinds of canary, each a unit of its own:

- **gradient** canaries ("Dirac", Nasr et al. 2023, arXiv 2302.07956): a unit whose whole clipped
  gradient is one coordinate of a probe beside the model. Nothing that a patient's image could do
  to the weights is easier to see, so they test sampling, clipping, noise and accounting at full
  strength, whatever the model;
- **image** canaries: wrongly labelled images through the model's own layers. They test the model's
  per-sample gradients as well, and show what an outsider with the released model sees.

Scores, larger for likelier members:

- ``gradient`` (white-box): the likelihood ratio of the noised gradients of every step, for a
  coordinate that joins each step with the sampling rate;
- ``update`` (white-box): dot products of the noised gradient of each step with the image's own
  gradient there;
- ``loss`` (black-box): by how much the image's loss fell.

The probe adds no gradient to other units and the images' losses do not see it: the model trains as
it does without. Real units keep their own privacy; what is returned depends on them only through
the noised gradients, so a run over a consented shard costs exactly `CanaryRun.event`.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privacy.accounting import DpEvent
from privacy.errors import SettingsError
from privacy.mechanism import KeyStream, Noise
from privacy.training import DpSgdSettings, Losses, train_dp

_STRIDE = 1e-2
"""Length of a step, in parameter space, for directional derivatives."""
_STEEP = 1e3
"""Slope of a gradient canary's loss over the clipping norm: clipped to exactly that norm."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is trained, and with what.

    Attributes:
        model: in training mode; changed in place.
        losses: as for `train_dp`, over images 0 to `n_images` - 1: real ones, then canaries.
        units: unit of each *real* image, int64, shape [n_real].
        image_canaries: how many of the images, the last ones, are canaries.
        gradient_canaries: how many coordinates the probe has.
        fixed_losses: ``fixed_losses(model, index)``: as `losses`, but the same at every call, for
            scoring; None if `losses` is.
        public_rows: as for `train_dp`, over any index.
    """

    model: nn.Module
    losses: Losses
    units: Tensor
    image_canaries: int
    gradient_canaries: int
    public_rows: Losses
    fixed_losses: Losses | None = None

    def __post_init__(self) -> None:
        if self.gradient_canaries < 1 or self.image_canaries < 0:
            raise SettingsError("an audit needs at least one gradient canary")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One way of looking at one kind of canary.

    Attributes:
        name: ``gradient``, ``update`` or ``loss``. access: ``white-box`` or ``black-box``.
        values: a score each, float64, shape [m].
        included: whether each was in the training set, shape [m].
    """

    name: str
    access: str
    values: NDArray[np.float64]
    included: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CanaryRun:
    """What a run with canaries showed.

    Attributes:
        scores: one for each way of looking.
        event: what the run is accounted as.
        steps_taken: noised steps.
    """

    scores: tuple[Scores, ...]
    event: DpEvent
    steps_taken: int


class _Probed(nn.Module):
    """A model and, beside it, one weight for each gradient canary."""

    def __init__(self, model: nn.Module, coordinates: int) -> None:
        super().__init__()
        self.model = model
        self.probe = nn.Linear(coordinates, 1, bias=False)
        nn.init.zeros_(self.probe.weight)


@dataclass
class _Watch:
    """What a white-box adversary writes down at each step."""

    subject: Subject
    settings: DpSgdSettings
    reference: nn.Module
    index: Tensor
    ratios: Tensor = field(init=False)
    products: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.ratios = torch.zeros(self.subject.gradient_canaries, dtype=torch.float64)
        self.products = torch.zeros(len(self.index), dtype=torch.float64)

    def see(self, probed: _Probed) -> None:
        """Score the noised gradients, just before the optimizer uses them."""
        rate, noise = self.settings.sampling_rate, self.settings.noise_multiplier
        scale = self.settings.expected_units / self.settings.clipping_norm
        gradient = probed.probe.weight.grad
        assert gradient is not None  # noqa: S101 - a noised step leaves one
        # Losses fall by the probe's weight, so a member's gradient is minus the clipping norm.
        seen = -gradient[0].double() * scale
        shift = (seen - 0.5) / noise**2
        joined = torch.logaddexp(
            torch.full_like(shift, float(np.log1p(-rate)) if rate < 1 else -torch.inf),
            float(np.log(rate)) + shift,
        )
        self.ratios += joined
        if len(self.index):
            self.products += self._products(probed.model)

    def _products(self, model: nn.Module) -> Tensor:
        return directional(
            _fixed(self.subject),
            self.reference,
            point=model.state_dict(),
            direction={n: p.grad for n, p in model.named_parameters() if p.grad is not None},
            index=self.index,
        )


def directional(
    losses: Losses,
    model: nn.Module,
    *,
    point: Mapping[str, Tensor],
    direction: Mapping[str, Tensor],
    index: Tensor,
) -> Tensor:
    """Dot product of each image's gradient with one direction, from two forward passes.

    A central difference; the error is quadratic in the step and does not matter for a score.

    Args:
        losses: as for `train_dp`, the same at every call.
        model: the architecture; its parameters are overwritten.
        point: where, a state dict.
        direction: parameter name -> direction; parameters left out do not move.
        index: the images.

    Returns:
        float64, shape [len(index)].
    """
    length = float(torch.stack([d.norm() for d in direction.values()]).norm()) + 1e-30
    ends = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            model.load_state_dict(dict(point))
            for name, parameter in model.named_parameters():
                if name in direction:
                    parameter.add_(direction[name], alpha=sign * _STRIDE / length)
            ends.append(losses(model, index).double())
    return (ends[0] - ends[1]) * length / (2 * _STRIDE)


def train_with_canaries(
    subject: Subject,
    *,
    settings: DpSgdSettings,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    sampling: KeyStream,
    noise: Noise,
    coins: np.random.Generator,
) -> CanaryRun:
    """Toss the coins, train, score.

    Args:
        subject: what is trained.
        settings: as a hospital would use them.
        optimizer: makes a PyTorch optimizer, whose steps can be watched.
        sampling: as for `train_dp`.
        noise: as for `train_dp`.
        coins: decides which canaries join.

    Returns:
        The scores and what the run is accounted as.

    Raises:
        GradientError: a per-unit gradient would be wrong for this model.
        SettingsError: the subject is malformed.
    """
    n_real = len(subject.units)
    images = torch.arange(n_real, n_real + subject.image_canaries)
    probed = _Probed(subject.model, subject.gradient_canaries).train()
    before = _scored(subject, images)
    watch = _Watch(subject, settings, copy.deepcopy(subject.model), images)
    image_in = coins.random(subject.image_canaries) < 0.5
    probe_in = coins.random(subject.gradient_canaries) < 0.5
    records, units = _members(subject, image_in, probe_in)

    def watched(parameters: object) -> torch.optim.Optimizer:
        inner = optimizer(parameters)  # type: ignore[arg-type]
        inner.register_step_pre_hook(lambda *_: watch.see(probed))
        return inner

    result = train_dp(
        probed,
        losses=_losses(subject, records, settings.clipping_norm),
        units=units,
        settings=settings,
        optimizer=watched,
        sampling=sampling,
        noise=noise,
        public_rows=_public_rows(subject),
    )
    seen = [("gradient", "white-box", watch.ratios, probe_in)]
    if subject.image_canaries:
        fell = before - _scored(subject, images)
        seen.append(("update", "white-box", watch.products, image_in))
        seen.append(("loss", "black-box", fell, image_in))
    scores = tuple(
        Scores(name=name, access=access, values=values.numpy(), included=included)
        for name, access, values, included in seen
    )
    return CanaryRun(scores=scores, event=result.event, steps_taken=result.steps_taken)


def _members(
    subject: Subject, image_in: NDArray[np.bool_], probe_in: NDArray[np.bool_]
) -> tuple[Tensor, Tensor]:
    """The training set: record numbers (images, then coordinates) and the unit of each."""
    n_real = len(subject.units)
    joined = np.concatenate([image_in, probe_in])
    extra = torch.from_numpy(np.flatnonzero(joined)) + n_real
    first = int(subject.units.max()) + 1 if n_real else 0
    records = torch.cat([torch.arange(n_real), extra])
    return records, torch.cat([subject.units, first + torch.arange(len(extra))])


def _losses(subject: Subject, records: Tensor, clipping_norm: float) -> Losses:
    images = len(subject.units) + subject.image_canaries

    def losses(module: nn.Module, index: Tensor) -> Tensor:
        assert isinstance(module, _Probed)  # noqa: S101 - train_dp passes on what it was given
        record = records[index]
        is_image = record < images
        # A gradient canary goes through the model as some image whose loss counts nothing.
        own = subject.losses(module.model, torch.where(is_image, record, 0))
        coordinate = torch.zeros(len(index), subject.gradient_canaries)
        rows = torch.nonzero(~is_image).flatten()
        coordinate[rows, record[rows] - images] = 1.0
        probe = module.probe(coordinate)[:, 0]
        return own * is_image - _STEEP * clipping_norm * probe

    return losses


def _public_rows(subject: Subject) -> Losses:
    """Public rows that use the probe as well."""
    own = subject.public_rows

    def losses(module: nn.Module, index: Tensor) -> Tensor:
        assert isinstance(module, _Probed)  # noqa: S101 - train_dp passes on what it was given
        coordinate = torch.zeros(len(index), subject.gradient_canaries)
        coordinate[torch.arange(len(index)), index % subject.gradient_canaries] = 1.0
        return own(module.model, index) - module.probe(coordinate)[:, 0]

    return losses


def _scored(subject: Subject, images: Tensor) -> Tensor:
    if not len(images):
        return torch.zeros(0, dtype=torch.float64)
    with torch.no_grad():
        return _fixed(subject)(subject.model, images).double()


def _fixed(subject: Subject) -> Callable[[nn.Module, Tensor], Tensor]:
    return subject.fixed_losses or subject.losses

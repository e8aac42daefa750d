"""Small models, units and the naive answer, for tests of DP-SGD."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch import Tensor, nn

from privacy.mechanism.noise import UnsafeNoNoise, UnsafeSeededNoise
from privacy.mechanism.randomness import UnsafeSeededStream
from privacy.training import rehearsal
from privacy.training.dpsgd import DpSgdResult, DpSgdSettings, train_dp

UNITS = torch.tensor([0, 3, 0, 1, 3, 3, 2, 7])


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)


def chosen(**changes: float) -> DpSgdSettings:
    values: dict[str, float] = {
        "sampling_rate": 1.0,
        "noise_multiplier": 1.0,
        "clipping_norm": 0.5,
        "expected_units": 1.0,
        "steps": 1,
    }
    values |= changes
    # a unit is never split, so no unit may be larger than a chunk
    values.setdefault("max_images_per_unit", min(8, values.get("chunk_images", 64)))
    return DpSgdSettings(**values)


def run(
    model: nn.Module,
    losses: Callable[[nn.Module, Tensor], Tensor],
    units: Tensor = UNITS,
    *,
    seed: int | None = None,
    public_rows: Callable[[nn.Module, Tensor], Tensor] | None = None,
    together: bool = True,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = sgd,
    public_loss: Callable[[nn.Module], Tensor] | None = None,
    on_step: Callable[[int], bool | None] | None = None,
    **changes: float,
) -> DpSgdResult:
    """Train: without noise where no seed is given, one by one where no public rows are."""

    def own_rows(network: nn.Module, row: Tensor) -> Tensor:
        return losses(network, row % max(1, len(units)))

    with nullcontext() if public_rows is not None and together else one_by_one():
        return train_dp(
            model,
            losses=losses,
            units=units,
            settings=chosen(**changes),
            optimizer=optimizer,
            sampling=UnsafeSeededStream(seed or 0),
            noise=UnsafeNoNoise() if seed is None else UnsafeSeededNoise(seed),
            public_rows=public_rows or own_rows,
            public_loss=public_loss,
            on_step=on_step,
        )


@contextmanager
def one_by_one() -> Iterator[None]:
    """As for a model that is too large for chunks."""
    with mock.patch.object(rehearsal, "MOST_SHARED", -1):
        yield


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().double() for p in model.parameters()])


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def images_of(count: int = len(UNITS)) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def classify(images: Tensor) -> Callable[[nn.Module, Tensor], Tensor]:
    def losses(model: nn.Module, index: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images[index]), index % 3, reduction="none")

    return losses


def public_images(model: nn.Module, index: Tensor) -> Tensor:
    """Losses of drawn images, for a rehearsal of `cnn`."""
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(11))
    return nn.functional.cross_entropy(model(images[index]), index % 3, reduction="none")


def naive_sum(
    model: nn.Module,
    losses: Callable[[nn.Module, Tensor], Tensor],
    units: Tensor,
    norm: float,
) -> Tensor:
    """Clipped sum by plain autograd, one unit at a time."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for unit in units.unique():
        loss = losses(model, torch.nonzero(units == unit).flatten()).mean()
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradient = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).flatten().double()
                for p, g in zip(parameters, grads, strict=True)
            ]
        )
        total += gradient * min(1.0, norm / float(gradient.norm()))
    return total


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def bare(model: nn.Module) -> bool:
    hooks = any(m._forward_hooks or m._backward_hooks for m in model.modules())
    left = [
        name
        for p in model.parameters()
        for name in ("grad_sample", "summed_grad", "_forward_counter", "_current_grad_sample")
        if hasattr(p, name)
    ]
    grads = any(p.grad is not None for p in model.parameters())
    return not hooks and not left and not grads and not hasattr(model, "autograd_grad_sample_hooks")

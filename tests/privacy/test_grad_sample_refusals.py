"""Per-image gradients: layers and models that are refused, because their rows would be wrong."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from privacy.errors import GradientError
from privacy.training.grad_sample import check_model, check_rows, per_sample
from privacy.training.gradient_check import check_gradients

IMAGES = 4


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm2d(4), "GroupNorm"),
        (nn.BatchNorm2d(4, affine=False), "GroupNorm"),
        (nn.BatchNorm2d(4).requires_grad_(False), "GroupNorm"),
        (nn.SyncBatchNorm(4), "GroupNorm"),
        (nn.InstanceNorm2d(4, track_running_stats=True), "track_running_stats=False"),
        (nn.LSTM(4, 4), "LSTM"),
        (nn.MultiheadAttention(4, 2), "MultiheadAttention"),
        (nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.Linear(4, 4).half(), "half precision"),
        (nn.Embedding(4, 4, padding_idx=0), "padding_idx"),
        (nn.Embedding(4, 4, max_norm=1.0), "max_norm"),
        (nn.Embedding(4, 4, scale_grad_by_freq=True), "scale_grad_by_freq"),
        (nn.Bilinear(4, 4, 4), "takes 2 arguments"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "beside other layers"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), "beside other layers"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers_that_would_be_wrong_are_refused_by_name(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), layer)
    with pytest.raises(GradientError, match=f" 1.*{reason}"):
        check_model(model)
    with pytest.raises(GradientError):
        per_sample(model)


def test_a_trainable_layer_with_a_buffer_is_refused() -> None:
    layer = nn.Linear(4, 4)
    layer.register_buffer("seen", torch.zeros(4))
    with pytest.raises(GradientError, match="buffer"):
        per_sample(layer)


def test_a_fully_frozen_model_is_refused() -> None:
    with pytest.raises(GradientError, match="no trainable parameter"):
        check_model(nn.Linear(2, 2).requires_grad_(False))


class BatchMixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(images)
        return self.second(hidden - hidden.mean(0)).flatten()


class Positions(nn.Module):
    """Looks up as many positions as there are images: shapes agree, rows mean something else."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(IMAGES, 4)

    def forward(self, images: Tensor) -> Tensor:
        return (images @ self.embedding(torch.arange(IMAGES)).T).square().sum(1)


@pytest.mark.parametrize("make", [BatchMixer, Positions])
def test_influence_between_images_is_found(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, images = make(), torch.randn(IMAGES, 4)
    with pytest.raises(GradientError):
        check_gradients(
            model,
            losses=lambda m, index: m(images[index]).square(),
            units=list(torch.arange(IMAGES).split(1)),
        )


def test_rows_that_are_not_images_are_refused() -> None:
    model = Positions()
    per_sample(model)
    model(torch.randn(IMAGES + 1, 4)).sum().backward()
    with pytest.raises(
        GradientError,
        match=r"4 .* embedding\.weight from 5 images",
    ):
        check_rows(model, n_images=IMAGES + 1)


class Bypass(nn.Module):
    """Uses a layer's weight without calling the layer: the hooks see nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return (self.body(images) @ self.head.weight).sum(1)


def test_parameters_used_behind_the_layer_are_refused() -> None:
    model = Bypass()
    per_sample(model)
    model(torch.randn(IMAGES, 4)).sum().backward()
    with pytest.raises(GradientError, match=r"no per-sample gradient for head\.weight"):
        check_rows(model, n_images=IMAGES)

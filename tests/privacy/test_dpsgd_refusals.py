"""DP-SGD: what is refused, what a watcher may do, and that nothing is left on the model."""

import math

import pytest
import torch
from torch import Tensor, nn

from privacy.accounting.events import poisson_gaussian
from privacy.errors import EventError, GradientError, SettingsError
from privacy.training.gradient_check import check_gradients
from tests.privacy.dpsgdkit import (
    bare,
    chosen,
    classify,
    cnn,
    flat,
    images_of,
    run,
    sgd,
)


def test_a_parameter_that_no_loss_uses_is_refused() -> None:
    model = cnn()
    model.register_module("unused", nn.Linear(2, 2))

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        out = images_of()[index]
        for layer in list(model)[:5]:
            out = layer(out)
        return out.sum(1)

    with pytest.raises(GradientError, match=r"no per-sample gradient for unused\.weight"):
        run(model, losses)
    assert bare(model)


def test_afterwards_the_model_is_bare_in_train_mode_and_can_train_again() -> None:
    model = cnn()
    run(model, classify(images_of()), public_loss=lambda m: m(images_of()).sum(), steps=2)
    assert bare(model)
    assert model.training
    run(model, classify(images_of()))


def test_an_error_on_the_way_leaves_the_model_bare() -> None:
    model = cnn()

    def stop(step: int) -> None:
        if step == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        run(model, classify(images_of()), steps=5, on_step=stop)
    assert bare(model)


def test_on_step_may_evaluate_the_model() -> None:
    model, losses = cnn(), classify(images_of())

    def evaluate(step: int) -> None:
        model.eval()
        with torch.no_grad():
            model(images_of())
        model.train()

    plain = cnn()
    run(plain, losses, steps=3)
    run(model, losses, steps=3, on_step=evaluate)
    assert torch.equal(flat(plain), flat(model))


def test_on_step_stops_training_and_only_steps_taken_are_stated() -> None:
    result = run(cnn(), classify(images_of()), steps=9, on_step=lambda step: step == 2)
    event = poisson_gaussian(sampling_rate=1.0, noise_multiplier=1.0, steps=2)
    assert (result.steps_taken, result.event) == (2, event)


def test_a_model_in_evaluation_mode_is_refused() -> None:
    with pytest.raises(GradientError, match=r"model\.train"):
        run(cnn().eval(), classify(images_of()))


def test_adam_steps_on_the_noised_gradient() -> None:
    model = cnn()
    before = flat(model)
    run(model, classify(images_of()), optimizer=lambda p: torch.optim.Adam(p, lr=0.01), steps=2)
    assert 0 < float((flat(model) - before).abs().max()) <= 0.0201


class Counting(nn.Module):
    """Keeps a statistic of what it sees, in a layer without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.total += images.detach().sum()
        return images


def test_a_buffer_that_absorbs_data_is_refused() -> None:
    model = nn.Sequential(Counting(), cnn())
    with pytest.raises(GradientError, match=r"buffers changed.*0\.total"):
        run(model, classify(images_of()))
    assert bare(model)


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 4), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(images.flatten(1))
        return self.second(hidden - hidden.mean(0))


def test_the_gradient_check_passes_a_model_and_refuses_one_that_mixes_images() -> None:
    units = [torch.tensor([0, 2]), torch.tensor([3]), torch.tensor([1, 4, 5])]
    losses = classify(images_of())
    assert check_gradients(cnn().train(), losses=losses, units=units) < 1e-5
    mixer = Mixer().train()
    with pytest.raises(GradientError, match="mixes images"):
        check_gradients(mixer, losses=losses, units=units)
    assert bare(mixer)


def test_batch_norm_is_refused() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), cnn())
    with pytest.raises(GradientError, match="GroupNorm"):
        run(model, classify(images_of()))


def test_a_mean_loss_is_refused() -> None:
    with pytest.raises(GradientError, match="one differentiable entry"):
        run(cnn(), lambda model, index: classify(images_of())(model, index).mean())


class Broadcast(nn.Module):
    """Looks up one position for all images: one row, however many images."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Embedding(1, 3)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3] + self.position(torch.zeros(1, dtype=torch.int64))


def test_a_layer_without_a_row_for_each_image_is_refused_in_the_rehearsal() -> None:
    with pytest.raises(GradientError, match="from 8 images"):
        run(Broadcast(), classify(images_of()), public_rows=classify(images_of()))


@pytest.mark.parametrize(
    "units",
    [
        torch.tensor([0.0, 1.0]),
        torch.tensor([[0, 1]]),
        torch.tensor([0, -1]),
        torch.tensor([0, 1]).int(),
    ],
)
def test_unusable_units_are_refused(units: Tensor) -> None:
    with pytest.raises(SettingsError, match="units must be"):
        run(cnn(), classify(images_of()), units)


def test_an_optimizer_of_other_parameters_is_refused() -> None:
    with pytest.raises(GradientError, match="exactly the parameters"):
        run(cnn(), classify(images_of()), optimizer=lambda parameters: sgd(list(parameters)[:2]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("sampling_rate", "noise_multiplier", "clipping_norm", "expected_units")
        for value in (0.0, -1.0, math.nan, math.inf, True, "1")
    ]
    + [("steps", value) for value in (0, -1, 1.0, True, "1")]
    + [(name, value) for name in ("chunk_images", "max_images_per_unit") for value in (0, -1)]
    + [("sampling_rate", 1.01), ("max_images_per_unit", 65)],
)
def test_unusable_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises((SettingsError, EventError)):
        chosen(**{name: value})

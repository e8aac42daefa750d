"""DP-SGD over units: the clipped sum, the noise, the sampling, public losses, and no company."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from privacy.accounting.events import poisson_gaussian
from privacy.mechanism.grid import Grid
from privacy.training.dpsgd import Losses
from tests.privacy.dpsgdkit import (
    UNITS,
    classify,
    cnn,
    flat,
    images_of,
    naive_sum,
    public_images,
    relative,
    run,
)

EXACT = 5e-4
"""Contributions are shrunk by 2**-12 before they go on the grid."""


@pytest.mark.parametrize("norm", [0.05, 100.0])
@pytest.mark.parametrize("chunk_images", [3, 4, 64])
@pytest.mark.parametrize("public_rows", [None, public_images])
def test_a_step_is_the_naive_clipped_sum(
    norm: float, chunk_images: int, public_rows: Losses | None
) -> None:
    model, losses = cnn(), classify(images_of())
    expected, before = naive_sum(model, losses, UNITS, norm), flat(model)
    run(
        model,
        losses,
        clipping_norm=norm,
        chunk_images=chunk_images,
        expected_units=1.0,
        public_rows=public_rows,
    )
    assert relative(before - flat(model), expected) < EXACT


def test_a_class_conditional_unet_step_is_the_naive_clipped_sum() -> None:
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=3,
    )
    images = images_of()

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        out = model(images[index], index * 100, class_labels=index % 3).sample
        return (out - images[index]).square().mean((1, 2, 3))

    model.train()
    expected, before = naive_sum(model, losses, UNITS, 0.05), flat(model)
    run(model, losses, clipping_norm=0.05, chunk_images=3)
    assert relative(before - flat(model), expected) < 1e-3  # weights are float32


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 13))
def test_any_grouping_and_chunking_gives_the_naive_sum(groups: list[int], chunk: int) -> None:
    units = torch.tensor(groups)
    model, losses = cnn(), classify(images_of(len(groups)))
    expected, before = naive_sum(model, losses, units, 0.3), flat(model)
    largest = max(groups.count(unit) for unit in groups)
    run(
        model,
        losses,
        units,
        clipping_norm=0.3,
        chunk_images=max(chunk, largest),
        max_images_per_unit=largest,
    )
    assert relative(before - flat(model), expected) < EXACT


def test_one_unit_moves_the_sum_by_the_clipping_norm_at_most() -> None:
    """Add or remove one unit, however many images and however large its gradients."""
    images = images_of()
    images[UNITS == 3] *= 1e4
    moved = []
    for units, kept in ((UNITS, images), (UNITS[UNITS != 3], images[UNITS != 3])):
        model = cnn()
        before = flat(model)
        labels = torch.arange(len(images))[: len(kept)] * 0

        def losses(
            model: nn.Module, index: Tensor, kept: Tensor = kept, labels: Tensor = labels
        ) -> Tensor:
            return 1e4 * nn.functional.cross_entropy(
                model(kept[index]), labels[index], reduction="none"
            )

        run(model, losses, units, clipping_norm=0.25)
        moved.append(before - flat(model))
    assert float((moved[0] - moved[1]).norm()) == pytest.approx(0.25, rel=1e-3)


class Wide(nn.Module):
    """Many parameters whose gradient is zero: what moves is noise."""

    def __init__(self, width: int = 40_000) -> None:
        super().__init__()
        self.weights = nn.Linear(width, 1)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.weights(images).flatten()


def no_signal(model: nn.Module, index: Tensor) -> Tensor:
    return model(torch.zeros(len(index), 40_000)) * 0.0


@pytest.mark.parametrize("sampling_rate", [1.0, 1e-12])
def test_noise_has_the_stated_deviation_also_for_empty_samples(sampling_rate: float) -> None:
    model = Wide()
    run(
        model,
        no_signal,
        sampling_rate=sampling_rate,
        noise_multiplier=1.5,
        clipping_norm=0.2,
        expected_units=3.0,
        steps=4,
        seed=0,
    )
    noise, deviation = flat(model), 1.5 * 0.2 / 3.0 * math.sqrt(4)
    n = len(noise)
    assert abs(float(noise.mean())) < 5 * deviation / math.sqrt(n)
    assert abs(float(noise.std()) / deviation - 1) < 5 / math.sqrt(2 * n)
    assert 0.9545 - 0.007 < float((noise.abs() < 2 * deviation).double().mean()) < 0.9545 + 0.007


def test_an_empty_data_set_takes_noised_steps() -> None:
    model = Wide()
    result = run(model, no_signal, torch.zeros(0, dtype=torch.int64), seed=1, steps=2)
    assert result.steps_taken == 2
    assert (flat(model) != 0).all()


def test_steps_and_parameters_get_fresh_noise() -> None:
    seen: list[Tensor] = []
    model = Wide()
    run(model, no_signal, seed=2, steps=2, on_step=lambda _: seen.append(flat(model)))
    first, second = seen[0], seen[1] - seen[0]
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03
    half = len(first) // 2
    assert abs(float(torch.corrcoef(first[: 2 * half].view(2, half))[0, 1])) < 0.04


def test_noise_comes_from_the_generator_given() -> None:
    models = [Wide(), Wide(), Wide()]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        run(model, no_signal, noise_multiplier=1.0, seed=seed)
    assert torch.equal(flat(models[0]), flat(models[1]))
    assert not torch.equal(flat(models[0]), flat(models[2]))


def test_units_join_independently_at_the_sampling_rate() -> None:
    joined: list[Tensor] = []

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        joined.append(index)
        return model(torch.zeros(len(index), 1))

    ends: list[int] = []
    steps, n, rate = 200, 100, 0.13
    run(
        Wide(1),
        losses,
        torch.arange(n),
        sampling_rate=rate,
        steps=steps,
        on_step=lambda _: ends.append(len(joined)),
    )
    sizes = torch.tensor([0, *ends]).diff().double()  # one unit a call, one image a unit
    deviation = math.sqrt(n * rate * (1 - rate))
    assert abs(float(sizes.mean()) - n * rate) < 5 * deviation / math.sqrt(steps)
    assert abs(float(sizes.std()) / deviation - 1) < 5 / math.sqrt(2 * steps)
    counts = torch.bincount(torch.cat(joined), minlength=n).double()
    spread = math.sqrt(steps * rate * (1 - rate))
    assert float(((counts - steps * rate) / spread).abs().max()) < 5


def test_a_unit_brings_a_limited_random_choice_of_its_images_and_is_never_split() -> None:
    calls: list[Tensor] = []

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        calls.append(index)
        return model(torch.zeros(len(index), 1))

    units = torch.tensor([0] * 30 + [1] * 2 + [2] * 3)
    run(Wide(1), losses, units, steps=300, max_images_per_unit=4, chunk_images=6)
    seen = torch.zeros(35)
    for index in calls:
        owners = units[index]
        for unit, size in ((0, 4), (1, 2), (2, 3)):
            assert int((owners == unit).sum()) in {0, size}
        assert len(index) == len(index.unique())
        assert len(index) <= 6
        seen += torch.bincount(index, minlength=35)
    assert (seen[30:] == 300).all()
    assert seen[:30].min() > 15  # each of the 30 is due 40 times
    assert seen[:30].max() < 75


def test_the_sum_is_divided_by_expected_units_and_by_nothing_else() -> None:
    moved = []
    for expected_units in (1.0, 8.0):
        model = cnn()
        before = flat(model)
        run(model, classify(images_of()), expected_units=expected_units, seed=1)
        moved.append(before - flat(model))
    assert relative(moved[1] * 8.0, moved[0]) < EXACT


def proximal(anchor: list[Tensor]) -> Callable[[nn.Module], Tensor]:
    def loss(model: nn.Module) -> Tensor:
        pairs = zip(model.parameters(), anchor, strict=True)
        return 0.5 * sum(((p - a).square().sum() for p, a in pairs), torch.zeros(()))

    return loss


def test_the_public_gradient_is_added_exactly_and_without_noise() -> None:
    anchor = [torch.randn_like(p) for p in cnn().parameters()]
    moved = []
    for public_loss in (None, proximal(anchor)):
        model = cnn()
        before = flat(model)
        run(model, classify(images_of()), seed=1, public_loss=public_loss)
        moved.append(before - flat(model))
    expected = flat(cnn()) - torch.cat([a.flatten().double() for a in anchor])
    assert relative(moved[1] - moved[0], expected) < 1e-5


def test_a_public_loss_through_the_model_is_exact_and_never_clipped() -> None:
    images, public = classify(images_of()), images_of() + 1.0

    def public_loss(model: nn.Module) -> Tensor:
        return 50.0 * model(public).square().mean()

    model = cnn()
    parameters = list(model.parameters())
    grads = torch.autograd.grad(public_loss(model), parameters)
    expected = naive_sum(model, images, UNITS, 0.5)
    expected += torch.cat([g.flatten().double() for g in grads])
    before = flat(model)
    run(model, images, public_loss=public_loss)
    assert relative(before - flat(model), expected) < EXACT


def test_a_public_loss_may_leave_parameters_out() -> None:
    model = cnn()
    run(model, classify(images_of()), public_loss=lambda m: m[4].weight.square().sum())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("chunk_images", [3, 64])
def test_a_broken_unit_counts_nothing_and_harms_nobody(value: float, chunk_images: int) -> None:
    images = images_of()
    images[4] = value  # one of the three images of unit 3
    model = cnn()
    keep = UNITS != 3
    clean = {int(i): n for n, i in enumerate(torch.nonzero(keep).flatten())}
    assert len(clean) == 5

    def kept(model: nn.Module, index: Tensor) -> Tensor:
        original = torch.nonzero(keep).flatten()[index]
        return classify(images)(model, original)

    expected, before = naive_sum(model, kept, UNITS[keep], 0.5), flat(model)
    run(model, classify(images), chunk_images=chunk_images)
    assert relative(before - flat(model), expected) < EXACT


def test_gradients_too_large_for_their_norm_stay_within_the_clipping_norm() -> None:
    def losses(model: nn.Module, index: Tensor) -> Tensor:
        return model(torch.ones(len(index), 3)) * 1e30

    model = Wide(3)
    run(model, losses)
    assert flat(model).isfinite().all()
    assert float(flat(model).norm()) <= 0.5 * len(UNITS.unique()) + 1e-5


def test_frozen_parameters_stay_and_do_not_count_for_the_norm() -> None:
    model = cnn()
    model[0].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    frozen = [p.clone() for p in (*model[0].parameters(), model[4].bias)]
    losses = classify(images_of())
    expected = naive_sum(model, losses, UNITS, 0.1)
    trainable = [p for p in model.parameters() if p.requires_grad]
    before = torch.cat([p.detach().flatten().double() for p in trainable])
    run(model, losses, clipping_norm=0.1, public_loss=lambda m: 0.0 * m[4].weight.sum())
    after = torch.cat([p.detach().flatten().double() for p in trainable])
    assert relative(before - after, expected) < EXACT
    now = (*model[0].parameters(), model[4].bias)
    assert all(torch.equal(a, b) for a, b in zip(frozen, now, strict=True))


def test_the_result_states_the_steps_really_taken() -> None:
    seen: list[int] = []
    result = run(
        cnn(),
        classify(images_of()),
        steps=3,
        sampling_rate=0.5,
        noise_multiplier=1.25,
        on_step=seen.append,
    )
    event = poisson_gaussian(sampling_rate=0.5, noise_multiplier=1.25, steps=3)
    assert (result.steps_taken, result.event) == (3, event)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("public_rows", [None, public_images])
def test_what_a_unit_adds_does_not_depend_on_who_is_there(
    public_rows: Losses | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integer sums over parts of the units add up to the sum over all, to the last step."""
    images, labels, units = images_of(40), torch.arange(40) % 3, torch.arange(40) // 2
    sums: list[np.ndarray] = []
    monkeypatch.setattr(
        Grid, "release", lambda _grid, total, _noise: sums.append(total.copy()) or total * 0.0
    )

    def total(kept: Tensor) -> np.ndarray:
        rows = torch.nonzero(torch.isin(units, kept)).flatten()
        sums.clear()
        run(
            cnn(),
            lambda model, index: nn.functional.cross_entropy(
                model(images[rows[index]]), labels[rows[index]], reduction="none"
            ),
            units[rows],
            public_rows=public_rows,
            chunk_images=8,
            max_images_per_unit=2,
        )
        return np.concatenate([part.ravel() for part in sums])

    whole, draws = total(torch.arange(20)), torch.Generator().manual_seed(1)
    for size in (1, 7, 19):
        order = torch.randperm(20, generator=draws)
        assert np.array_equal(whole, total(order[:size]) + total(order[size:]))

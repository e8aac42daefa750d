"""DP-SGD over units: the clipped sum, the noise, the sampling, and what must never happen."""

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from privacy.dpsgd import DpSgdResult, DpSgdSettings, train_dp
from privacy.errors import EventError, GradientError, SettingsError
from privacy.events import poisson_gaussian
from privacy.gradient_check import check_gradients

TINY_NOISE = 1e-9
UNITS = torch.tensor([0, 3, 0, 1, 3, 3, 2, 7])


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)


def chosen(**changes: float) -> DpSgdSettings:
    values: dict[str, float] = {
        "sampling_rate": 1.0,
        "noise_multiplier": TINY_NOISE,
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
    seed: int = 0,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = sgd,
    public_loss: Callable[[nn.Module], Tensor] | None = None,
    on_step: Callable[[int], bool | None] | None = None,
    **changes: float,
) -> DpSgdResult:
    return train_dp(
        model,
        losses=losses,
        units=units,
        settings=chosen(**changes),
        optimizer=optimizer,
        sampling=torch.Generator().manual_seed(seed),
        noise=torch.Generator().manual_seed(seed + 1),
        public_loss=public_loss,
        on_step=on_step,
    )


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


@pytest.mark.parametrize("norm", [0.05, 100.0])
@pytest.mark.parametrize("chunk_images", [3, 4, 64])
def test_a_step_is_the_naive_clipped_sum(norm: float, chunk_images: int) -> None:
    model, losses = cnn(), classify(images_of())
    expected, before = naive_sum(model, losses, UNITS, norm), flat(model)
    run(model, losses, clipping_norm=norm, chunk_images=chunk_images)
    assert relative(before - flat(model), expected) < 1e-4


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
    assert relative(before - flat(model), expected) < 1e-4


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
    )
    noise, deviation = flat(model), 1.5 * 0.2 / 3.0 * math.sqrt(4)
    n = len(noise)
    assert abs(float(noise.mean())) < 5 * deviation / math.sqrt(n)
    assert abs(float(noise.std()) / deviation - 1) < 5 / math.sqrt(2 * n)
    assert 0.9545 - 0.007 < float((noise.abs() < 2 * deviation).double().mean()) < 0.9545 + 0.007


def test_an_empty_data_set_takes_noised_steps() -> None:
    model = Wide()
    result = run(model, no_signal, torch.zeros(0, dtype=torch.int64), noise_multiplier=1.0, steps=2)
    assert result.steps_taken == 2
    assert (flat(model) != 0).all()


def test_steps_and_parameters_get_fresh_noise() -> None:
    seen: list[Tensor] = []
    model = Wide()
    run(model, no_signal, noise_multiplier=1.0, steps=2, on_step=lambda _: seen.append(flat(model)))
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


def test_noise_is_a_sum_of_four_draws_against_floating_point_attacks() -> None:
    model = nn.Sequential(nn.Linear(50, 1, bias=False), nn.Flatten(0))
    nn.init.zeros_(model[0].weight)
    run(model, lambda m, i: 0.0 * m(torch.zeros(len(i), 50)), noise_multiplier=2.0, seed=7)
    generator = torch.Generator().manual_seed(8)
    torch.normal(0.0, 1.0, (1, 1), generator=generator)
    draws = [torch.normal(0.0, 1.0, (1, 50), generator=generator) for _ in range(4)]
    assert torch.allclose(-model[0].weight, sum(draws) / 2)


def test_units_join_independently_at_the_sampling_rate() -> None:
    joined: list[Tensor] = []

    def losses(model: nn.Module, index: Tensor) -> Tensor:
        joined.append(index)
        return model(torch.zeros(len(index), 1))

    steps, n, rate = 200, 100, 0.13
    run(Wide(1), losses, torch.arange(n), sampling_rate=rate, steps=steps, chunk_images=1000)
    sizes = torch.tensor([len(index) for index in joined]).double()
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
        run(model, classify(images_of()), expected_units=expected_units, noise_multiplier=1.0)
        moved.append(before - flat(model))
    assert relative(moved[1] * 8.0, moved[0]) < 1e-4


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
        run(model, classify(images_of()), noise_multiplier=1.0, public_loss=public_loss)
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
    assert relative(before - flat(model), expected) < 1e-4


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
    assert relative(before - flat(model), expected) < 1e-4


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
    assert relative(before - after, expected) < 1e-4
    now = (*model[0].parameters(), model[4].bias)
    assert all(torch.equal(a, b) for a, b in zip(frozen, now, strict=True))


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
    event = poisson_gaussian(sampling_rate=1.0, noise_multiplier=TINY_NOISE, steps=2)
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


def test_a_layer_without_a_row_for_each_image_is_refused() -> None:
    with pytest.raises(GradientError, match="from 8 images"):
        run(Broadcast(), classify(images_of()))


def test_a_layer_that_loses_rows_later_is_refused() -> None:
    """The first chunk has one image, so that its shapes agree by chance."""
    units = torch.tensor([0, 1, 1])
    with pytest.raises(GradientError, match="from 2 images"):
        run(Broadcast(), classify(images_of(3)), units, chunk_images=2)


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

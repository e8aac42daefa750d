from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.errors import GeneratorError
from models.generators.diffusion import build_generator, diffusion_losses, sample_images
from models.generators.settings import GeneratorSettings

TINY = GeneratorSettings(image_size=8, channels=(8, 8), groups=4, timesteps=50)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_generator(TINY, classes=3)


def _batch(count: int = 4) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return x, torch.arange(count) % 3


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_default_generator_is_small_with_neither_attention_nor_batch_statistics() -> None:
    default = build_generator(GeneratorSettings(), classes=4)
    assert 100_000 < sum(p.numel() for p in default.parameters()) < 600_000
    names = {type(module).__name__ for module in default.modules()}
    assert "Attention" not in names
    assert not any("BatchNorm" in name for name in names)


def test_a_loss_is_one_number_an_image_and_depends_on_that_image_only(model: nn.Module) -> None:
    x, y = _batch()
    losses = diffusion_losses(model, x, y, generator=_generator())
    assert losses.shape == (4,)
    assert losses.dtype == torch.float32
    changed = x.clone()
    changed[0] = 0
    others = diffusion_losses(model, changed, y, generator=_generator())
    assert losses[0] != others[0]
    assert torch.allclose(losses[1:], others[1:], atol=1e-6)


def test_the_class_label_reaches_the_model(model: nn.Module) -> None:
    x, y = _batch()
    a = diffusion_losses(model, x, y, generator=_generator())
    b = diffusion_losses(model, x, (y + 1) % 3, generator=_generator())
    assert not torch.equal(a, b)


def test_several_draws_are_averaged_per_image(model: nn.Module) -> None:
    x, y = _batch()
    generator = _generator()
    singles = [diffusion_losses(model, x, y, generator=generator) for _ in range(3)]
    together = diffusion_losses(model, x, y, generator=_generator(), draws=3)
    assert torch.allclose(together, torch.stack(singles).mean(0), atol=1e-6)


def test_the_loss_of_a_model_that_predicts_nothing_is_the_noise_s_variance() -> None:
    class Nothing(nn.Module):
        config = type("Config", (), {"num_train_timesteps": 50, "num_class_embeds": 1})

        def forward(self, x: Tensor, t: Tensor, **_: object) -> tuple[Tensor]:
            assert t.min() >= 0
            assert t.max() < 50
            return (torch.zeros_like(x),)

    x = torch.zeros(2000, 1, 8, 8)
    losses = diffusion_losses(
        Nothing(), x, torch.zeros(2000, dtype=torch.int64), generator=_generator()
    )
    assert losses.mean().item() == pytest.approx(1.0, abs=0.02)


def test_gradients_reach_every_weight_through_contiguous_activations(model: nn.Module) -> None:
    """Opacus is silently wrong for channels-last activations, so there must be none."""
    seen: list[bool] = []

    def look(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(inputs[0].is_contiguous() and output.is_contiguous())

    hooks = [m.register_forward_hook(look) for m in model.modules() if isinstance(m, nn.Conv2d)]
    x, y = _batch()
    diffusion_losses(model, x, y, generator=_generator()).sum().backward()
    for hook in hooks:
        hook.remove()
    assert seen
    assert all(seen)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    model.zero_grad(set_to_none=True)


def test_sampling_is_determined_by_its_generator_and_leaves_the_model_as_it_was(
    model: nn.Module,
) -> None:
    y = torch.tensor([0, 1, 2])
    model.train()
    torch.manual_seed(1)
    untouched = torch.rand(2)
    torch.manual_seed(1)
    first = sample_images(model, TINY, labels=y, steps=4, generator=_generator())
    assert torch.equal(torch.rand(2), untouched)
    assert first.shape == (3, 8, 8)
    assert first.dtype == np.uint8
    assert model.training
    again = sample_images(model, TINY, labels=y, steps=4, generator=_generator())
    other = sample_images(model, TINY, labels=y, steps=4, generator=_generator(1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_more_labels_than_fit_one_batch_and_none_at_all(model: nn.Module) -> None:
    y = torch.zeros(70, dtype=torch.int64)
    assert sample_images(model, TINY, labels=y, steps=1, generator=_generator()).shape == (70, 8, 8)
    none = sample_images(model, TINY, labels=y[:0], steps=1, generator=_generator())
    assert none.shape == (0, 8, 8)


def test_a_trained_generator_draws_the_classes_it_was_shown() -> None:
    """Class 0 is black, class 1 is white: the brightness of samples must follow the label."""
    settings = GeneratorSettings(image_size=8, channels=(16, 16), groups=4, timesteps=100)
    torch.manual_seed(0)
    model = build_generator(settings, classes=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    y = torch.arange(32) % 2
    x = (y.float() * 1.6 - 0.8)[:, None, None, None].expand(32, 1, 8, 8).contiguous()
    generator = _generator()
    for _ in range(100):
        optimizer.zero_grad()
        diffusion_losses(model, x, y, generator=generator).mean().backward()
        optimizer.step()
    images = sample_images(
        model, settings, labels=torch.tensor([0] * 4 + [1] * 4), steps=20, generator=generator
    )
    dark, light = images[:4].mean(), images[4:].mean()
    assert dark < 90
    assert light > 165


@pytest.mark.parametrize(
    ("images", "labels", "draws", "say"),
    [
        (torch.zeros(2, 8, 8), torch.zeros(2, dtype=torch.int64), 1, "images"),
        (
            torch.zeros(2, 1, 8, 8, dtype=torch.float64),
            torch.zeros(2, dtype=torch.int64),
            1,
            "images",
        ),
        (torch.zeros(2, 1, 8, 8), torch.zeros(3, dtype=torch.int64), 1, "labels"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2), 1, "labels"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([0, 3]), 1, "0 to 2"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([-1, 0]), 1, "-1 to 0"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), 0, "draws"),
    ],
)
def test_wrong_batches_are_refused(
    model: nn.Module, images: Tensor, labels: Tensor, draws: int, say: str
) -> None:
    with pytest.raises(GeneratorError, match=say):
        diffusion_losses(model, images, labels, generator=_generator(), draws=draws)


@pytest.mark.parametrize(
    ("labels", "steps"), [(torch.zeros(2), 3), (torch.arange(2), 0), (torch.arange(2), 51)]
)
def test_wrong_sampling_is_refused(model: nn.Module, labels: Tensor, steps: int) -> None:
    with pytest.raises(GeneratorError):
        sample_images(model, TINY, labels=labels, steps=steps, generator=_generator())


@pytest.mark.parametrize("classes", [0, 257])
def test_numbers_of_classes_out_of_range_are_refused(classes: int) -> None:
    with pytest.raises(GeneratorError, match="classes"):
        build_generator(TINY, classes=classes)


def test_a_diverged_generator_is_named_as_such() -> None:
    torch.manual_seed(0)
    broken = build_generator(TINY, classes=2)
    with torch.no_grad():
        broken.conv_out.bias.fill_(float("nan"))
    with pytest.raises(GeneratorError, match="NaN"):
        sample_images(broken, TINY, labels=torch.arange(2), steps=2, generator=_generator())

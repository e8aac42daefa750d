"""Per-image gradients against ordinary autograd, one image at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from torch import Tensor, nn
from torchvision.models import resnet18

from privacy.errors import GradientError
from privacy.training.grad_sample import check_model, check_rows, check_sums, per_sample

IMAGES = 4
Forward = Callable[[nn.Module, Tensor], Tensor]


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding="same", groups=2, bias=False),
        nn.GroupNorm(4, 8),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


def resnet() -> nn.Module:
    model = resnet18(num_classes=4, norm_layer=lambda channels: nn.GroupNorm(8, channels))
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return model


def unet(*, attention: bool) -> nn.Module:
    down, up = ("AttnDownBlock2D", "AttnUpBlock2D") if attention else ("DownBlock2D", "UpBlock2D")
    return UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", down),
        up_block_types=(up, "UpBlock2D"),
        num_class_embeds=5,
    )


def classify(model: nn.Module, images: Tensor) -> Tensor:
    return nn.functional.cross_entropy(
        model(images), torch.arange(len(images)) % 4, reduction="none"
    )


def denoise(model: nn.Module, images: Tensor) -> Tensor:
    times = torch.tensor([3, 500, 20, 999])[: len(images)]
    labels = torch.tensor([0, 3, 3, 4])[: len(images)]
    return (model(images, times, class_labels=labels).sample - images).square().mean((1, 2, 3))


CASES: dict[str, tuple[Callable[[], nn.Module], Forward, int]] = {
    "cnn": (small_cnn, classify, 16),
    "resnet18": (resnet, classify, 32),
    "unet": (lambda: unet(attention=False), denoise, 16),
    "unet with attention": (lambda: unet(attention=True), denoise, 16),
}


def shaken(make: Callable[[], nn.Module]) -> nn.Module:
    """A model whose zero-initialised parameters are not zero."""
    torch.manual_seed(0)
    model = make().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def naive(model: nn.Module, forward: Forward, images: Tensor) -> list[list[Tensor]]:
    """Gradients image by image; losses of a chunk of which the other images are blanked out."""
    rows = []
    for i in range(len(images)):
        loss = forward(model, images)[i]
        rows.append(list(torch.autograd.grad(loss, list(model.parameters()))))
    return rows


def worst_error(model: nn.Module, expected: list[list[Tensor]]) -> float:
    """Largest relative L2 error of a whole per-image gradient."""
    errors = []
    for i, row in enumerate(expected):
        got = [p.grad_sample[i] for p in model.parameters()]
        error = torch.cat([(g - e).flatten() for g, e in zip(got, row, strict=True)]).norm()
        errors.append(error / torch.cat([e.flatten() for e in row]).norm())
    return float(torch.stack(errors).max())


def images_of(size: int, layout: torch.memory_format) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(IMAGES, 1, size, size, generator=generator).to(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", CASES)
def test_rows_equal_the_one_at_a_time_answer(case: str, layout: torch.memory_format) -> None:
    make, forward, size = CASES[case]
    model = shaken(make).to(memory_format=layout)
    images = images_of(size, layout)
    expected = naive(model, forward, images)
    wrapped = per_sample(model)
    forward(model, images).sum().backward()
    check_rows(model, n_images=IMAGES)
    check_sums(model)
    error = worst_error(model, expected)
    print(f"{case} {layout}: {error:.1e}")
    assert error < 2e-5
    wrapped.unwrap()


class ChannelsLastConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.contiguous(memory_format=torch.channels_last)).flatten(1).square()


def channels_last_error(wrap: Callable[[nn.Module], GradSampleModule]) -> float:
    def forward(model: nn.Module, images: Tensor) -> Tensor:
        return model(images).sum(1)

    torch.manual_seed(0)
    model = ChannelsLastConv()
    images = torch.randn(IMAGES, 3, 8, 8)
    expected = naive(model, forward, images)
    wrap(model)
    forward(model, images).sum().backward()
    return worst_error(model, expected)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_stock_opacus_is_wrong_for_channels_last_and_ours_is_right() -> None:
    # if the first half fails, Opacus has been repaired and ours can go
    assert channels_last_error(lambda m: GradSampleModule(m, loss_reduction="sum")) > 0.1
    assert channels_last_error(per_sample) < 1e-5


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_check_sums_finds_stock_opacus_wrong() -> None:
    torch.manual_seed(0)
    model = ChannelsLastConv()
    GradSampleModule(model, loss_reduction="sum")
    model(torch.randn(IMAGES, 3, 8, 8)).sum().backward()
    with pytest.raises(GradientError, match=r"conv\.weight do not add up"):
        check_sums(model)


def geometry_of(
    kernel: tuple[int, int], dilation: int, stride: int, padding_mode: str
) -> dict[str, Any]:
    """Odd kernels, padded so that something comes out; stride 0 stands for padding="same"."""
    fixed: dict[str, Any] = {
        "kernel_size": kernel,
        "dilation": dilation,
        "padding_mode": padding_mode,
    }
    if stride == 0:
        return fixed | {"padding": "same"}
    # wider padding than this makes PyTorch 2.13 itself crash for channels-last batches
    reach = tuple(dilation * (size - 1) // 2 for size in kernel)
    return fixed | {"padding": reach, "stride": stride}


GEOMETRIES = st.builds(
    geometry_of,
    kernel=st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 3)]),
    dilation=st.integers(1, 2),
    stride=st.integers(0, 2),
    padding_mode=st.sampled_from(["zeros", "replicate"]),
)


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(
        st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 5), st.integers(1, 5)
    ),
    groups=st.sampled_from([1, 2]),
    geometry=GEOMETRIES,
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_any_convolution_is_exact_in_any_layout(
    shape: tuple[int, int, int, int],
    groups: int,
    geometry: dict[str, Any],
    layout: torch.memory_format,
) -> None:
    torch.manual_seed(0)
    images, channels, height, width = shape
    layer = nn.Conv2d(channels * groups, 2 * groups, groups=groups, **geometry)
    layer = layer.to(memory_format=layout)
    batch = torch.randn(images, channels * groups, height, width).to(memory_format=layout)

    def forward(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().sum((1, 2, 3))

    expected = naive(layer, forward, batch)
    wrapped = per_sample(layer)
    forward(layer, batch).sum().backward()
    assert worst_error(layer, expected) < 1e-5
    wrapped.unwrap()


def test_the_registry_of_opacus_is_left_alone() -> None:
    before = dict(GradSampleModule.GRAD_SAMPLERS)
    per_sample(small_cnn())
    assert before == GradSampleModule.GRAD_SAMPLERS


def test_layers_that_are_fine_pass() -> None:
    check_model(nn.Sequential(nn.LSTM(4, 4).requires_grad_(False), nn.Linear(4, 4)))
    check_model(nn.Sequential(nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(4)))
    for make, _, _ in CASES.values():
        check_model(make().train())


def test_wrapping_twice_is_refused() -> None:
    model = small_cnn()
    per_sample(model)
    with pytest.raises(GradientError, match="twice"):
        per_sample(model)


def test_release_leaves_no_trace() -> None:
    model = shaken(small_cnn)
    attributes = [set(vars(m)) for m in model.modules()]
    parameters = [set(vars(p)) for p in model.parameters()]
    wrapped = per_sample(model)
    classify(model, images_of(16, torch.contiguous_format)).sum().backward()
    wrapped.unwrap()
    assert [set(vars(m)) for m in model.modules()] == attributes
    assert [set(vars(p)) for p in model.parameters()] == parameters
    assert all(not m._forward_hooks and not m._backward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


class TwiceUsed(nn.Module):
    """One layer called twice, its outputs changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.twice(images)
        hidden += images
        again = self.twice(hidden)
        again *= 2.0
        return (again + hidden).square().sum(1)


def test_a_layer_used_twice_and_changed_in_place_is_exact() -> None:
    torch.manual_seed(0)
    model = TwiceUsed()
    images = torch.randn(IMAGES, 4)
    expected = naive(model, lambda m, x: m(x), images)
    wrapped = per_sample(model)
    model(images).sum().backward()
    assert worst_error(model, expected) < 1e-6
    wrapped.unwrap()


@pytest.mark.parametrize(
    "layer", [nn.PReLU(), nn.Conv3d(1, 2, 3, padding=1)], ids=["PReLU", "Conv3d"]
)
def test_a_layer_without_a_sampler_is_exact(layer: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(layer)
    images = torch.randn(IMAGES, 1, 3, 3, 3)

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        return model(images).square().flatten(1).sum(1)

    expected = naive(model, forward, images)
    wrapped = per_sample(model)
    forward(model, images).sum().backward()
    assert worst_error(model, expected) < 1e-6
    wrapped.unwrap()

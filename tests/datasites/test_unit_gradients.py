"""Per-unit gradients equal the one-unit-at-a-time answer, for whatever a plan can train.

Every layer that a model file may use, every classifier of the registry and the diffusion UNet: the
gradient of a unit is that of the mean loss over its images by plain autograd, without Opacus.
Layers are wrapped into a small network by the very reader that hospitals use.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.nn import functional

from models import (
    GeneratorSettings,
    build_classifier,
    build_from_text,
    build_generator,
    classifier_names,
)
from models.modelfile.layers import LAYERS
from privacy import GradientError, check_gradients
from privacy.training.grad_sample import UnitGradSampleModule

torch.set_num_threads(1)

SIZE, CLASSES = 16, 3
UNITS = [torch.tensor([0]), torch.tensor([1, 2]), torch.tensor([3, 4, 5])]

# How each layer is used, after a convolution to 4 channels of 16 x 16 and before a head.
USES = {
    "Conv2d": "nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.Conv2d(6, 4, (3, 1), dilation=2)",
    "Linear": "nn.Linear(16, 5, bias=False), nn.Linear(5, 3)",
    "GroupNorm": "nn.GroupNorm(2, 4), nn.GroupNorm(1, 4, affine=False)",
    "LayerNorm": "nn.LayerNorm((4, 16, 16)), nn.LayerNorm(16)",
    "ReLU": "nn.ReLU()",
    "Tanh": "nn.Tanh()",
    "SiLU": "nn.SiLU()",
    "Sigmoid": "nn.Sigmoid()",
    "Identity": "nn.Identity()",
    "GELU": "nn.GELU(approximate='tanh')",
    "ELU": "nn.ELU(0.5)",
    "LeakyReLU": "nn.LeakyReLU(0.2)",
    "MaxPool2d": "nn.MaxPool2d(3, 2, 1)",
    "AvgPool2d": "nn.AvgPool2d(2, 1, 1)",
    "AdaptiveAvgPool2d": "nn.AdaptiveAvgPool2d((3, 2))",
    "AdaptiveMaxPool2d": "nn.AdaptiveMaxPool2d(3)",
    "Flatten": "nn.Flatten(2, 3)",
    # Off, because a mask drawn for a batch is another one than that drawn for one unit.
    "Dropout": "nn.Dropout(0.0)",
    "Dropout2d": "nn.Dropout2d(0.0)",
}


def _network(name: str) -> nn.Module:
    start = f"nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), {USES[name]}, nn.Flatten()"
    found = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh())
    for layer in eval(f"[{USES[name]}]", {"nn": nn}):  # noqa: S307 - the table above
        found.append(layer)
    width = found(torch.zeros(1, 1, SIZE, SIZE)).flatten(1).shape[1]
    text = (
        "from torch import nn\n\n\ndef build(classes: int, image_size: int) -> nn.Module:\n"
        f"    return nn.Sequential({start}, nn.Linear({width}, classes))\n"
    )
    return build_from_text(text, classes=CLASSES, image_size=SIZE)


def _stirred(make: Callable[[], nn.Module]) -> nn.Module:
    """Training, with no parameter that begins at zero."""
    torch.manual_seed(0)
    model = make().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def _classify(size: int, classes: int) -> Callable[[nn.Module, Tensor], Tensor]:
    images = torch.randn(6, 1, size, size, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(6) % classes
    return lambda model, index: functional.cross_entropy(
        model(images[index]), labels[index], reduction="none"
    )


def test_every_layer_of_a_model_file_is_tried() -> None:
    assert set(USES) == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_a_model_file(name: str) -> None:
    model = _stirred(lambda: _network(name))
    check_gradients(model, losses=_classify(SIZE, CLASSES), units=UNITS)


@pytest.mark.parametrize("name", classifier_names())
def test_a_classifier_of_the_registry(name: str) -> None:
    model = _stirred(lambda: build_classifier(name, classes=4, image_size=32))
    check_gradients(model, losses=_classify(32, 4), units=UNITS)


def test_the_diffusion_unet() -> None:
    """Time and noise belong to the image, so that its loss is the same whoever is beside it."""
    model = _stirred(lambda: build_generator(GeneratorSettings(image_size=16), classes=4))
    draws = torch.Generator().manual_seed(1)
    noised, noise = torch.randn(2, 6, 1, 16, 16, generator=draws)
    steps, labels = torch.tensor([0, 3, 20, 40, 7, 30]), torch.arange(6) % 4

    def losses(network: nn.Module, index: Tensor) -> Tensor:
        at, whose = steps[index], labels[index]
        predicted = network(noised[index], at, class_labels=whose, return_dict=False)[0]
        return (predicted - noise[index]).square().flatten(1).mean(1)

    check_gradients(model, losses=losses, units=UNITS)


class _ChannelsLast(nn.Module):
    """What PyTorch makes of activations by itself after attention or a transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 * SIZE * SIZE, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        inner = self.first(images).contiguous(memory_format=torch.channels_last)
        return self.head(self.second(inner.tanh()).flatten(1))


def test_channels_last_activations_which_opacus_misreads(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _classify(SIZE, CLASSES)
    check_gradients(_stirred(_ChannelsLast), losses=losses, units=UNITS)
    # Without our sampler for Conv2d the same network is found out.
    stock = GradSampleModule.GRAD_SAMPLERS[nn.Conv2d]
    monkeypatch.setitem(UnitGradSampleModule.GRAD_SAMPLERS, nn.Conv2d, stock)
    with pytest.raises(GradientError, match=r"second\.weight"):
        check_gradients(_stirred(_ChannelsLast), losses=losses, units=UNITS)

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from models.classifiers.registry import (
    build_classifier,
    build_seeded,
    classifier_names,
    initial_weights,
)
from models.errors import UnknownModelError
from models.images.pixels import BLACK, normalise


def test_names_can_be_asked_for_without_torch() -> None:
    code = (
        "import sys; from models.classifiers import classifier_names; print(classifier_names()); "
    )
    code += "print('torch' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out == [str(classifier_names()), "False"]
    assert classifier_names() == ("encoder_head", "resnet18", "small_cnn")


@pytest.mark.parametrize("name", classifier_names())
@pytest.mark.parametrize(("size", "classes"), [(32, 2), (64, 4)])
def test_every_classifier_gives_one_row_of_logits_an_image(
    name: str, size: int, classes: int
) -> None:
    model = build_classifier(name, classes=classes, image_size=size)
    out = model(torch.zeros(3, 1, size, size))
    assert out.shape == (3, classes)
    assert out.dtype == torch.float32


@pytest.mark.parametrize("name", classifier_names())
def test_no_row_depends_on_another_even_in_training(name: str) -> None:
    model = _stirred(name)
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model(images)
    changed = images.clone()
    changed[0] += 1.0
    after = model(changed)
    assert not torch.allclose(before[0], after[0])
    assert torch.allclose(before[1:], after[1:], atol=1e-5)


@pytest.mark.parametrize("name", classifier_names())
def test_no_layer_works_in_place_or_keeps_batch_statistics(name: str) -> None:
    for module in build_classifier(name, classes=4, image_size=32).modules():
        assert not getattr(module, "inplace", False)
        assert not isinstance(module, nn.modules.batchnorm._BatchNorm)


def _stirred(name: str) -> nn.Module:
    """With a head that is not zero, so that an output depends on its input."""

    def build() -> nn.Module:
        model = build_classifier(name, classes=4, image_size=32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return model

    return build_seeded(build, seed=3)


def test_initial_weights_follow_from_the_seed_and_disturb_nobody() -> None:
    torch.manual_seed(5)
    untouched = torch.rand(4)
    torch.manual_seed(5)
    first = initial_weights("small_cnn", classes=4, image_size=64, seed=1)
    again = initial_weights("small_cnn", classes=4, image_size=64, seed=1)
    other = initial_weights("small_cnn", classes=4, image_size=64, seed=2)
    assert torch.equal(torch.rand(4), untouched)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_the_global_generator_is_put_back_even_when_building_fails() -> None:
    torch.manual_seed(5)
    untouched = torch.rand(4)
    torch.manual_seed(5)

    def fail() -> nn.Module:
        torch.rand(100)
        raise UnknownModelError("no")

    with pytest.raises(UnknownModelError):
        build_seeded(fail, seed=1)
    assert torch.equal(torch.rand(4), untouched)


@pytest.mark.parametrize(
    ("name", "classes", "size", "say"),
    [
        ("vgg", 4, 64, "small_cnn"),
        ("small_cnn", 1, 64, "classes"),
        ("small_cnn", 257, 64, "classes"),
        ("small_cnn", 4, 15, "px"),
        ("small_cnn", 4, 513, "px"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_hint(
    name: str, classes: int, size: int, say: str
) -> None:
    with pytest.raises(UnknownModelError, match=say):
        build_classifier(name, classes=classes, image_size=size)


def test_normalise_uses_fixed_constants() -> None:
    images = torch.tensor([[[0, 255], [64, 128]]], dtype=torch.uint8)
    out = normalise(images)
    assert out.shape == (1, 1, 2, 2)
    assert out.dtype == torch.float32
    assert out[0, 0, 0, 0] == BLACK
    np.testing.assert_allclose(
        out[0, 0].numpy(), (images[0].numpy() / 255 - 0.25) / 0.25, atol=1e-6
    )


@pytest.mark.parametrize("images", [torch.zeros(1, 2, 2), torch.zeros(2, 2, dtype=torch.uint8)])
def test_normalise_refuses_other_tensors(images: torch.Tensor) -> None:
    with pytest.raises(UnknownModelError, match="uint8"):
        normalise(images)

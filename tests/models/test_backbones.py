"""torchvision's backbones as encoders stand on them.

Proven: each name of the list builds, without any batch normalisation, to one vector an image;
frozen, a backbone says what torchvision's own says in evaluation mode, whatever mode it is in, and
no image of a batch changes another's features; with group normalisation shapes are the same, and
per-sample gradients are those of images alone; weights of another architecture are refused.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from models.classifiers.registry import build_seeded
from models.encoder.backbones import Backbone
from models.encoder.card import Architecture, BackbonePart
from models.errors import WeightsError
from privacy import check_gradients

SMALL: Architecture = "mobilenet_v3_small"


def _part(architecture: Architecture = SMALL, **fields: str) -> BackbonePart:
    return BackbonePart.model_validate({"architecture": architecture, **fields})


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """torchvision's own classifier for five classes, with the statistics of some batch."""

    def build() -> nn.Module:
        net = get_model(SMALL, num_classes=5)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.data.normal_(1.0, 0.2)
                layer.bias.data.normal_(0.0, 0.2)
                layer.momentum = 1.0
        with torch.no_grad():
            net(torch.randn(8, 3, 64, 64))
        return net.eval()

    return build_seeded(build, seed=3)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [
        *((name, "frozen") for name in get_args(Architecture)),
        *((name, "group") for name in ("resnet18", "efficientnet_b0", "convnext_tiny")),
    ],
)
def test_every_name_builds_a_backbone_without_batch_statistics(
    architecture: Architecture, norm: str
) -> None:
    with torch.device("meta"):
        backbone = Backbone(_part(architecture, norm=norm)).train()
        out = backbone(torch.empty(2, 1, 224, 224))
        whole = get_model(architecture, weights=None)
    assert out.shape == (2, backbone.length)
    assert not [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    lost = whole.state_dict().keys() - backbone.net.state_dict().keys()
    ends = {"num_batches_tracked"} | ({"running_mean", "running_var"} if norm == "group" else set())
    kept = {name for name in lost if name.rpartition(".")[2] not in ends}
    assert kept == {f"{backbone.last}.weight", f"{backbone.last}.bias"}


def test_frozen_it_says_what_torchvisions_own_says(published: nn.Module, images: Tensor) -> None:
    backbone = Backbone(_part())
    backbone.load_published(published.state_dict(), source="file")
    grey = images.expand(-1, 3, -1, -1)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    taken: list[Tensor] = []
    last = published.get_submodule(backbone.last)
    hook = last.register_forward_hook(lambda _m, inputs, _out: taken.append(inputs[0]))
    with torch.no_grad():
        published((grey - mean) / deviation)
        hook.remove()
        assert torch.allclose(backbone(images), taken[0], atol=1e-5)


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_no_image_changes_anothers_features_in_any_mode(
    norm: str, published: nn.Module, images: Tensor
) -> None:
    backbone = Backbone(_part(norm=norm))
    backbone.load_published(published.state_dict(), source="file")
    backbone.train()
    for layer in backbone.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        together = backbone(images)
        alone = torch.cat([backbone(image[None]) for image in images])
        others = torch.cat([images[:1], 1 - images[1:]])
        assert torch.allclose(together, alone, atol=1e-4)
        assert torch.allclose(together[0], backbone(others)[0], atol=1e-4)
        assert (together[0] - together[1]).norm() > 1e-2
    assert backbone.state_dict().keys() == Backbone(_part(norm=norm)).state_dict().keys()
    own = published.eval()
    own.train()  # the check can fail: torchvision's own mixes them
    with torch.no_grad():
        three = images.expand(-1, 3, -1, -1)
        assert not torch.allclose(own(three)[0], own(three[:2])[0], atol=1e-4)
    own.eval()


def test_group_normalisation_keeps_published_scales(published: nn.Module) -> None:
    backbone = Backbone(_part(norm="group"))
    backbone.load_published(published.state_dict(), source="file")
    state, theirs = backbone.net.state_dict(), published.state_dict()
    groups = [(n, m) for n, m in backbone.net.named_modules() if isinstance(m, nn.GroupNorm)]
    assert len(groups) == sum(isinstance(m, nn.BatchNorm2d) for m in published.modules())
    for name, layer in groups:
        assert torch.equal(state[f"{name}.weight"], theirs[f"{name}.weight"])
        assert layer.num_channels % layer.num_groups == 0
        assert layer.num_channels // layer.num_groups >= 4


def test_per_sample_gradients_through_group_normalisation_are_right(images: Tensor) -> None:
    backbone = build_seeded(lambda: Backbone(_part("resnet18", norm="group")), seed=0)
    assert isinstance(backbone, Backbone)
    model = nn.Sequential(backbone, nn.Linear(backbone.length, 2)).train()
    labels = torch.tensor([0, 1, 0, 1])

    def losses(network: nn.Module, index: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(images[index]), labels[index], reduction="none")

    check_gradients(model, losses=losses, units=[torch.tensor([0, 1]), torch.tensor([2, 3])])


def test_weights_of_another_architecture_are_refused(published: nn.Module) -> None:
    backbone = Backbone(_part("resnet18"))
    with pytest.raises(WeightsError, match=r"file holds other weights.* and .* more"):
        backbone.load_published(published.state_dict(), source="file")
    state = dict(published.state_dict())
    name = next(name for name in state if name.endswith("running_var"))
    backbone = Backbone(_part())
    with pytest.raises(WeightsError, match=r"running_var None instead of \[16\]"):
        backbone.load_published({n: t for n, t in state.items() if n != name}, source="file")

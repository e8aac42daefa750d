"""The ResNet of the registry against torchvision's."""

from __future__ import annotations

import torch
import torchvision

from models.classifiers.resnet import resnet18


def test_resnet18_keeps_torchvisions_names_and_shapes_but_for_what_must_differ() -> None:
    ours, theirs = resnet18(4).state_dict(), torchvision.models.resnet18().state_dict()
    wanted = {
        name for name in theirs if not name.endswith(("_mean", "_var", "num_batches_tracked"))
    }
    assert set(ours) == wanted
    differ = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert differ == {"conv1.weight", "fc.weight", "fc.bias"}


def test_resnet18_computes_what_torchvisions_blocks_compute() -> None:
    """Only where the addition happens has changed."""
    model = resnet18(4)
    block = model.layer2[0]
    plain = torchvision.models.resnet.BasicBlock.forward
    x = torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        assert torch.allclose(block(x), plain(block, x), atol=1e-6)

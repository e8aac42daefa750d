"""What is trained is marked; the rest is frozen; an untrained addition changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.errors import GeneratorError
from models.generators.diffusion import build_generator
from models.generators.lora import TRAINS, add_low_rank, choose_trained
from models.generators.settings import GeneratorSettings

TINY = GeneratorSettings(image_size=8, channels=(8, 8), groups=4, timesteps=50)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return build_generator(TINY, classes=3)


def _trained(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


def _seen(network: nn.Module) -> torch.Tensor:
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(x, torch.arange(3), class_labels=torch.arange(3), return_dict=False)[0]


def test_all_of_it() -> None:
    network = _network().requires_grad_(False)
    choose_trained(network, trains="all", rank=1)
    assert _trained(network) == {name for name, _ in network.named_parameters()}


def test_norms_biases_and_classes() -> None:
    network = _network()
    choose_trained(network, trains="norms", rank=1)
    trained = _trained(network)
    assert "class_embedding.weight" in trained
    assert "conv_norm_out.weight" in trained
    assert "conv_in.bias" in trained
    assert "conv_in.weight" not in trained
    layers = dict(network.named_modules())
    for name in trained - {"class_embedding.weight"}:
        layer, _, kind = name.rpartition(".")
        assert kind == "bias" or isinstance(layers[layer], nn.GroupNorm), name


def test_low_rank_additions_and_classes() -> None:
    network = _network()
    before = _seen(network)
    whole = sum(p.numel() for p in network.parameters())
    choose_trained(network, trains="lora", rank=2)
    trained = _trained(network)
    assert "class_embedding.weight" in trained
    assert all("lora_" in name for name in trained - {"class_embedding.weight"})
    blocks = sum(1 for name, _ in network.named_modules() if name.endswith(".conv1.base_layer"))
    assert blocks == 8  # 2 down, 2 in the middle, 4 up
    assert len(trained) == 1 + 2 * 3 * blocks
    assert sum(dict(network.named_parameters())[n].numel() for n in trained) < whole
    assert torch.equal(_seen(network), before)


@pytest.mark.parametrize("trains", TRAINS)
def test_one_step_changes_what_is_trained_and_nothing_else(trains: str) -> None:
    network = _network()
    choose_trained(network, trains=trains, rank=2)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trained = _trained(network)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    x, labels = torch.rand(3, 1, 8, 8), torch.arange(3)
    for _ in range(2):  # the first step leaves the first halves of low-rank pairs alone
        network(x, labels, class_labels=labels, return_dict=False)[0].square().sum().backward()
        optimizer.step()
    changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert changed <= trained
    assert len(changed) > 0.8 * len(trained)


def test_nonsense_is_refused() -> None:
    with pytest.raises(GeneratorError, match="choice"):
        choose_trained(_network(), trains="some", rank=1)  # type: ignore[arg-type]
    for rank in (0, 65):
        with pytest.raises(GeneratorError, match="rank"):
            choose_trained(_network(), trains="lora", rank=rank)
    with pytest.raises(GeneratorError, match="cannot be added"):
        add_low_rank(_network(), layers="nothing", rank=1)

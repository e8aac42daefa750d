"""Which parameters of a generator are trained: all, few, or low-rank additions to its layers.

DP-SGD adds noise to every trained coordinate, so a pretrained network may learn more from a given
epsilon if it trains few of them (Yu et al. 2022, arXiv 2110.06500). Everything else is frozen and
leaves training bit for bit as it came.

Low-rank additions are peft's LoRA (Hu et al. 2021, arXiv 2106.09685): each chosen convolution or
linear layer gets two small plain layers of its own beside it, the second of which starts at zero,
so that an untrained addition changes nothing and Opacus sees nothing but layers it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from models.errors import GeneratorError

Trains = Literal["all", "norms", "lora"]
TRAINS: Final = get_args(Trains)
MAX_RANK: Final = 64
_CLASS_TABLE: Final = "class_embedding"


def choose_trained(network: nn.Module, *, trains: Trains, rank: int) -> None:
    """Mark what is trained, in place.

    Args:
        network: a UNet.
        trains: ``all`` of it; its ``norms`` (normalisations, biases and the table of classes); or
            ``lora``: low-rank additions to its residual blocks, and the table of classes.
        rank: of the additions.

    Raises:
        GeneratorError: there is no such choice, or no such rank.
    """
    if trains not in _CHOICES:
        raise GeneratorError(f"no choice of parameters {trains!r}; there are {', '.join(TRAINS)}")
    _CHOICES[trains](network, rank)


def add_low_rank(network: nn.Module, *, layers: str, rank: int) -> None:
    """Freeze a network and add trainable low-rank layers to some of its layers, in place.

    Args:
        network: any.
        layers: pattern of the full names of convolutions and linear layers.
        rank: of the additions.

    Raises:
        GeneratorError: the rank is out of range, or no layer matches.
    """
    if not 1 <= rank <= MAX_RANK:
        raise GeneratorError(f"rank {rank}; choose 1 to {MAX_RANK}")
    network.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=layers, lora_dropout=0.0, bias="none"
    )
    try:
        inject_adapter_in_model(config, network)
    except ValueError as error:
        raise GeneratorError(f"low-rank layers cannot be added here: {error}"[:300]) from error
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name)


def _all(network: nn.Module, _rank: int) -> None:
    network.requires_grad_(True)


def _norms(network: nn.Module, _rank: int) -> None:
    network.requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith(".bias"))
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.requires_grad_(True)
    _train_classes(network)


def _lora(network: nn.Module, rank: int) -> None:
    add_low_rank(network, layers=r".*\.(conv1|conv2|time_emb_proj)", rank=rank)
    _train_classes(network)


def _train_classes(network: nn.Module) -> None:
    table: Any = getattr(network, _CLASS_TABLE, None)
    if isinstance(table, nn.Module):
        table.requires_grad_(True)


_CHOICES: Mapping[str, Callable[[nn.Module, int], None]] = MappingProxyType(
    {"all": _all, "norms": _norms, "lora": _lora}
)

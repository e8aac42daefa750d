"""Model files: weights with what is needed to use them (architecture, classes), in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from models.errors import WeightsError
from models.weights import weights_from_bytes


def save_model_file(
    path: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a model file, whole or not at all."""
    tensors = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(save(tensors, metadata=dict(sorted(metadata.items()))))
    partial.replace(path)


def load_model_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The weights and what the file says about them.

    Raises:
        WeightsError: the file is missing or not a safetensors file with metadata.
    """
    try:
        data = path.read_bytes()
        state = weights_from_bytes(data)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as a model: {error}") from error
    if not metadata:
        raise WeightsError(f"{path} says nothing about its model; was it written by Dura?")
    return state, dict(metadata)

"""Model files: weights with what is needed to use them (architecture, classes), in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from models.errors import WeightsError
from models.weights.tensors import MAX_BYTES, weights_from_bytes, weights_to_bytes


def model_file_bytes(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A model file; equal contents give equal bytes."""
    return _with_metadata(weights_to_bytes(state), metadata)


def load_model_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The weights and what the file says about them.

    Raises:
        WeightsError: the file is missing, too large or not a safetensors file with metadata.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        state = weights_from_bytes(data)
    except (OSError, WeightsError) as error:
        raise WeightsError(f"{path} cannot be read as a model: {error}") from error
    metadata = _header(data).get("__metadata__")
    if not isinstance(metadata, dict) or not metadata:
        raise WeightsError(f"{path} says nothing about its model; was it written by Dura?")
    return state, metadata


def _header(data: bytes) -> dict[str, object]:
    header: dict[str, object] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into a header; the library itself writes it in random order."""
    header = {"__metadata__": dict(sorted(metadata.items())), **_header(data)}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    start = 8 + int.from_bytes(data[:8], "little")
    return len(text).to_bytes(8, "little") + text + data[start:]

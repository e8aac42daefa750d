"""Weights as bytes and back: safetensors only, deterministic, checked before they are believed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from models.errors import WeightsError
from models.weights.rules import TensorInfo, check_same, read_header

MAX_BYTES = 1024 * 1024 * 1024
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def weights_to_bytes(state: Mapping[str, torch.Tensor]) -> bytes:
    """A state dict as a safetensors file; the same tensors give the same bytes."""
    return save({name: state[name].detach().cpu().contiguous() for name in sorted(state)})


def weights_from_bytes(
    data: bytes,
    *,
    like: Mapping[str, torch.Tensor] | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Args:
        data: the file.
        like: tensors whose names, shapes and dtypes it must have; None for any.
        max_bytes: size allowed.

    Raises:
        WeightsError: the file is malformed, too large, not like `like`, or not finite.
    """
    found = read_header(data, max_bytes=max_bytes)
    if like is not None:
        check_same(found, {name: _info(tensor) for name, tensor in like.items()})
    try:
        state = load(data)
    except SafetensorError as error:  # a rule of the library that the header's check lacks
        raise WeightsError(f"the weights cannot be read: {error}") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"tensor {name!r} holds NaN or infinity")
    return state


def weights_sha256(data: bytes) -> str:
    """The hash by which a weights file is known."""
    return hashlib.sha256(data).hexdigest()


def _info(tensor: torch.Tensor) -> TensorInfo:
    if tensor.dtype not in _NAMES:
        raise WeightsError(f"tensors of {tensor.dtype} are not exchanged")
    return TensorInfo(_NAMES[tensor.dtype], tuple(tensor.shape))

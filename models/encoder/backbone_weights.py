"""Published weights of a torchvision backbone: ImageNet's, or a file of one's own. IO.

Read by whoever makes an encoder, once; hospitals read safetensors only. Both kinds of pickle that
may come are read by torch's loader that admits tensors only and runs nothing of the file.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError  # the error's name alone: nothing is unpickled here

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from models.encoder.card import Architecture
from models.errors import WeightsError
from models.weights import weights_from_bytes

MAX_BYTES = 2 * 1024 * 1024 * 1024
# What torch's loader raises at bytes that are no file of its own: it promises nothing narrower.
_RUBBISH = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    struct.error,
)


@dataclass(frozen=True)
class Published:
    """Weights of a whole classifier, last layer included.

    Attributes:
        state: by torchvision's names. source: where they are from, in words.
    """

    state: dict[str, Tensor]
    source: str


def imagenet_weights(architecture: Architecture) -> Published:
    """Torchvision's ImageNet weights, from its cache or the network, checked by its hash.

    Raises:
        WeightsError: they could not be fetched.
    """
    weights = get_model_weights(architecture).DEFAULT
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise WeightsError(
            f"{weights} could not be fetched from {weights.url}: {error}; fetch that file where "
            "there is a network, and give it as --weights FILE with --saw 'ImageNet photographs'"
        ) from error
    return Published(_checked(state, str(weights)), f"torchvision's {weights}")


def weights_of_file(path: Path) -> Published:
    """A state dict in safetensors, or as `torch.save(net.state_dict(), path)` writes it.

    Raises:
        WeightsError: it is missing, too large, or holds anything but finite tensors.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise WeightsError(f"{path} has more than {MAX_BYTES} bytes")
    source = f"{path.name}, SHA-256 {hashlib.sha256(data).hexdigest()}"
    if path.suffix == ".safetensors":
        return Published(weights_from_bytes(data, max_bytes=MAX_BYTES), source)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _RUBBISH as error:
        raise WeightsError(
            f"{path} is no file of tensors alone ({type(error).__name__}); save a model's "
            "state_dict() in it, as safetensors or by torch.save"
        ) from error
    return Published(_checked(state, str(path)), source)


def _checked(state: object, source: str) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        raise WeightsError(f"{source} holds a {type(state).__name__}, not a state_dict")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{source} holds {str(name)[:60]!r}, a {type(tensor).__name__}, beside tensors; "
                "save the state_dict() alone"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source}: tensor {name!r} holds NaN or infinity")
    return state

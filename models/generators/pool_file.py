"""Several generators' weights in one file, and taken apart again, byte for byte.

A packed file is a safetensors file whose tensors are named `NUMBER/NAME`. The same weights always
give the same bytes, so each part is again the file that its hospital released and signed for.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from models.errors import WeightsError
from models.weights import weights_from_bytes, weights_to_bytes

MAX_GENERATORS = 64
MAX_BYTES = 192 * 1024 * 1024


def pack_generators(files: Sequence[bytes]) -> bytes:
    """One file of many.

    Args:
        files: safetensors files, 1 to 64.

    Raises:
        WeightsError: one is malformed or not finite, or there are too many.
    """
    if not 1 <= len(files) <= MAX_GENERATORS:
        raise WeightsError(f"{len(files)} generators; pack 1 to {MAX_GENERATORS}")
    return weights_to_bytes(
        {
            f"{number:02d}/{name}": tensor
            for number, data in enumerate(files)
            for name, tensor in weights_from_bytes(data, max_bytes=MAX_BYTES).items()
        }
    )


def unpack_generators(data: bytes) -> list[bytes]:
    """The files that were packed, in order.

    Raises:
        WeightsError: this is no packed file.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights_from_bytes(data, max_bytes=MAX_BYTES).items():
        number, slash, inner = name.partition("/")
        if not slash or not inner:
            raise WeightsError(f"tensor {name!r} belongs to no generator")
        parts.setdefault(number, {})[inner] = tensor
    if sorted(parts) != [f"{number:02d}" for number in range(len(parts))] or not parts:
        raise WeightsError("the generators are not numbered from 00 on")
    return [weights_to_bytes(parts[number]) for number in sorted(parts)]

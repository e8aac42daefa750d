"""What a weights file must be before anything of it is used. Pure, and free of torch.

A safetensors file: eight bytes of header length, a JSON header, raw tensors. Checked first are
the sizes and the header, then names, shapes and dtypes against a reference file, then that every
number is finite. No tensor is made from a file whose header does not add up. An update carries
no metadata: free text would be a way out past the declared tensors.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from models.errors import WeightsError

MAX_HEADER_BYTES = 1024 * 1024
MAX_TENSORS = 4096
MAX_DIMENSIONS = 8
MAX_SIDE = 2**40
_SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as a header describes it."""

    dtype: str
    shape: tuple[int, ...]


def read_header(data: bytes, *, max_bytes: int, metadata: bool = True) -> dict[str, TensorInfo]:
    """The tensors a safetensors file holds, by name.

    Args:
        data: the file.
        max_bytes: size allowed.
        metadata: whether it may carry texts beside its tensors.

    Raises:
        WeightsError: the file is too large, or its header is malformed or does not describe
            exactly the bytes that follow it.
    """
    if len(data) > max_bytes:
        raise WeightsError(f"the weights have {len(data)} bytes; at most {max_bytes} are allowed")
    if len(data) < 8:
        raise WeightsError("the weights are shorter than a safetensors header; sent half?")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise WeightsError(f"the header claims {length} bytes, more than there are or may be")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError("the header is not a JSON object")
    _check_metadata(header.pop("__metadata__", {}), allowed=metadata)
    if len(header) > MAX_TENSORS:
        raise WeightsError(f"the header names {len(header)} tensors; at most {MAX_TENSORS}")
    spans = []
    infos = {}
    for name, entry in header.items():
        infos[name], span = _tensor(name, entry)
        spans.append(span)
    _check_spans(sorted(spans), len(data) - 8 - length)
    return infos


def check_weights(data: bytes, *, like: bytes, max_bytes: int) -> None:
    """Let a weights file through that has exactly the tensors of `like`, all finite.

    Args:
        data: the file to be judged.
        like: a trusted file with the right names, shapes and dtypes.
        max_bytes: size allowed.

    Raises:
        WeightsError: names the tensor and what is wrong with it.
    """
    found = read_header(data, max_bytes=max_bytes, metadata=False)
    wanted = read_header(like, max_bytes=len(like))
    check_same(found, wanted)
    _check_finite(data)


def _check_finite(data: bytes) -> None:
    try:
        arrays = load(data)
    except SafetensorError as error:  # a rule of the library that the header's check lacks
        raise WeightsError(f"the weights cannot be read: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WeightsError(f"tensor {name!r} holds NaN or infinity")


def check_plain_weights(data: bytes, *, max_bytes: int) -> None:
    """Let a weights file through that holds finite float32 tensors and nothing else.

    Args:
        data: the file to be judged.
        max_bytes: size allowed.

    Raises:
        WeightsError: names the tensor and what is wrong with it.
    """
    found = read_header(data, max_bytes=max_bytes, metadata=False)
    if not found:
        raise WeightsError("the weights hold no tensor")
    for name, info in found.items():
        if info.dtype != "F32":
            raise WeightsError(f"tensor {name!r} is {info.dtype}; expected is F32")
    _check_finite(data)


def check_same(found: dict[str, TensorInfo], wanted: dict[str, TensorInfo]) -> None:
    """Raise `WeightsError` unless both describe the same tensors."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        raise WeightsError(f"tensors missing: {missing[:3]}; tensors unknown: {extra[:3]}")
    for name, info in found.items():
        if info != wanted[name]:
            raise WeightsError(
                f"tensor {name!r} is {info.dtype}{list(info.shape)}; expected is "
                f"{wanted[name].dtype}{list(wanted[name].shape)}"
            )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two parsers could each take another of two entries of one name."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _check_metadata(metadata: Any, *, allowed: bool) -> None:
    texts = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    if not texts:
        raise WeightsError("the metadata is not a table of texts")
    if metadata and not allowed:
        raise WeightsError(
            f"the weights carry metadata: {sorted(metadata)[:3]}; an update has none"
        )


def _tensor(name: str, entry: Any) -> tuple[TensorInfo, tuple[int, int]]:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise WeightsError(f"tensor {name!r} is not described properly") from error
    if len(entry) != 3 or not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise WeightsError(f"tensor {name!r} is not described properly")
    whole = all(type(n) is int and 0 <= n < MAX_SIDE for n in [*shape, start, end])
    if not whole or not isinstance(dtype, str) or dtype not in _SIZES:
        raise WeightsError(f"tensor {name!r} has dtype {dtype!r} and shape {shape!r}")
    size = _SIZES[dtype]
    for side in shape:
        size *= side
    if end - start != size:
        raise WeightsError(f"tensor {name!r} needs {size} bytes but spans {end - start}")
    return TensorInfo(dtype, tuple(shape)), (start, end)


def _check_spans(spans: list[tuple[int, int]], size: int) -> None:
    edges = [(0, 0), *spans, (size, size)]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        raise WeightsError("the tensors do not fill the file without gaps or overlaps")

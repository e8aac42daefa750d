from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import WeightsError
from models.weights.rules import TensorInfo, check_weights, read_header

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MAX = 10_000


def file(header: Any, payload: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


def test_a_header_is_read() -> None:
    data = file(
        {"a": ENTRY, "b": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]}}, b"\0" * 16
    )
    wanted = {"a": TensorInfo("F32", (2,)), "b": TensorInfo("I64", ())}
    assert read_header(data, max_bytes=MAX) == wanted


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "half a length": b"\0" * 7,
    "a length beyond the file": (10**6).to_bytes(8, "little") + b"{}",
    "a length beyond all": (2**63).to_bytes(8, "little") + b"{}",
    "not JSON": file(b"{"),
    "nested JSON": file(b"[" * 50_000, b""),
    "a list": file([]),
    "no tensor for the bytes": file({}),
    "an entry that is a list": file({"a": []}),
    "no dtype": file({"a": {"shape": [2], "data_offsets": [0, 8]}}),
    "unknown dtype": file({"a": {**ENTRY, "dtype": "F8"}}),
    "negative side": file({"a": {**ENTRY, "shape": [-2]}}),
    "a side that is true": file({"a": {**ENTRY, "shape": [2, True]}}),
    "a side that is a float": file({"a": {**ENTRY, "shape": [2.0]}}),
    "a shape that is a number": file({"a": {**ENTRY, "shape": 2}}),
    "one offset": file({"a": {**ENTRY, "data_offsets": [0]}}),
    "offsets backwards": file({"a": {**ENTRY, "data_offsets": [8, 0]}}),
    "offsets beyond": file({"a": {**ENTRY, "data_offsets": [8, 16]}}),
    "too few bytes": file({"a": ENTRY}, b"\0" * 7),
    "too many bytes": file({"a": ENTRY}, b"\0" * 9),
    "shape and bytes differ": file({"a": {**ENTRY, "shape": [3]}}),
    "overlap": file({"a": ENTRY, "b": ENTRY}),
    "gap": file({"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 20]}}, b"\0" * 20),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError):
        read_header(data, max_bytes=10**6)
    with pytest.raises(WeightsError):
        check_weights(data, like=file({"a": ENTRY}), max_bytes=10**6)


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(WeightsError, match="at most 10"):
        read_header(b"x" * 11, max_bytes=10)


def test_the_right_tensors_pass() -> None:
    check_weights(file({"a": ENTRY}), like=file({"a": ENTRY}), max_bytes=MAX)


@pytest.mark.parametrize(
    ("header", "payload", "say"),
    [
        ({"b": ENTRY}, b"\0" * 8, r"missing: \['a'\].*unknown: \['b'\]"),
        ({"a": {**ENTRY, "shape": [1, 2]}}, b"\0" * 8, r"'a' is F32\[1, 2\]; expected is F32\[2\]"),
        ({"a": {**ENTRY, "dtype": "I32"}}, b"\0" * 8, r"'a' is I32"),
        ({"a": ENTRY}, b"\0\0\xc0\x7f" * 2, "'a' holds NaN or infinity"),
        ({"a": ENTRY}, b"\0\0\x80\x7f" * 2, "'a' holds NaN or infinity"),
    ],
)
def test_other_tensors_are_named(header: Any, payload: bytes, say: str) -> None:
    with pytest.raises(WeightsError, match=say):
        check_weights(file(header, payload), like=file({"a": ENTRY}), max_bytes=MAX)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_flipped_byte_of_the_length_or_payload_is_refused_or_harmless(at: int, to: int) -> None:
    good = file({"a": ENTRY})
    at = at % 8 if at % 2 else len(good) - 1 - at % 8
    data = good[:at] + bytes([to]) + good[at + 1 :]
    try:
        check_weights(data, like=good, max_bytes=MAX)
    except WeightsError:
        return
    assert data[8:-8] == good[8:-8]


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(WeightsError):
        check_weights(data, like=file({"a": ENTRY}), max_bytes=MAX)

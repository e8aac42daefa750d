"""Belongs into tests/models/test_weightrules.py, test_weights.py and test_modelstore.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from models.errors import WeightsError
from models.weights.model_file import model_file_bytes
from models.weights.rules import check_weights
from models.weights.tensors import weights_from_bytes

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
ENTRY_TEXT = json.dumps(ENTRY).encode()


def file(header: Any, payload: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


HOSTILE = {
    "dtype is a list": file({"a": {**ENTRY, "dtype": []}}),
    "metadata of numbers": file({"__metadata__": {"x": 1}, "a": ENTRY}),
    "metadata is a list": file({"__metadata__": [], "a": ENTRY}),
    "a name twice": file(b'{"a":' + ENTRY_TEXT + b',"a":' + ENTRY_TEXT + b"}"),
    "a further key": file({"a": {**ENTRY, "x": 1}}),
    "UTF-16": file(json.dumps({"a": ENTRY}).encode("utf-16")),
    "a huge side": file({"a": {"dtype": "F32", "shape": [2**80, 0], "data_offsets": [0, 0]}}, b""),
    "many sides": file({"a": {**ENTRY, "shape": [1] * 70 + [2]}}),
    "a lone surrogate": file(b'{"\\ud800":' + ENTRY_TEXT + b"}"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers_are_refused_and_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(WeightsError):
        weights_from_bytes(data)
    with pytest.raises(WeightsError):
        check_weights(data, like=file({"a": ENTRY}), max_bytes=10_000)


def test_an_update_with_metadata_is_refused() -> None:
    data = file({"__metadata__": {"note": "patient 7 has ..."}, "a": ENTRY})
    with pytest.raises(WeightsError, match="metadata"):
        check_weights(data, like=file({"a": ENTRY}), max_bytes=10_000)


def test_equal_model_files_have_equal_bytes() -> None:
    about = {key: key for key in "zyxwvut"}
    assert len({model_file_bytes({"w": torch.ones(2)}, about) for _ in range(5)}) == 1

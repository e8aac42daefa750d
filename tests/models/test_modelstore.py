from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.errors import WeightsError
from models.weights.model_file import load_model_file, model_file_bytes
from models.weights.tensors import weights_to_bytes

STATE = {"b": torch.ones(2), "a": torch.arange(3)}
ABOUT = {"model": "small_cnn", "classes": "a,b", "image_size": "64", "model_text": "é\n'\""}


def test_a_model_file_makes_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_file_bytes(STATE, ABOUT))
    state, about = load_model_file(path)
    assert about == ABOUT
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_what_is_no_model_file_is_refused_by_its_path(tmp_path: Path) -> None:
    missing, bare = tmp_path / "missing", tmp_path / "bare"
    bare.write_bytes(weights_to_bytes(STATE))
    for path in (missing, tmp_path, bare):
        with pytest.raises(WeightsError, match=str(path)):
            load_model_file(path)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_file_bytes(STATE, ABOUT))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError):
        load_model_file(path)

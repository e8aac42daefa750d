from __future__ import annotations

import pytest
import torch

from models.classifiers.build import build_model, initial_weights
from models.errors import ModelFileError, UnknownModelError

TEXT = (
    "from torch import nn\n"
    "def build(classes, image_size):\n"
    "    return nn.Sequential(nn.Flatten(), nn.Linear(image_size ** 2, classes))\n"
)


def test_a_name_and_a_text_lead_to_a_model() -> None:
    x = torch.zeros(2, 1, 32, 32)
    for name, text in (("small_cnn", None), ("model.py", TEXT)):
        assert build_model(name, text=text, classes=3, image_size=32)(x).shape == (2, 3)


@pytest.mark.parametrize(("name", "text"), [("small_cnn", TEXT), ("model.py", None), ("x", None)])
def test_name_and_text_must_go_together(name: str, text: str | None) -> None:
    with pytest.raises(UnknownModelError):
        build_model(name, text=text, classes=3, image_size=32)


def test_a_bad_text_is_a_model_file_error() -> None:
    with pytest.raises(ModelFileError):
        build_model("model.py", text="import os", classes=3, image_size=32)


@pytest.mark.parametrize(("name", "text"), [("small_cnn", None), ("model.py", TEXT)])
def test_initial_weights_follow_from_the_seed_and_disturb_nobody(
    name: str, text: str | None
) -> None:
    torch.manual_seed(5)
    untouched = torch.rand(4)
    torch.manual_seed(5)
    states = [
        initial_weights(name, text=text, classes=3, image_size=32, seed=seed) for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.rand(4), untouched)
    one, two, other = (next(v for k, v in s.items() if k.endswith("weight")) for s in states)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)

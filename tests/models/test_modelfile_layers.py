from __future__ import annotations

import inspect
from typing import Any

import pytest
from torch import nn

from models.errors import ModelFileError
from models.modelfile.layers import LAYERS, Layer, Value, bind, layer_names

EXAMPLES: dict[str, dict[str, Value]] = {
    "Conv2d": {"in_channels": 1, "out_channels": 2, "kernel_size": 3},
    "Linear": {"in_features": 1, "out_features": 2},
    "GroupNorm": {"num_groups": 1, "num_channels": 2},
    "LayerNorm": {"normalized_shape": 3},
    "MaxPool2d": {"kernel_size": 2},
    "AvgPool2d": {"kernel_size": 2},
    "AdaptiveAvgPool2d": {"output_size": 2},
    "AdaptiveMaxPool2d": {"output_size": 2},
}


@pytest.mark.parametrize("name", LAYERS)
def test_arguments_stand_in_torchs_order_and_under_torchs_names(name: str) -> None:
    theirs = list(inspect.signature(getattr(nn, name)).parameters)
    ours = [argument.name for argument in LAYERS[name]]
    assert ours == theirs[: len(ours)]


@pytest.mark.parametrize("name", LAYERS)
def test_required_arguments_are_torchs(name: str) -> None:
    theirs = inspect.signature(getattr(nn, name)).parameters
    for argument in LAYERS[name]:
        assert argument.required == (theirs[argument.name].default is inspect.Parameter.empty)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_can_be_made_with_the_least_and_works_out_of_place(name: str) -> None:
    arguments = dict(bind(name, (), tuple(EXAMPLES.get(name, {}).items()), line=1))
    module: Any = getattr(nn, name)(**arguments)
    assert not getattr(module, "inplace", False)


def test_nothing_that_mixes_a_batch_is_on_the_list() -> None:
    assert not [name for name in layer_names() if "Batch" in name or "Instance" in name]
    assert "inplace" not in {a.name for rules in LAYERS.values() for a in rules}
    start = LAYERS["Flatten"][0]
    assert start.low == 1  # dimension 0 is the batch


@pytest.mark.parametrize(
    ("name", "positional", "named", "say"),
    [
        ("Linear", (1,), (), "lacks out_features"),
        ("Linear", (1, 2, True, 4), (), "by position"),
        ("Linear", (1, 2), (("in_features", 1),), "twice"),
        ("Linear", (1, 2), (("dtype", 1),), "it takes in_features, out_features, bias"),
        ("Linear", (0, 2), (), "1 to 65536"),
        ("Linear", (65_537, 2), (), "1 to 65536"),
        ("Linear", (1.0, 2), (), "integer"),
        ("Linear", (True, 2), (), "integer"),
        ("Linear", ((1, 2), 2), (), "list of 2"),
        ("Linear", (1, 2, 1), (), "True or False"),
        ("Linear", (1, 2, None), (), "True or False"),
        ("Linear", ("same", 2), (), "'same'"),
        ("Conv2d", (1, 2, (3, 3, 3)), (), "one or two"),
        ("Conv2d", (1, 2, (3, 65)), (), "one or two"),
        ("Conv2d", (1, 2, 3), (("padding", "SAME"),), "'same' or 'valid'"),
        ("Conv2d", (1, 2, 3), (("padding_mode", "circular"),), "not allowed"),
        ("LayerNorm", ((1, 2, 3, 4),), (), "one to three"),
        ("LayerNorm", ((),), (), "one to three"),
        ("GELU", ("exact",), (), "'none' or 'tanh'"),
        ("GELU", (1,), (), "'none' or 'tanh'"),
        ("Dropout", (1.0,), (), "0.0 to 0.95"),
        ("Dropout", (float("nan"),), (), "0.0 to 0.95"),
        ("LayerNorm", (3,), (("bias", False),), "not allowed"),
        ("ReLU", (True,), (), "none"),
        ("ReLU", (), (("inplace", True),), "inplace"),
        ("Flatten", (0,), (), "1 to 3"),
        ("Linear", (Layer("ReLU", (), (), 1), 2), (), r"nn\.ReLU"),
    ],
)
def test_wrong_arguments_are_refused_with_the_rule(
    name: str, positional: tuple[Value, ...], named: tuple[tuple[str, Value], ...], say: str
) -> None:
    with pytest.raises(ModelFileError, match=say) as caught:
        bind(name, positional, named, line=3)
    assert caught.value.line == 3


def test_right_arguments_are_passed_on_by_name() -> None:
    bound = bind("Conv2d", (1, 2, (3, 1)), (("padding", "same"), ("bias", False)), line=1)
    assert dict(bound) == {
        "in_channels": 1,
        "out_channels": 2,
        "kernel_size": (3, 1),
        "padding": "same",
        "bias": False,
    }
    assert dict(bind("Dropout", (0.5,), (), line=1)) == {"p": 0.5}
    assert dict(bind("ELU", (1,), (), line=1)) == {"alpha": 1}

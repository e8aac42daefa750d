from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.errors import ModelFileError, UnknownModelError
from models.modelfile.layers import Layer, bind
from models.modelfile.shapes import _effect, check_model_text

HEAD = "from torch import nn\ndef build(classes, image_size):\n    "


def _check(body: str, size: int = 32) -> Any:
    return check_model_text(HEAD + body, classes=4, image_size=size)[1]


_ints = st.integers(1, 4)
_pairs = st.one_of(_ints, st.tuples(_ints, _ints))
_pads = st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)))
_CALLS = st.one_of(
    st.tuples(
        st.just("Conv2d"),
        st.fixed_dictionaries(
            {
                "in_channels": st.sampled_from([2, 4]),
                "out_channels": st.sampled_from([2, 4, 6]),
                "kernel_size": _pairs,
            },
            optional={
                "stride": _pairs,
                "padding": st.one_of(_pads, st.sampled_from(["same", "valid"])),
                "dilation": _pairs,
                "groups": st.sampled_from([1, 2, 4]),
                "bias": st.booleans(),
            },
        ),
    ),
    st.tuples(
        st.just("MaxPool2d"),
        st.fixed_dictionaries(
            {"kernel_size": _pairs},
            optional={"stride": _pairs, "padding": _pads, "dilation": _pairs},
        ),
    ),
    st.tuples(
        st.just("AvgPool2d"),
        st.fixed_dictionaries(
            {"kernel_size": _pairs}, optional={"stride": _pairs, "padding": _pads}
        ),
    ),
    st.tuples(
        st.sampled_from(["AdaptiveAvgPool2d", "AdaptiveMaxPool2d"]),
        st.fixed_dictionaries({"output_size": _pairs}),
    ),
    st.tuples(
        st.just("Flatten"),
        st.fixed_dictionaries(
            {}, optional={"start_dim": st.integers(1, 3), "end_dim": st.sampled_from([-1, 1, 2, 3])}
        ),
    ),
    st.tuples(
        st.just("Linear"),
        st.fixed_dictionaries(
            {"in_features": st.integers(1, 9), "out_features": _ints},
            optional={"bias": st.booleans()},
        ),
    ),
    st.tuples(
        st.just("GroupNorm"),
        st.fixed_dictionaries(
            {"num_groups": st.sampled_from([1, 2, 3]), "num_channels": st.sampled_from([2, 4])},
            optional={"affine": st.booleans()},
        ),
    ),
    st.tuples(
        st.just("LayerNorm"),
        st.fixed_dictionaries(
            {
                "normalized_shape": st.one_of(
                    st.integers(1, 9), st.tuples(st.integers(1, 9), st.integers(1, 9))
                )
            },
            optional={"elementwise_affine": st.booleans()},
        ),
    ),
    st.tuples(st.sampled_from(["ReLU", "Dropout", "Dropout2d", "GELU"]), st.just({})),
)
_SHAPES = st.one_of(
    st.tuples(st.sampled_from([2, 4]), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9)),
)


@settings(max_examples=600, deadline=None)
@given(_CALLS, _SHAPES)
def test_what_arithmetic_accepts_torch_accepts_with_the_same_shape_and_size(
    call: tuple[str, dict[str, Any]], shape: tuple[int, ...]
) -> None:
    """And row by row: changing one image changes no other image's output."""
    name, given_arguments = call
    layer = Layer(name, bind(name, (), tuple(given_arguments.items()), line=1), (), 1)
    try:
        effect = _effect(layer, shape)
    except ModelFileError:
        return
    module = getattr(nn, name)(**dict(layer.arguments)).eval()
    assert effect.parameters == sum(p.numel() for p in module.parameters())
    x = torch.randn(3, *shape)
    changed = x.clone()
    changed[0] += 1
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch warns of the cost of padding='same' with even windows
        y, z = module(x), module(changed)
        alone = module(x[:1])
    assert tuple(y.shape) == (3, *effect.shape)
    assert torch.allclose(y[1:], z[1:], atol=1e-5)
    assert torch.allclose(y[:1], alone, atol=1e-5)


@settings(max_examples=300, deadline=None)
@given(_CALLS, st.tuples(st.sampled_from([2, 4]), st.integers(1, 9), st.integers(1, 9)))
def test_what_arithmetic_refuses_of_an_image_torch_refuses_too(
    call: tuple[str, dict[str, Any]], shape: tuple[int, ...]
) -> None:
    name, given_arguments = call
    layer = Layer(name, bind(name, (), tuple(given_arguments.items()), line=1), (), 1)
    try:
        _effect(layer, shape)
    except ModelFileError:
        if name == "GroupNorm":  # torch lets wrong channels pass if nothing is scaled; we do not
            return
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            getattr(nn, name)(**dict(layer.arguments))(torch.randn(1, *shape))


def test_cost_is_counted() -> None:
    cost = _check(
        "return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), "
        "nn.Linear(8 * 32 * 32, classes))"
    )
    assert cost.parameters == 8 * 9 + 8 + 8192 * 4 + 4
    assert cost.values == 3 * 8192 + 4
    assert cost.products == 8192 * 9 + 8192 * 4


MISFITS = {
    "channels": ("nn.Conv2d(3, 8, 3)", "in_channels is 3"),
    "groups": ("nn.Conv2d(1, 8, 3, groups=2)", "groups=2"),
    "window": ("nn.Conv2d(1, 8, 33)", "does not fit"),
    "dilated window": ("nn.Conv2d(1, 8, 3, dilation=16)", "does not fit"),
    "same with stride": ("nn.Conv2d(1, 8, 3, 2, padding='same')", "stride 1"),
    "pool padding": ("nn.MaxPool2d(2, padding=2)", "half"),
    "features": ("nn.Flatten(), nn.Linear(10, 4)", "in_features is 10"),
    "norm": ("nn.GroupNorm(2, 4)", "num_channels is 4"),
    "norm groups": ("nn.Conv2d(1, 4, 3), nn.GroupNorm(3, 4)", "3 groups"),
    "norm of one": ("nn.AdaptiveAvgPool2d(1), nn.GroupNorm(1, 1)", "spread"),
    "layer norm": ("nn.LayerNorm(5)", r"\[5\]"),
    "layer norm over the batch": ("nn.Flatten(), nn.LayerNorm([2, 1024])", "normalized_shape"),
    "image after flatten": ("nn.Flatten(), nn.Conv2d(2, 4, 1)", "height"),
    "image after half a flatten": ("nn.Flatten(2), nn.MaxPool2d(2)", "height"),
    "flatten order": ("nn.Flatten(3, 2)", "dimensions"),
    "flatten beyond": ("nn.Flatten(), nn.Flatten(2)", "dimensions"),
    "channel dropout": ("nn.Flatten(), nn.Dropout2d(0.1)", "height"),
    "output": ("nn.Flatten(), nn.Linear(1024, 5)", r"\[5\]; it must be \[4\]"),
    "output rank": ("nn.Linear(32, 4)", r"must be \[4\]"),
    "no parameters": ("nn.AdaptiveAvgPool2d(2), nn.Flatten()", "nothing to train"),
    "parameters": ("nn.Flatten(), nn.Linear(1024, 65536)", "67,174,400 parameters"),
    "values": ("nn.AdaptiveAvgPool2d(256), nn.Conv2d(1, 4000, 1)", "values"),
    "products": ("nn.Conv2d(1, 256, 3), nn.Conv2d(256, 256, 20, padding=10)", "products"),
}


@pytest.mark.parametrize(("layers", "say"), MISFITS.values(), ids=MISFITS.keys())
def test_misfits_are_named_at_their_line(layers: str, say: str) -> None:
    with pytest.raises(ModelFileError, match=say):
        _check(f"return nn.Sequential({layers})")


def test_a_layer_with_weights_is_used_once_and_one_without_as_often_as_wanted() -> None:
    with pytest.raises(ModelFileError, match="more than once"):
        _check(
            "tie = nn.Linear(1024, 1024)\n"
            "    return nn.Sequential(nn.Flatten(), tie, tie, nn.Linear(1024, 4))"
        )
    cost = _check(
        "act = nn.ReLU()\n"
        "    return nn.Sequential(nn.Flatten(), act, nn.Linear(1024, 64), act, nn.Linear(64, 4))"
    )
    assert cost.parameters == 1024 * 64 + 64 + 64 * 4 + 4


@pytest.mark.parametrize(("classes", "size"), [(1, 32), (4, 8), (4, 1000)])
def test_sizes_out_of_range_are_not_the_files_fault(classes: int, size: int) -> None:
    with pytest.raises(UnknownModelError):
        check_model_text(HEAD + "return nn.ReLU()", classes=classes, image_size=size)

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.classifiers.registry import initial_weights
from models.errors import WeightsError
from models.weights.tensors import weights_from_bytes, weights_sha256, weights_to_bytes

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii"), min_size=1, max_size=12),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    ).filter(lambda names: "__metadata__" not in names)
)
def test_what_is_written_is_read_back(
    described: dict[str, tuple[torch.dtype, list[int]]],
) -> None:
    state = {name: torch.ones(shape).to(dtype) for name, (dtype, shape) in described.items()}
    back = weights_from_bytes(weights_to_bytes(state), like=state)
    assert set(back) == set(state)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_the_same_weights_give_the_same_bytes_in_any_order_and_layout() -> None:
    a, b = torch.arange(6.0).view(2, 3), torch.ones(2)
    one = weights_to_bytes({"a": a, "b": b})
    two = weights_to_bytes({"b": b, "a": a.t().contiguous().t()})
    assert one == two
    assert weights_sha256(one) == hashlib.sha256(one).hexdigest()
    assert weights_to_bytes({"a": a + 1, "b": b}) != one


def test_a_classifiers_weights_make_the_round_trip() -> None:
    state = initial_weights("small_cnn", classes=4, image_size=32, seed=0)
    back = weights_from_bytes(weights_to_bytes(state), like=state)
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("like", "say"),
    [
        ({"a": torch.ones(2), "b": torch.ones(1)}, "missing"),
        ({}, "unknown"),
        ({"a": torch.ones(3)}, r"'a' is F32\[2\]"),
        ({"a": torch.ones(2, dtype=torch.float64)}, "expected is F64"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "not exchanged"),
    ],
)
def test_weights_of_another_model_are_refused(like: dict[str, Tensor], say: str) -> None:
    with pytest.raises(WeightsError, match=say):
        weights_from_bytes(weights_to_bytes({"a": torch.ones(2)}), like=like)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_numbers_that_are_not_finite_are_refused_by_name(value: float, dtype: torch.dtype) -> None:
    data = weights_to_bytes({"fine": torch.ones(2), "bad": torch.tensor([1.0, value]).to(dtype)})
    with pytest.raises(WeightsError, match="'bad'"):
        weights_from_bytes(data)


def test_size_is_checked_first() -> None:
    data = weights_to_bytes({"a": torch.ones(2)})
    with pytest.raises(WeightsError, match="at most"):
        weights_from_bytes(data, max_bytes=len(data) - 1)
    assert weights_from_bytes(data, max_bytes=len(data))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_truncated_file_is_refused(start: int, cut: int) -> None:
    data = weights_to_bytes({"a": torch.ones(50), "b": torch.zeros(3)})
    with pytest.raises(WeightsError):
        weights_from_bytes(data[: -(cut % len(data)) or None][: start % len(data)])

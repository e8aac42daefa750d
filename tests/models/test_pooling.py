"""Packed generators come apart byte for byte, and a packed file that is none is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import WeightsError
from models.generators.pool_file import MAX_GENERATORS, pack_generators, unpack_generators
from models.weights.tensors import weights_to_bytes

NAMES = st.text("abc./_0", min_size=1, max_size=8).filter(lambda name: name != "__metadata__")
STATES = st.dictionaries(
    NAMES,
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=3).map(torch.tensor),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STATES, min_size=1, max_size=12))
def test_what_was_packed_comes_out_byte_for_byte(states: list[dict[str, torch.Tensor]]) -> None:
    files = [weights_to_bytes(state) for state in states]
    assert unpack_generators(pack_generators(files)) == files


def test_too_many_none_and_broken_ones_are_refused() -> None:
    one = weights_to_bytes({"x": torch.zeros(1)})
    for files in ([], [one] * (MAX_GENERATORS + 1)):
        with pytest.raises(WeightsError, match="pack 1 to"):
            pack_generators(files)
    with pytest.raises(WeightsError, match="NaN"):
        pack_generators([one, weights_to_bytes({"x": torch.tensor([float("nan")])})])


@pytest.mark.parametrize("names", [["x"], ["00/"], ["01/x"], ["00/x", "02/x"], ["a/x"]])
def test_what_was_not_packed_here_is_refused(names: list[str]) -> None:
    data = weights_to_bytes({name: torch.zeros(1) for name in names})
    with pytest.raises(WeightsError, match=r"belongs to no|not numbered"):
        unpack_generators(data)
    with pytest.raises(WeightsError):
        unpack_generators(weights_to_bytes({}))

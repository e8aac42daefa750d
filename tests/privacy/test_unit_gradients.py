"""What a unit adds is defined for every unit: one that raises adds zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from privacy.training.unit_gradients import Losses
from tests.privacy.dpsgdkit import UNITS, bare, classify, cnn, flat, images_of, public_images, run


@pytest.mark.parametrize("public_rows", [None, public_images])
@pytest.mark.parametrize("chunk_images", [3, 64])
@pytest.mark.parametrize("after", ["before the model", "after it"])
@pytest.mark.parametrize("raised", [RuntimeError, MemoryError])
def test_a_unit_that_raises_counts_nothing_and_harms_nobody_by_one_bit(
    raised: type[Exception],
    after: str,
    chunk_images: int,
    public_rows: Losses | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a failing unit adds is what a zero would: the others' integers stay the same."""
    losses, zero = classify(images_of()), torch.zeros(len(UNITS))
    bad = torch.nonzero(UNITS == 3).flatten()

    def failing(model: nn.Module, index: Tensor) -> Tensor:
        bad_there = torch.isin(index, bad).any()
        if bad_there and after == "before the model":
            raise raised("an image that ends it")
        found = losses(model, index)
        if bad_there:
            raise raised("an image that ends it")
        return found

    def silent(model: nn.Module, index: Tensor) -> Tensor:
        factor = (~torch.isin(index, bad)).float() + zero[: len(index)]
        return losses(model, index) * factor

    found = []
    for tried in (failing, silent):
        model = cnn()
        run(
            model,
            tried,
            chunk_images=chunk_images,
            steps=2,
            public_rows=public_rows or classify(images_of(64)),
            together=public_rows is not None,
        )
        assert bare(model)
        found.append(flat(model))
    assert torch.equal(found[0], found[1])
    assert caplog.text.count("counts as zero") == 1

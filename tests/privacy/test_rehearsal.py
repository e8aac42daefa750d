"""Whether units may share a batch is found out on public rows, and believed to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from privacy.errors import GradientError
from privacy.training import rehearsal
from privacy.training.grad_sample import per_sample
from privacy.training.rehearsal import MOST_SHARED, may_share
from tests.privacy.dpsgdkit import (
    UNITS,
    bare,
    classify,
    cnn,
    flat,
    images_of,
    naive_sum,
    public_images,
    relative,
    run,
)


class Company(nn.Module):
    """A layer whose output moves in its last bits with the sum over the batch."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)
        return self.layer(rows * (1 + self.size * torch.tanh(rows.detach().sum())))


def shares(model: nn.Module, rows: int = 16) -> bool:
    wrapped = per_sample(model.train())
    try:
        return may_share(model, losses=public_images, rows=rows)
    finally:
        wrapped.unwrap()


def test_a_model_whose_rows_stand_alone_may_share() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    before = flat(model)
    assert shares(model)
    assert torch.equal(flat(model), before)
    assert bare(model)


@pytest.mark.parametrize("size", [1e-2, 2e-7])
def test_one_bit_of_company_is_enough_to_go_alone(size: float) -> None:
    assert shares(Company(0.0))
    assert not shares(Company(size))


def test_whoever_may_not_share_goes_alone_and_right() -> None:
    """Alone only the unit's own images are in a batch, so nobody else can be in its gradient."""
    units, images = torch.arange(8), images_of(8)
    model, losses = Company(0.5), classify(images)
    expected, before = naive_sum(model, losses, units, 0.5), flat(model)
    run(model, losses, units, public_rows=public_images)
    assert relative(before - flat(model), expected) < 5e-4


def test_wrong_gradients_are_refused_before_a_private_row_is_looked_at() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 3)

        def forward(self, images: Tensor) -> Tensor:
            rows = images.flatten(1)
            return self.layer(rows) + rows @ self.layer.weight.T  # the second is not seen

    looked: list[Tensor] = []

    def private(model: nn.Module, index: Tensor) -> Tensor:
        looked.append(index)
        return public_images(model, index)

    with pytest.raises(GradientError, match="do not add up"):
        run(Twice(), private, public_rows=public_images)
    assert looked == []


def test_large_models_go_alone_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_SHARED", 100)
    monkeypatch.setattr(rehearsal, "may_share", lambda *_a, **_o: pytest.fail("asked"))
    run(cnn(), classify(images_of()), public_rows=public_images)
    assert MOST_SHARED >= 1 << 20


def test_going_together_gives_what_going_alone_gives() -> None:
    found = []
    for public_rows in (None, public_images):
        model = cnn()
        before = flat(model)
        run(model, classify(images_of()), UNITS, public_rows=public_rows)
        found.append(before - flat(model))
    assert relative(found[0], found[1]) < 1e-5

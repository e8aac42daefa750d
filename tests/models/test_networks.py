from __future__ import annotations

import torch

from models.classifiers.small_cnn import small_cnn


def test_the_small_cnn_is_small_and_starts_undecided() -> None:
    model = small_cnn(4)
    assert sum(p.numel() for p in model.parameters()) == 16_516
    assert torch.equal(model(torch.randn(2, 1, 64, 64)), torch.zeros(2, 4))

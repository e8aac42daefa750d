"""A small budget of pretraining the small CNN on phantoms.

Proven: training teaches it the class of its phantoms; card and weights belong together and make a
classifier; the same seed gives the same file; phantoms depend on seed and index alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.classifiers.phantom_cnn import SIDE, phantom_cnn
from models.classifiers.phantom_cnn_card import WEIGHTS_FILE, read_cnn_card
from models.training_scripts import pretrain_cnn
from models.training_scripts.pretrain_cnn import Settings, accuracy, draw, main, pretrain, train
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_sha256

TINY = Settings(phantoms=8, epochs=1)


def test_it_learns_the_class_of_its_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_cnn, "_BATCH", 16)
    torch.manual_seed(0)
    network = pretrain_cnn.fresh_network()
    heads, truth = draw(32, seed=0)
    assert accuracy(network, heads, truth) < 0.4
    network.load_state_dict(train(network, heads, truth, Settings(phantoms=32, epochs=20)))
    assert accuracy(network, heads, truth) > 0.5


def test_card_and_weights_belong_together(tmp_path: Path) -> None:
    card = pretrain(tmp_path, TINY)
    assert card == read_cnn_card(tmp_path)
    assert card.sha256 == weights_sha256((tmp_path / WEIGHTS_FILE).read_bytes())
    assert card.made_by.endswith("--seed 0 --phantoms 8 --epochs 1")
    assert 0 <= card.measured["class_accuracy_on_fresh_phantoms"] <= 1
    assert phantom_cnn(3, tmp_path).head.out_features == 3


def test_the_same_seed_gives_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        main(["--quick", "--phantoms", "8", "--epochs", "1", "--out", str(tmp_path / name)])
    files = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert (tmp_path / "a" / CARD_FILE).read_text() in capsys.readouterr().out


def test_a_phantom_depends_on_seed_and_index_alone() -> None:
    few, _ = draw(4, seed=3)
    more, truth = draw(8, seed=3)
    other, _ = draw(4, seed=4)
    assert torch.equal(more[:4], few)
    assert not torch.equal(other, few)
    assert few.shape == (4, 1, SIDE, SIDE)
    assert truth[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]

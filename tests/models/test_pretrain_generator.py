"""A small budget of pretraining a generator on phantoms.

Proven: training lowers the denoising loss on phantoms it never saw; card and weights belong
together; the same seed gives the same file; phantoms depend on seed and index alone.
"""

from __future__ import annotations

from pathlib import Path

import torch

from models.generators.card import WEIGHTS_FILE, read_generator_card
from models.generators.pretrained import load_start
from models.generators.settings import GeneratorSettings
from models.training_scripts.pretrain_generator import Settings, draw, pretrain
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_sha256

SHAPE = GeneratorSettings(image_size=16, channels=(16, 16), groups=4, timesteps=100)
SMALL = Settings(phantoms=64, steps=40, batch=16)


def test_it_learns_and_its_card_says_what_it_is(tmp_path: Path) -> None:
    card = pretrain(tmp_path, SMALL, shape=SHAPE)
    before = card.measured["denoising_loss_untrained"]
    assert card.measured["denoising_loss_on_fresh_phantoms"] < 0.6 * before
    assert card == read_generator_card(tmp_path)
    assert card.sha256 == weights_sha256((tmp_path / WEIGHTS_FILE).read_bytes())
    assert "--phantoms 64 --steps 40 --batch 16" in card.made_by
    model, shape = load_start(classes=card.classes, sha256=card.sha256, folder=tmp_path)
    assert shape == SHAPE
    assert model.training


def test_the_same_seed_gives_the_same_generator(tmp_path: Path) -> None:
    tiny = Settings(phantoms=8, steps=2, batch=4)
    cards = [pretrain(tmp_path / name, tiny, shape=SHAPE) for name in "ab"]
    assert cards[0] == cards[1]
    files = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert (tmp_path / "a" / CARD_FILE).read_text().startswith("{")


def test_a_phantom_depends_on_seed_and_index_alone() -> None:
    few, _ = draw(4, seed=3, size=16)
    more, labels = draw(8, seed=3, size=16)
    other, _ = draw(4, seed=4, size=16)
    assert torch.equal(more[:4], few)
    assert not torch.equal(other, few)
    assert labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert float(few.min()) >= -1
    assert float(few.max()) <= 1

"""The shipped generator: weights and card belong together, and nothing else is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.errors import GeneratorError, WeightsError
from models.generators.card import ASSETS, WEIGHTS_FILE, read_generator_card
from models.generators.diffusion import diffusion_losses
from models.generators.pretrained import CLASS_ROWS, MAX_BYTES, load_start
from models.training_scripts.pretrain_generator import SHAPE, draw, loss_on
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_from_bytes, weights_sha256, weights_to_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ASSETS, tmp_path / "generator"))


def test_the_shipped_weights_are_those_of_the_card() -> None:
    data, card = (ASSETS / WEIGHTS_FILE).read_bytes(), read_generator_card()
    assert weights_sha256(data) == card.sha256
    assert len(data) < MAX_BYTES
    assert card.never_saw == "any image of a patient"
    assert card.licence
    assert card.shape == SHAPE
    assert card.made_by.startswith("python -m models.training_scripts.pretrain_generator")
    assert {t.dtype for t in weights_from_bytes(data).values()} == {torch.float16}


def test_it_denoises_fresh_phantoms_as_its_card_says() -> None:
    card = read_generator_card()
    model, _ = load_start(classes=card.classes, sha256=card.sha256)
    found = loss_on(model, *draw(32, seed=99, size=card.image_size))
    assert found < 0.25 * card.measured["denoising_loss_untrained"]


def test_classes_are_found_by_name_and_strangers_start_from_the_mean() -> None:
    card = read_generator_card()
    rows = weights_from_bytes((ASSETS / WEIGHTS_FILE).read_bytes())[CLASS_ROWS].float()
    model, _ = load_start(classes=("healthy", "Glioma", "stroke"), sha256=card.sha256)
    found = model.state_dict()[CLASS_ROWS]
    assert torch.equal(found[0], rows[card.classes.index("notumor")])
    assert torch.equal(found[1], rows[card.classes.index("glioma")])
    assert torch.allclose(found[2], rows.mean(0))
    images, labels = torch.zeros(3, 1, 32, 32), torch.arange(3)
    losses = diffusion_losses(model, images, labels, generator=torch.Generator().manual_seed(0))
    assert losses.shape == (3,)


def test_another_hash_than_the_plan_s_is_refused() -> None:
    with pytest.raises(WeightsError, match="plan starts from"):
        load_start(classes=("a", "b"), sha256="0" * 64)


def test_changed_weights_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="SHA-256"):
        load_start(classes=("a", "b"), sha256=read_generator_card(folder).sha256, folder=folder)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_start(classes=("a", "b"), sha256=read_generator_card(folder).sha256, folder=folder)


def test_a_card_that_is_none_or_of_another_shape_is_refused(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "saw_too": "x"}))
    with pytest.raises(WeightsError, match="card"):
        read_generator_card(folder)
    (folder / CARD_FILE).write_text(json.dumps({**card, "channels": [24, 48, 48]}))
    with pytest.raises(WeightsError, match="not those of their card"):
        load_start(classes=("a", "b"), sha256=card["sha256"], folder=folder)
    (folder / CARD_FILE).write_text(json.dumps({**card, "channels": [1]}))
    with pytest.raises(GeneratorError, match="channel width"):
        load_start(classes=("a", "b"), sha256=card["sha256"], folder=folder)
    (folder / CARD_FILE).write_text(json.dumps({**card, "classes": ["a"]}))
    with pytest.raises(WeightsError, match="classes of their card"):
        load_start(classes=("a", "b"), sha256=card["sha256"], folder=folder)


def test_weights_without_classes_are_refused(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    data = weights_to_bytes({"x": torch.zeros(1)})
    (folder / WEIGHTS_FILE).write_bytes(data)
    (folder / CARD_FILE).write_text(json.dumps({**card, "sha256": weights_sha256(data)}))
    with pytest.raises(WeightsError, match="classes of their card"):
        load_start(classes=("a", "b"), sha256=weights_sha256(data), folder=folder)

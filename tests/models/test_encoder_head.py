"""The shipped encoder and the classifier on it.

Proven: the weights are those of the card, at most 20 MB, and nothing else is loaded; features have
length 1 and depend on one image each; only the head is a parameter, so that only the head is
trained, sent and aggregated; per-sample gradients through it are right.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.classifiers.encoder_head import CONSTANT, EncoderHead, fresh_head
from models.classifiers.registry import build_classifier
from models.encoder.card import ASSETS, MAX_BYTES, WEIGHTS_FILE, read_card
from models.encoder.encoder import Encoder, load_encoder
from models.errors import WeightsError
from models.images.pixels import normalise
from models.phantoms.draw import draw_phantoms
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_sha256
from privacy import check_gradients


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    drawn = draw_phantoms(counts={"glioma": 3, "notumor": 3}, size=64, seed=2)
    return normalise(torch.from_numpy(drawn.images))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ASSETS, tmp_path / "encoder"))


def test_the_shipped_weights_are_those_of_the_card() -> None:
    data, card = (ASSETS / WEIGHTS_FILE).read_bytes(), read_card()
    assert weights_sha256(data) == card.sha256
    assert len(data) <= MAX_BYTES
    assert card.never_saw == "any image of a patient"
    assert card.licence
    assert card.made_by


def test_features_have_length_one_and_depend_on_one_image_each(
    encoder: Encoder, images: torch.Tensor
) -> None:
    together = encoder(images)
    assert together.shape == (6, encoder.dimension)
    assert torch.allclose(together.norm(dim=1), torch.ones(6), atol=1e-5)
    alone = torch.cat([encoder(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-4)
    assert (together[0] - together[1]).norm() > 0.05
    assert encoder(images[:0]).shape == (0, encoder.dimension)


def test_only_the_head_is_a_parameter(images: torch.Tensor) -> None:
    model = build_classifier("encoder_head", classes=4, image_size=64)
    assert isinstance(model, EncoderHead)
    assert set(model.state_dict()) == {"head.weight"}
    assert [p.numel() for p in model.parameters()] == [4 * (read_card().dimension + 1)]
    assert (model.features(images)[:, -1] == CONSTANT).all()
    assert torch.equal(model(images), torch.zeros(6, 4))  # undecided at the start
    with torch.no_grad():
        model.head.weight.normal_()
    assert torch.equal(model(images), model.head(model.features(images)))


def test_per_sample_gradients_are_right(images: torch.Tensor) -> None:
    model = build_classifier("encoder_head", classes=2, image_size=64)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])

    def losses(network: torch.nn.Module, index: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(
            network(images[index]), labels[index], reduction="none"
        )

    check_gradients(model, losses=losses, units=[torch.tensor([0, 1]), torch.tensor([3, 4, 5])])


def test_altered_weights_are_not_loaded(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="SHA-256"):
        load_encoder(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_encoder(folder)
    (folder / CARD_FILE).unlink()
    with pytest.raises(WeightsError, match="card"):
        load_encoder(folder)


def test_an_encoder_takes_the_side_that_its_card_tells(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    features = []
    for side in (card["side"], 96):
        (folder / CARD_FILE).write_text(json.dumps({**card, "side": side}))
        encoder = load_encoder(folder)
        assert encoder.side == side
        features.append(encoder(images))
    assert not torch.allclose(*features)
    (folder / CARD_FILE).write_text(json.dumps({**card, "side": None}))
    with pytest.raises(WeightsError, match="tells its side"):
        load_encoder(folder)


def test_a_card_that_is_none_or_another_encoders_is_refused(folder: Path) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "saw_too": "x"}))
    with pytest.raises(WeightsError, match="card"):
        load_encoder(folder)
    (folder / CARD_FILE).write_text(json.dumps({**card, "dimension": card["dimension"] + 1}))
    with pytest.raises(WeightsError, match="not those of an encoder"):
        load_encoder(folder)


def test_a_rows_logits_and_gradient_are_its_own_to_the_last_bit():
    """A matrix product adds in an order that depends on a row's place; this head does not."""
    head = fresh_head(30, classes=4)
    torch.nn.init.normal_(head.weight)
    rows = torch.randn(64, 31)
    order = torch.randperm(64)
    assert torch.equal(head(rows)[order], head(rows[order]))
    assert torch.equal(head(rows)[:1], head(rows[:1]))
    assert torch.allclose(head(rows), rows @ head.weight.T, atol=1e-5)

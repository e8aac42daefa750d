"""Encoders made of a backbone: made, opened, and refused where anything does not fit.

Proven: the card says what was done and what was seen, and its hash names all of it; features have
length 1 and depend on one image each; the classifier on it trains a head alone and reads the
encoder only when it is asked for features; altered, missing, too large or wrong files are refused.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.classifiers.build import build_model
from models.classifiers.encoder_head import CONSTANT, EncoderHead
from models.encoder.card import (
    ASSETS,
    MAX_BACKBONE_BYTES,
    WEIGHTS_FILE,
    check_encoder,
    encoder_sha256,
    read_card,
)
from models.encoder.encoder import load_encoder
from models.encoder.make import EncoderSettings, make_encoder
from models.encoder.open import BackboneEncoder, open_encoder
from models.errors import UnknownModelError, WeightsError
from models.images.pixels import normalise
from models.phantoms.draw import draw_phantoms
from models.training_scripts.tiny_encoder import write_tiny
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_from_bytes, weights_sha256, weights_to_bytes

SETTINGS = EncoderSettings(architecture="mobilenet_v3_small", saw="x", weights=Path("none.pth"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "encoder"))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    drawn = draw_phantoms(counts={"glioma": 2, "notumor": 2}, size=64, seed=2)
    return normalise(torch.from_numpy(drawn.images))


def test_the_card_says_what_was_done_and_seen(made: Path) -> None:
    card = check_encoder(made, sha256=encoder_sha256(made))
    assert card.sha256 == weights_sha256((made / WEIGHTS_FILE).read_bytes())
    assert card.backbone is not None
    assert (card.backbone.architecture, card.backbone.norm) == ("mobilenet_v3_small", "frozen")
    assert "random.safetensors" in card.saw[0]
    assert card.made_by == (
        "dura study encoder --backbone mobilenet_v3_small --norm frozen "
        "--weights random.safetensors --dimension 8 --phantoms 32 --seed 0"
    )
    assert "any image of a patient" not in card.never_saw
    assert 0 <= card.measured["accuracy_on_fresh_phantoms"] <= 1


def test_the_hash_names_everything_the_card_says(folder: Path) -> None:
    before = encoder_sha256(folder)
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, "saw": ["patients"]}))
    assert encoder_sha256(folder) != before
    with pytest.raises(WeightsError, match=f"{before[:12]} is asked for"):
        check_encoder(folder, sha256=before)


def test_features_have_length_one_and_depend_on_one_image_each(
    made: Path, images: torch.Tensor
) -> None:
    encoder = open_encoder(made)
    assert isinstance(encoder, BackboneEncoder)
    encoder.train()
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    together = encoder(images)
    assert together.shape == (4, 8)
    assert torch.allclose(together.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(together, torch.cat([encoder(i[None]) for i in images]), atol=1e-3)
    assert (together[0] - together[1]).norm() > 1e-3
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_classifier_stands_on_it(made: Path, images: torch.Tensor) -> None:
    model = build_model("encoder_head", text=None, classes=3, image_size=64, encoder=made)
    assert isinstance(model, EncoderHead)
    assert {n: t.shape for n, t in model.state_dict().items()} == {"head.weight": (3, 9)}
    features = model.features(images)
    assert torch.equal(features[:, :8], open_encoder(made)(images))
    assert (features[:, 8] == CONSTANT).all()
    with pytest.raises(UnknownModelError, match="small_cnn"):
        build_model("small_cnn", text=None, classes=3, image_size=64, encoder=made)


def test_it_is_read_only_when_features_are_asked_for(folder: Path, images: torch.Tensor) -> None:
    (folder / WEIGHTS_FILE).unlink()
    model = build_model("encoder_head", text=None, classes=3, image_size=64, encoder=folder)
    with pytest.raises(WeightsError, match="cannot be read"):
        model(images)


def test_an_encoder_on_duras_own_trunk_is_opened_as_well() -> None:
    mine = open_encoder(ASSETS)
    assert mine.dimension == read_card().dimension
    assert check_encoder(ASSETS).backbone is None


def test_what_overflows_for_an_image_is_that_images_zero(
    folder: Path, images: torch.Tensor
) -> None:
    """Nothing downstream may fail on it: that would tell of the image, without noise."""
    encoder = open_encoder(folder)
    pooled = torch.tensor([[torch.inf], [torch.nan], [1.0], [-1.0]]).expand(4, len(encoder.mean))
    found = encoder.project(pooled)
    assert (found[:2] == 0).all()
    assert torch.allclose(found[2:].norm(dim=1), torch.ones(2), atol=1e-5)
    state = weights_from_bytes((folder / WEIGHTS_FILE).read_bytes())
    state["projection"] = torch.full_like(state["projection"], 3e38)
    data = weights_to_bytes(state)
    (folder / WEIGHTS_FILE).write_bytes(data)
    _with_card(folder, sha256=weights_sha256(data))
    assert torch.isfinite(open_encoder(folder)(images)).all()


def test_altered_weights_are_refused(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    for look in (open_encoder, check_encoder):
        with pytest.raises(WeightsError, match="SHA-256"):
            look(folder)


def test_a_file_that_is_missing_or_too_large_is_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        check_encoder(folder)
    with (folder / WEIGHTS_FILE).open("wb") as file:
        os.truncate(file.fileno(), MAX_BACKBONE_BYTES + 1)  # sparse
    with pytest.raises(WeightsError, match="at most"):
        check_encoder(folder)
    (folder / CARD_FILE).write_text(" " * 100_000)
    with pytest.raises(WeightsError, match="not an encoder's card"):
        check_encoder(folder)


def _with_card(folder: Path, **fields: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({**card, **fields}))


@pytest.mark.parametrize(
    "fields", [{"backbone": {"architecture": "os.system"}}, {"saw": ["\x1b[2Jnobody"]}]
)
def test_an_architecture_of_ones_own_or_words_that_move_a_cursor_are_no_card(
    folder: Path, fields: dict[str, object]
) -> None:
    _with_card(folder, **fields)
    with pytest.raises(WeightsError, match="not an encoder's card"):
        open_encoder(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": {"architecture": "resnet18"}},
        {"backbone": {"architecture": "mobilenet_v3_small", "norm": "group"}},
        {"dimension": 7},
    ],
)
def test_weights_of_another_architecture_are_refused(folder: Path, fields: object) -> None:
    assert isinstance(fields, dict)
    _with_card(folder, **fields)
    with pytest.raises(WeightsError, match="not those of an encoder"):
        open_encoder(folder)


def test_the_shipped_encoders_limit_still_holds_for_duras_own_trunk(folder: Path) -> None:
    _with_card(folder, backbone=None, side=160)
    with (folder / WEIGHTS_FILE).open("wb") as file:
        os.truncate(file.fileno(), 21 * 1024 * 1024)
    with pytest.raises(WeightsError, match="at most 20971520"):
        check_encoder(folder)


def test_a_backbone_is_not_taken_for_duras_own_trunk(made: Path) -> None:
    with pytest.raises(WeightsError, match="mobilenet_v3_small-frozen, not Dura's own"):
        load_encoder(made)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    state = weights_from_bytes(path.read_bytes())
    state["mean"][0] = torch.nan
    data = weights_to_bytes(state)
    path.write_bytes(data)
    _with_card(folder, sha256=weights_sha256(data))
    with pytest.raises(WeightsError, match="NaN"):
        open_encoder(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architecture": "resnet19"}, "resnet18"),
        ({"norm": "batch"}, "frozen, group"),
        ({"saw": " "}, "--saw TEXT"),
        ({"weights": None}, "--saw TEXT"),
        ({"saw": "x" * 601}, "printable"),
        ({"licence": "\x1b[2J"}, "printable"),
        ({"dimension": 0}, "dimensions"),
        ({"phantoms": 50}, "twice as many"),
        ({}, "cannot be read"),
    ],
)
def test_a_setting_out_of_range_is_refused_and_nothing_is_written(
    fields: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=said):
        make_encoder(tmp_path / "out", replace(SETTINGS, **fields))
    assert not (tmp_path / "out").exists()


def test_an_encoder_is_not_written_over(folder: Path) -> None:
    with pytest.raises(WeightsError, match="already"):
        make_encoder(folder, SETTINGS)
    with pytest.raises(WeightsError, match="no folder"):
        make_encoder(folder / WEIGHTS_FILE, SETTINGS)


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
def test_what_a_sandbox_would_not_see_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(WeightsError, match="is a link"):
        check_encoder(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)  # reading it would wait for ever
    with pytest.raises(WeightsError, match="no file"):
        check_encoder(folder)

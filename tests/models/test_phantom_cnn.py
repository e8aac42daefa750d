"""The small CNN that is trained end to end from phantoms.

Proven: standardised filters have mean 0 and keep variance, whatever their parameter's offset and
scale; an untrained classifier holds the shipped weights and is undecided; all of it learns, and the
head cut out of an image does not depend on what is learnt; weights that are not those of the card
are refused. That gradients of units are exact is shown for every registered classifier in
`tests/datasites/test_unit_gradients.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from models.classifiers.phantom_cnn import (
    CENTRE,
    SIDE,
    STEP,
    PhantomCnn,
    StandardisedConv2d,
    cnn_trunk,
    phantom_cnn,
    standardised,
)
from models.classifiers.phantom_cnn_card import ASSETS, MAX_BYTES, WEIGHTS_FILE, read_cnn_card
from models.classifiers.registry import build_classifier
from models.encoder.encoder import read_weights
from models.errors import WeightsError
from models.images.crop_to_head import cut_to_head
from models.images.pixels import normalise
from models.phantoms.draw import draw_phantoms
from models.weights.card import CARD_FILE
from models.weights.tensors import weights_sha256, weights_to_bytes


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    drawn = draw_phantoms(counts={"glioma": 2, "notumor": 2}, size=48, seed=2)
    return normalise(torch.from_numpy(drawn.images))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ASSETS, tmp_path / "cnn"))


def test_filters_are_standardised_whatever_their_offset_and_scale() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    filters = standardised(3.0 * weight + 0.7).flatten(1)
    assert torch.allclose(filters.mean(1), torch.zeros(6), atol=1e-6)
    assert torch.allclose(filters.square().sum(1), torch.ones(6), atol=1e-3)
    assert torch.allclose(filters, standardised(weight).flatten(1), atol=1e-4)


def test_a_convolution_takes_its_filters_standardised() -> None:
    layer = StandardisedConv2d(4, 6, kernel=3, stride=2)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    plain = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
    plain.load_state_dict({"weight": standardised(layer.weight)})
    assert torch.allclose(layer(x), plain(x), atol=1e-6)
    assert layer(x).shape == (2, 6, 5, 5)


def test_it_starts_undecided_from_the_shipped_weights(images: torch.Tensor) -> None:
    model = build_classifier("phantom_cnn", classes=4, image_size=48)
    assert not model(images).any()
    stored = read_weights(ASSETS / WEIGHTS_FILE, sha256=read_cnn_card().sha256, max_bytes=MAX_BYTES)
    state = model.get_submodule("trunk").state_dict()
    centre = stored.pop(CENTRE)
    assert set(stored) == set(state)
    assert all(torch.equal(state[name], tensor.float() / STEP) for name, tensor in stored.items())
    assert torch.equal(model.get_buffer("centre"), centre.float())
    assert "centre" not in model.state_dict()  # as shipped in every round, never sent
    assert (ASSETS / WEIGHTS_FILE).stat().st_size < MAX_BYTES
    assert sum(p.numel() for p in model.parameters()) == 119_604


def test_the_divided_trunk_computes_what_was_trained(images: torch.Tensor) -> None:
    stored = read_weights(ASSETS / WEIGHTS_FILE, sha256=read_cnn_card().sha256, max_bytes=MAX_BYTES)
    stored.pop(CENTRE)
    trained = cnn_trunk()
    trained.load_state_dict(stored)
    model = phantom_cnn(4)
    heads = model.features(images).unflatten(1, (1, SIDE, SIDE))
    assert torch.allclose(model.trunk(heads), trained(heads), atol=1e-3)


def test_a_step_changes_the_trunk_less_by_the_square(images: torch.Tensor) -> None:
    model, plain = phantom_cnn(4), PhantomCnn(classes=4)
    plain.trunk = cnn_trunk()
    plain.trunk.load_state_dict({n: t * STEP for n, t in model.trunk.state_dict().items()})
    plain.centre = model.centre
    for network in (model, plain):
        nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
        loss = nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 3]))
        loss.backward()
    for name, parameter in plain.trunk.named_parameters():
        divided = dict(model.trunk.named_parameters())[name]
        assert parameter.grad is not None
        assert divided.grad is not None
        moved = divided.grad * STEP  # of the weight it stands for, at a rate of one
        assert torch.allclose(moved, parameter.grad * STEP**2, rtol=0.05, atol=1e-6)


def test_all_of_it_learns_and_the_cut_out_head_stays(images: torch.Tensor) -> None:
    model = phantom_cnn(4)
    before = model.features(images)
    assert before.shape == (4, model.feature_size)
    cut = cut_to_head(images * 0.25 + 0.25, side=SIDE).flatten(1)
    assert torch.allclose(before, cut, atol=1e-5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # behind a head of zeros nothing learns
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert torch.equal(model.features(images), before)
    assert torch.equal(model(images), model.from_features(before))


def test_altered_weights_are_refused(copied: Path) -> None:
    path = copied / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match="its card says"):
        phantom_cnn(4, copied)
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        phantom_cnn(4, copied)
    (copied / CARD_FILE).write_text("{}")
    with pytest.raises(WeightsError, match="is not the small CNN's card"):
        phantom_cnn(4, copied)


def test_weights_of_another_network_are_refused(copied: Path) -> None:
    right = read_weights(ASSETS / WEIGHTS_FILE, sha256=read_cnn_card().sha256, max_bytes=MAX_BYTES)
    for wrong in (
        {"1.weight": torch.zeros(2, 2)},
        {**right, CENTRE: torch.zeros(1)},
        {name: tensor for name, tensor in right.items() if name != CENTRE},
        {**right, "1.weight": torch.zeros(2, 2)},
    ):
        data = weights_to_bytes(wrong)
        (copied / WEIGHTS_FILE).write_bytes(data)
        card = read_cnn_card(copied).model_copy(update={"sha256": weights_sha256(data)})
        (copied / CARD_FILE).write_text(card.model_dump_json())
        with pytest.raises(WeightsError, match="not those of this network"):
            phantom_cnn(4, copied)


def test_two_models_share_no_memory() -> None:
    one, other = phantom_cnn(4), phantom_cnn(4)
    assert isinstance(one, PhantomCnn)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(1.0)
    assert torch.equal(
        phantom_cnn(4).state_dict()["trunk.1.weight"], other.state_dict()["trunk.1.weight"]
    )

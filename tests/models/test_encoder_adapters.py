"""Classifiers that adapt the encoder.

Proven: untrained they are the head on the shipped encoder; adapters and head are all that is held,
trained and sent; every adapter bears on the result and gets a gradient; training leaves the frozen
part as it was, so features computed before it still hold. That gradients of units are exact is
shown for every registered classifier in `tests/datasites/test_unit_gradients.py`.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.classifiers.encoder_adapters import FROZEN, RANK, EncoderAdapted
from models.classifiers.registry import build_classifier
from models.encoder.efficientnet import BLOCKS, CHANNELS, Trunk
from models.encoder.encoder import SIDE
from models.images.pixels import normalise
from models.phantoms.draw import draw_phantoms

NAMES = ("encoder_film", "encoder_lora")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    drawn = draw_phantoms(counts={"glioma": 2, "notumor": 2}, size=32, seed=2)
    return normalise(torch.from_numpy(drawn.images))


def _with_head(name: str) -> nn.Module:
    """A fresh one whose head decides something."""
    model = build_classifier(name, classes=4, image_size=32)
    head = model.get_submodule("head")
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("name", NAMES)
def test_untrained_it_is_the_head_on_the_shipped_encoder(name: str, images: torch.Tensor) -> None:
    with torch.no_grad():
        plain, adapted = _with_head("encoder_head")(images), _with_head(name)(images)
    assert plain.abs().max() > 0.1
    assert torch.allclose(plain, adapted, atol=1e-4)


@pytest.mark.parametrize(("name", "adapters"), [("encoder_film", 672), ("encoder_lora", 8576)])
def test_only_adapters_and_head_are_held(name: str, adapters: int) -> None:
    model = build_classifier(name, classes=4, image_size=32)
    sizes = {key: tensor.numel() for key, tensor in model.state_dict().items()}
    assert sizes.pop("head.weight") == 4 * 145
    assert all(key.startswith("adapters.") for key in sizes)
    assert sum(sizes.values()) == adapters
    assert set(dict(model.named_parameters())) == set(model.state_dict())


def test_they_stand_in_the_last_stage() -> None:
    film = build_classifier("encoder_film", classes=4, image_size=32)
    lora = build_classifier("encoder_lora", classes=4, image_size=32)
    assert isinstance(film, EncoderAdapted)
    assert isinstance(lora, EncoderAdapted)
    assert [a.out_channels for a in film.adapters] == [CHANNELS] * (BLOCKS - FROZEN)  # type: ignore[union-attr]
    assert len(lora.adapters) == 2 * (BLOCKS - FROZEN)
    assert {pair[0].out_channels for pair in lora.adapters} == {RANK}  # type: ignore[index,union-attr]
    stage = Trunk().blocks[:FROZEN](torch.zeros(1, 32, SIDE // 2, SIDE // 2))
    assert film.feature_size == 2 * stage.numel()


@pytest.mark.parametrize("name", NAMES)
def test_every_adapter_learns_and_the_frozen_part_stays(name: str, images: torch.Tensor) -> None:
    model = _with_head(name)
    assert isinstance(model, EncoderAdapted)
    before = model.features(images)
    logits = model.from_features(before)
    assert torch.equal(model(images), logits)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(2):  # of a pair the first layer learns once the second is no longer zero
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    unmoved = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unmoved == []
    assert torch.equal(model.features(images), before)
    changed = model.from_features(before)
    assert not torch.allclose(changed, logits, atol=1e-3)
    fresh = build_classifier(name, classes=4, image_size=32)
    fresh.load_state_dict(model.state_dict())
    assert torch.allclose(fresh(images), changed, atol=1e-5)  # the state is all there is to it

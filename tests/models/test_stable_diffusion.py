"""Stable Diffusion from random components: loaded, adapted, handed over and sampled.

Proven: only low-rank additions to attention are trained, and untrained ones change nothing; a loss
depends on its own row; the prompt tells classes apart; guidance works; another's additions give the
same images; what is not the plan's checkpoint is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import GeneratorError, WeightsError
from models.generators.checkpoint import checkpoint_sha256
from models.generators.stable_diffusion import StableGenerator, stable_generator
from models.training_scripts.tiny_stable_diffusion import write_tiny

CLASSES = ("glioma", "notumor")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
LABELS = torch.tensor([0, 1, 0])


def _open(folder: Path, **fields: object) -> StableGenerator:
    values = {
        "sha256": checkpoint_sha256(folder),
        "classes": CLASSES,
        "prompt": "a brain with {class}",
        "image_size": 16,
        "rank": 2,
        "guidance": 1.0,
    }
    return stable_generator(folder, **{**values, **fields})  # type: ignore[arg-type]


def _losses(made: StableGenerator, prepared: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    same = torch.Generator().manual_seed(1)
    return made.losses(made.network, prepared, labels, generator=same, draws=2)


def _images(made: StableGenerator, labels: torch.Tensor = LABELS) -> np.ndarray:
    return made.sample(labels, steps=2, generator=torch.Generator().manual_seed(2))


def _step(made: StableGenerator) -> None:
    parameters = [p for p in made.network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        _losses(made, made.prepare(IMAGES), LABELS).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("target", ["epsilon", "v_prediction"])
def test_only_additions_to_attention_are_trained(tmp_path: Path, target: str) -> None:
    made = _open(write_tiny(tmp_path / "sd", target=target))
    before = {n: p.detach().clone() for n, p in made.network.named_parameters()}
    learnt = set(made.adapted())
    assert learnt
    assert all(".attn" in name and "lora_" in name for name in learnt)
    first = float(_losses(made, made.prepare(IMAGES), LABELS).detach().mean())
    _step(made)
    changed = {n for n, p in made.network.named_parameters() if not torch.equal(p, before[n])}
    assert changed == learnt
    assert float(_losses(made, made.prepare(IMAGES), LABELS).detach().mean()) < first


def test_latents_and_losses_are_those_of_each_image_alone(tiny_stable: Path) -> None:
    made = _open(tiny_stable)
    prepared = made.prepare(IMAGES)
    assert prepared.shape == (3, 4, 8, 8)
    torch.testing.assert_close(made.prepare(IMAGES[1:2]), prepared[1:2])
    losses = _losses(made, prepared, LABELS)
    other = prepared.clone()
    other[0] = 0
    changed = _losses(made, other, LABELS)
    assert losses[0] != changed[0]
    torch.testing.assert_close(losses[1:], changed[1:])
    # The class reaches the loss by its prompt.
    assert (_losses(made, prepared, 1 - LABELS) != losses).all()


def test_images_are_drawn_and_guidance_changes_them(tiny_stable: Path) -> None:
    plain = _images(_open(tiny_stable))
    assert (plain.dtype, plain.shape) == (np.uint8, (3, 16, 16))
    np.testing.assert_array_equal(_images(_open(tiny_stable)), plain)
    assert (_images(_open(tiny_stable, guidance=8.0)) != plain).any()
    assert _images(_open(tiny_stable), torch.zeros(5, dtype=torch.int64)).shape == (5, 16, 16)


def test_another_s_additions_draw_the_same_images(tiny_stable: Path) -> None:
    here, there = _open(tiny_stable), _open(tiny_stable)
    _step(here)
    assert (_images(here) != _images(there)).any()
    there.adopt(here.adapted())
    np.testing.assert_array_equal(_images(here), _images(there))


def test_a_diverged_generator_is_named_as_such(tiny_stable: Path) -> None:
    made = _open(tiny_stable)
    made.adopt({n: torch.full_like(t, float("nan")) for n, t in made.adapted().items()})
    with pytest.raises(GeneratorError, match="NaN"):
        _images(made)
    assert made.network.training


@pytest.mark.parametrize(
    ("fields", "say"),
    [
        ({"prompt": "a brain"}, "does not say"),
        ({"image_size": 18}, "multiple of 4"),
        ({"rank": 0}, "rank"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tiny_stable: Path, fields: dict[str, object], say: str
) -> None:
    with pytest.raises(GeneratorError, match=say):
        _open(tiny_stable, **fields)


def test_another_checkpoint_or_a_broken_one_is_refused(tmp_path: Path, tiny_stable: Path) -> None:
    with pytest.raises(WeightsError, match="plan starts from"):
        _open(tiny_stable, sha256="0" * 64)
    broken = write_tiny(tmp_path / "broken")
    (broken / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"{}")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        _open(broken)
    with pytest.raises(GeneratorError, match="sample"):
        _open(write_tiny(tmp_path / "odd", target="sample"))


def test_wrong_labels_steps_and_draws_are_refused(tiny_stable: Path) -> None:
    made = _open(tiny_stable)
    prepared = made.prepare(IMAGES)
    for labels in (torch.tensor([0, 2, 0]), LABELS.float()):
        with pytest.raises(GeneratorError, match=r"labels|classes"):
            _losses(made, prepared, labels)
    for steps in (0, 1001):
        with pytest.raises(GeneratorError, match="DDIM"):
            made.sample(LABELS, steps=steps, generator=torch.Generator())
    with pytest.raises(GeneratorError, match="draws"):
        made.losses(made.network, prepared, LABELS, generator=torch.Generator(), draws=0)

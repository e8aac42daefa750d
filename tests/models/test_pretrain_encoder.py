"""A small budget of pretraining on phantoms, from random weights.

Proven: its features tell the classes of phantoms it never saw better than raw pixels do; card and
weights belong together and can be loaded; the same seed gives the same file; a wrong start is
refused by its hash.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV

from models.classes import DEFAULT_CLASSES
from models.encoder.card import WEIGHTS_FILE
from models.encoder.encoder import load_encoder
from models.encoder.fit import fit_levels, fit_projection
from models.errors import WeightsError
from models.images.pixels import normalise
from models.phantoms.draw import draw_phantoms
from models.training_scripts.pretrain_encoder import Settings, pretrain, read_start
from models.weights.card import CARD_FILE

SMALL = Settings(phantoms=160, epochs=2, dimension=64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    pretrain(folder, SMALL, start=None)
    return folder


def test_features_beat_raw_pixels_on_phantoms(made: Path) -> None:
    drawn = draw_phantoms(counts=dict.fromkeys(DEFAULT_CLASSES, 60), size=64, seed=5)
    images = normalise(torch.from_numpy(drawn.images))
    pixels = torch.nn.functional.adaptive_avg_pool2d(images, 32).flatten(1).numpy()
    features = load_encoder(made)(images).numpy()
    train = np.arange(len(drawn.labels)) % 2 == 0

    def score(x: np.ndarray) -> float:
        ridge = RidgeClassifierCV(alphas=np.logspace(-3, 3, 7)).fit(x[train], drawn.labels[train])
        return float(ridge.score(x[~train], drawn.labels[~train]))

    assert score(features) > score(pixels) + 0.05


def test_the_same_seed_gives_the_same_encoder(tmp_path: Path) -> None:
    tiny = Settings(phantoms=16, epochs=1, dimension=8)
    cards = [pretrain(tmp_path / name, tiny, start=None) for name in "ab"]
    assert cards[0] == cards[1]
    files = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert "--phantoms 16" in (tmp_path / "a" / CARD_FILE).read_text()


def test_random_images_come_first_when_asked_for_and_the_card_says_so(tmp_path: Path) -> None:
    tiny = Settings(phantoms=16, epochs=1, dimension=8)
    plain = pretrain(tmp_path / "plain", tiny, start=None)
    other = pretrain(tmp_path / "other", replace(tiny, random_images=16), start=None)
    assert plain.sha256 != other.sha256
    assert not any("random process" in what for what in plain.saw)
    assert any(what.startswith("16 images of a random process") for what in other.saw)
    assert "--random-images 16" in other.made_by


def test_another_start_than_the_published_one_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "start.pth"
    wrong.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="SHA-256"):
        read_start(wrong)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_start(tmp_path / "none")


def test_the_projection_keeps_what_varies_most() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(400, 2)
    maps = hidden @ torch.randn(2, 6) + 0.01 * torch.randn(400, 6) + 3.0
    mean, projection = fit_projection(maps, dimension=2)
    found = (maps - mean) @ projection
    again = found @ torch.linalg.lstsq(found, hidden - hidden.mean(0)).solution
    assert (again - (hidden - hidden.mean(0))).norm() < 0.1 * hidden.norm()


def test_each_level_is_projected_by_itself_and_weighs_the_same() -> None:
    torch.manual_seed(0)
    loud, quiet = 100.0 * torch.randn(400, 6) + 5.0, 0.1 * torch.randn(400, 4)
    pooled = torch.cat([loud, quiet], dim=1)
    mean, projection = fit_levels(pooled, lengths=(6, 4), dimensions=(3, 2))
    assert torch.equal(projection[:6, 3:], torch.zeros(6, 2))
    assert torch.equal(projection[6:, :3], torch.zeros(4, 3))
    found = (pooled - mean) @ projection
    for level in found.split([3, 2], dim=1):
        assert float(level.norm(dim=1).mean()) == pytest.approx(1.0, abs=1e-3)
    alone, directions = fit_projection(quiet, dimension=2)
    assert torch.equal(mean[6:], alone)
    ratio = projection[6:, 3:] / directions
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4)

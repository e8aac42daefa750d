"""Training with canaries, through the real trainer: an audit that can fail.

Proven: with the noise silently divided by 10 inside the trainer every seed turns red; with correct
noise at least 19 of 20 stay green (`make bench-audit` tries more); other ways to break the trainer
(no clipping, everybody in every step) are found as well; the probe does not change what the model
learns; update and loss scores tell members apart where there is hardly any noise; dot products are
those of one gradient at a time.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import privacy.training.dpsgd
from privacy import (
    DpSgdSettings,
    UnsafeNoNoise,
    UnsafeSeededNoise,
    UnsafeSeededStream,
    audit_scores,
    calibrate_noise,
    epsilon,
    poisson_gaussian,
)
from privacy.empirical.canaries import CanaryRun, Subject, directional, train_with_canaries
from privacy.errors import SettingsError
from privacy.mechanism.grid import Grid

CLAIM, DELTA, RATE, STEPS = 2.0, 1e-5, 0.5, 12
REAL, IMAGES, COORDINATES = 60, 60, 400


@pytest.fixture(scope="module")
def noise_multiplier() -> float:
    return calibrate_noise(
        target_epsilon=CLAIM,
        delta=DELTA,
        event_for=lambda z: poisson_gaussian(sampling_rate=RATE, noise_multiplier=z, steps=STEPS),
    )


def _run(
    seed: int, noise_multiplier: float, *, images: int = IMAGES, rate: float = 0.5, noise=None
):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    x, y = torch.randn(REAL + images, 6), torch.randint(0, 2, (REAL + images,))

    def losses(module: nn.Module, index: Tensor) -> Tensor:
        return functional.cross_entropy(module(x[index]), y[index], reduction="none")

    def public(module: nn.Module, index: Tensor) -> Tensor:
        some = index % len(x)
        return functional.cross_entropy(module(-x[some]), some % 2, reduction="none")

    return train_with_canaries(
        Subject(
            model=model,
            losses=losses,
            public_rows=public,
            units=torch.arange(REAL),
            image_canaries=images,
            gradient_canaries=COORDINATES,
        ),
        settings=DpSgdSettings(
            sampling_rate=RATE,
            noise_multiplier=noise_multiplier,
            clipping_norm=1.0,
            expected_units=RATE * 290,
            steps=STEPS,
            chunk_images=1024,
        ),
        optimizer=lambda p: torch.optim.SGD(p, lr=rate, momentum=0.9),
        sampling=UnsafeSeededStream(seed),
        noise=noise or UnsafeSeededNoise(seed),
        coins=np.random.default_rng(seed),
    )


def _red(run: CanaryRun) -> bool:
    found = []
    for scores in run.scores:
        bound = audit_scores(
            scores.values,
            scores.included,
            event=run.event,
            delta=DELTA,
            significance=0.05 / len(run.scores),
        )
        found.append(bound.claim_rejected or bound.epsilon > epsilon(run.event, delta=DELTA))
    return any(found)


def _broken(monkeypatch: pytest.MonkeyPatch, **changes: float) -> None:
    """The trainer's grid with its noise or its clipping silently multiplied."""

    def broken(settings: DpSgdSettings) -> Grid:
        return Grid(
            noise_multiplier=settings.noise_multiplier * changes.get("noise_multiplier", 1.0),
            sensitivity=settings.clipping_norm * changes.get("clipping_norm", 1.0),
        )

    monkeypatch.setattr(DpSgdSettings, "grid", property(broken))


def test_correct_noise_stays_green_in_19_of_20_seeds(noise_multiplier):
    assert epsilon(_run(0, noise_multiplier).event, delta=DELTA) <= CLAIM
    assert sum(_red(_run(seed, noise_multiplier)) for seed in range(20)) <= 1


def test_a_tenth_of_the_noise_turns_red_in_every_seed(noise_multiplier, monkeypatch):
    _broken(monkeypatch, noise_multiplier=0.1)
    assert all(_red(_run(seed, noise_multiplier)) for seed in range(20))


def test_a_looser_clip_turns_red(noise_multiplier, monkeypatch):
    # Ten times the clip, and the noise a tenth of it: the noise added is as large as it should be.
    _broken(monkeypatch, clipping_norm=10.0, noise_multiplier=0.1)
    assert _red(_run(1, noise_multiplier))


def test_sampling_everybody_turns_red(monkeypatch):
    settings = {"sampling_rate": 0.05, "noise_multiplier": 0.8, "steps": 40}
    real = privacy.training.dpsgd.UnitIndex.draw

    def everybody(index, *, sampling_rate, max_images, stream):
        return real(index, sampling_rate=1.0, max_images=max_images, stream=stream)

    monkeypatch.setattr(privacy.training.dpsgd.UnitIndex, "draw", everybody)
    module = nn.Linear(1, 1)
    run = train_with_canaries(
        Subject(
            model=module,
            losses=lambda m, index: m(torch.ones(len(index), 1))[:, 0],
            public_rows=lambda m, index: m(torch.ones(len(index), 1))[:, 0],
            units=torch.arange(2),
            image_canaries=0,
            gradient_canaries=COORDINATES,
        ),
        settings=DpSgdSettings(**settings, clipping_norm=1.0, expected_units=10, chunk_images=1024),
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
        sampling=UnsafeSeededStream(1),
        noise=UnsafeSeededNoise(2),
        coins=np.random.default_rng(1),
    )
    assert _red(run)


def test_without_noise_every_way_of_looking_tells_members_apart():
    run = _run(3, 0.02, rate=2.0, noise=UnsafeNoNoise())
    assert [(s.name, s.access) for s in run.scores] == [
        ("gradient", "white-box"),
        ("update", "white-box"),
        ("loss", "black-box"),
    ]
    runs = [run, *(_run(seed, 0.02, rate=2.0, noise=UnsafeNoNoise()) for seed in (1, 2))]
    for place, name in enumerate(("gradient", "update", "loss")):
        found = [each.scores[place] for each in runs]
        wins = [(s.values[s.included][:, None] > s.values[~s.included]).mean() for s in found]
        assert np.mean(wins) > 0.55, name
    assert 0.3 < run.scores[0].included.mean() < 0.7
    assert run.steps_taken == STEPS


def test_dot_products_are_those_of_one_image_at_a_time():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(5, 3)
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    products = directional(
        lambda m, i: m(x[i])[:, 0],
        copy.deepcopy(model),
        point=model.state_dict(),
        direction=direction,
        index=torch.arange(5),
    )
    for row in range(5):
        grads = torch.autograd.grad(model(x[row]).squeeze(), list(model.parameters()))
        truth = sum((g * d).sum() for g, d in zip(grads, direction.values(), strict=True))
        assert products[row].item() == pytest.approx(float(truth), abs=2e-3)


def test_an_audit_without_canaries_is_refused():
    with pytest.raises(SettingsError, match="canary"):
        Subject(
            model=nn.Linear(1, 1),
            losses=lambda m, i: m(i),
            public_rows=lambda m, i: m(i),
            units=torch.arange(2),
            image_canaries=2,
            gradient_canaries=0,
        )

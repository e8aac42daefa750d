"""What an ablation adds to a hospital's images, by kind, and what its patients pay for it.

Proven: nothing costs nothing; a hospital pays for its own generator once, pooled or not, and an
unnoised one costs everything; images of others come from their generators; without noise a
generator learns what it is shown.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datasites import GeneratorPart, open_generator
from models import draw_phantoms
from orchestrator.bench.ablation import (
    Ablation,
    HospitalImages,
    Synthetic,
    unsafe_adapt_without_privacy,
)
from orchestrator.errors import StudyError
from privacy import epsilon, poisson_gaussian

torch.set_num_threads(1)

CLASSES = ("glioma", "notumor")
DELTA = 1e-5
PART = GeneratorPart(
    steps=2,
    sampling_rate=0.5,
    noise_multiplier=1.0,
    clipping_norm=1.0,
    learning_rate=1e-3,
    image_size=16,
    images_per_class=2,
    sampling_steps=2,
)


def _hospital(seed):
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 6), size=32, seed=seed)
    return HospitalImages(
        images=drawn.images,
        labels=drawn.labels,
        units=np.arange(12) // 2,
        published_units=6.5,
    )


@pytest.fixture(scope="module")
def ablation():
    return Ablation([_hospital(0), _hospital(1)], PART, classes=CLASSES)


@pytest.mark.parametrize(
    ("kind", "augment"), [(Synthetic.NONE, False), (Synthetic.CLASSICAL, True)]
)
def test_nothing_added_costs_nothing(ablation, kind, augment):
    extra = ablation.added(0, kind)
    assert extra.augment is augment
    assert (extra.images.shape, extra.labels.shape) == ((0, 16, 16), (0,))
    assert epsilon([extra.event], delta=DELTA) == 0.0


def test_a_hospital_pays_for_its_own_generator_and_for_no_other(ablation):
    event = poisson_gaussian(sampling_rate=0.5, noise_multiplier=1.0, steps=2)
    local, pooled = (ablation.added(1, kind) for kind in (Synthetic.LOCAL_DP, Synthetic.POOLED_DP))
    assert local.event == pooled.event == event
    assert local.labels.tolist() == [0, 0, 1, 1]
    assert local.sources.tolist() == [1] * 4
    assert pooled.sources.tolist() == [0] * 4 + [1] * 4
    # Its own images are the same ones: the generator was adapted and paid for once.
    np.testing.assert_array_equal(pooled.images[4:], local.images)
    other = ablation.added(0, Synthetic.LOCAL_DP)
    np.testing.assert_array_equal(pooled.images[:4], other.images)
    assert (other.images != local.images).any()


def test_without_noise_epsilon_is_infinite_and_said_aloud(ablation, caplog):
    extra = ablation.added(0, Synthetic.NON_PRIVATE)
    assert math.isinf(epsilon([extra.event], delta=DELTA))
    assert "WITHOUT privacy" in caplog.text
    assert extra.images.shape == (4, 16, 16)


def test_without_noise_a_generator_learns_what_it_is_shown():
    shard = _hospital(2)
    part = PART.model_copy(update={"steps": 12, "learning_rate": 5e-3})
    generator = open_generator(part, classes=CLASSES)

    def loss():
        with torch.no_grad():
            losses = generator.losses(
                generator.network,
                generator.prepare(shard.images),
                torch.from_numpy(shard.labels),
                generator=torch.Generator().manual_seed(0),
                draws=4,
            )
        return float(losses.mean())

    before = loss()
    unsafe_adapt_without_privacy(generator, part, shard)
    assert loss() < 0.8 * before


@pytest.mark.parametrize("hospital", [-1, 2])
def test_hospitals_are_counted_from_0(ablation, hospital):
    with pytest.raises(StudyError, match="hospital"):
        ablation.added(hospital, Synthetic.NONE)

"""The copy check finds copies, and calls hardly any fresh image one."""

from __future__ import annotations

import numpy as np
import pytest

from models import draw_phantoms
from models.errors import GeneratorError
from models.generators.memorisation import copy_check

CLASSES = ("glioma", "notumor")


@pytest.fixture(scope="module")
def real():
    return draw_phantoms(counts=dict.fromkeys(CLASSES, 40), size=32, seed=1).images


def test_copies_are_found_and_named(real):
    fresh = draw_phantoms(counts=dict.fromkeys(CLASSES, 10), size=32, seed=2).images
    noise = np.random.default_rng(1).integers(0, 3, (3, 32, 32)).astype(np.uint8)
    copied = np.clip(real[[5, 50, 70]].astype(int) + noise, 0, 255).astype(np.uint8)
    found = copy_check(np.concatenate([fresh, copied]), real, np.arange(len(real)))
    assert {20, 21, 22} <= set(found.suspects)
    assert found.neighbour[[20, 21, 22]].tolist() == [5, 50, 70]
    assert len(found.suspects) <= 3 + 2
    assert found.nearest[found.suspects].tolist() == sorted(found.nearest[found.suspects])


def test_a_units_own_images_are_no_reference(real):
    twice = np.concatenate([real, real])
    found = copy_check(real[:2], twice, np.tile(np.arange(len(real)), 2))
    assert (found.reference > 1e-6).all()
    assert len(found.suspects) == 2


def test_images_of_another_size_and_flat_ones_are_compared(real):
    flat = np.full((2, 16, 16), 7, np.uint8)
    found = copy_check(flat, real, np.arange(len(real)))
    assert np.isfinite(found.nearest).all()
    assert len(found.suspects) == 0


def test_nothing_to_compare_is_refused(real):
    with pytest.raises(GeneratorError, match="two units"):
        copy_check(real[:1], real, np.zeros(len(real), np.int64))
    with pytest.raises(GeneratorError, match="synthetic"):
        copy_check(real[:0], real, np.arange(len(real)))

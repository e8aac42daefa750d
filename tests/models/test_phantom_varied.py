"""Phantoms for pretraining: what is said of them is true, and they are what they are by seed."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import PhantomError
from models.phantoms.varied import CLASSES, CONTRAST_NAMES, VIEWS, draw_varied


def _draw(label: str, *, seed: int = 0, size: int = 64):
    return draw_varied(np.random.default_rng(seed), label=label, size=size)


def test_the_same_generator_gives_the_same_phantom() -> None:
    first, again, other = (_draw("glioma", seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.lesion, again.lesion)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("label", CLASSES)
def test_the_lesion_lies_where_it_is_said_to_lie(label: str) -> None:
    for seed in range(12):
        drawn = _draw(label, seed=seed)
        assert drawn.image.dtype == np.uint8
        assert drawn.image.shape == drawn.lesion.shape == (64, 64)
        assert drawn.image.max() > 80
        assert 0 <= drawn.view < len(VIEWS)
        assert 0 <= drawn.contrast < len(CONTRAST_NAMES)
        assert (drawn.lesion.max() > 0.5) == (label != "notumor")
        assert drawn.lesion.mean() < 0.3


def test_a_pituitary_lesion_is_drawn_only_where_the_sella_shows() -> None:
    seen = {VIEWS[_draw("pituitary", seed=seed).view].value for seed in range(40)}
    assert seen == {"axial_base", "sagittal", "coronal"}


@pytest.mark.parametrize(("label", "size", "say"), [("cyst", 64, "glioma"), ("glioma", 8, "px")])
def test_what_cannot_be_drawn_is_refused(label: str, size: int, say: str) -> None:
    with pytest.raises(PhantomError, match=say):
        _draw(label, size=size)

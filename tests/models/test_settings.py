from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import AugmentError, GeneratorError
from models.generators.settings import GeneratorSettings
from models.images.augment_settings import AugmentSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shift", 0.51),
        ("shift", -0.1),
        ("rotate_deg", 181),
        ("scale", math.nan),
        ("scale", 0.6),
        ("brightness", math.inf),
        ("brightness", 0.95),
        ("brightness", "much"),
        ("shift", True),
        ("horizontal_flip", 1),
    ],
)
def test_augmentation_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(AugmentError, match=name):
        AugmentSettings(**{name: value})


@given(st.floats(0, 0.5), st.floats(0, 180), st.floats(0, 0.5), st.floats(0, 0.9))
def test_augmentation_in_range_is_taken(a: float, b: float, c: float, d: float) -> None:
    AugmentSettings(horizontal_flip=True, shift=a, rotate_deg=b, scale=c, brightness=d)


@pytest.mark.parametrize(
    ("values", "say"),
    [
        ({"channels": ()}, "levels"),
        ({"channels": (16,) * 6}, "levels"),
        ({"image_size": 30}, "divisible by 4"),
        ({"image_size": 4}, "px"),
        ({"image_size": 256}, "px"),
        ({"groups": 0}, "groups"),
        ({"channels": (12, 16)}, "width 12"),
        ({"channels": (8, 512)}, "width 512"),
        ({"channels": (9, 9), "groups": 3}, "width 9"),
        ({"timesteps": 5}, "timesteps"),
        ({"timesteps": 5000}, "timesteps"),
    ],
)
def test_generator_sizes_out_of_range_are_named(values: dict[str, Any], say: str) -> None:
    with pytest.raises(GeneratorError, match=say):
        GeneratorSettings(**values)


def test_generator_defaults_are_taken() -> None:
    assert GeneratorSettings().channels == (16, 32, 32)

"""The card's histogram weighs every unit 1 in all, so that one unit changes it by at most 1."""

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.card import DataCard, unit_histogram

CARD = {
    "site": "A",
    "email": "owner@hospital-a.example",
    "public_key": "0" * 64,
    "dataset_version": "1" * 64,
    "classes": ("a", "b"),
    "image_size": 64,
    "unit": "patient",
    "units": 10.5,
    "units_per_class": (5.0, 5.5),
    "noise_multiplier": 10.0,
    "mock": "mock",
}

images = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), max_size=40)


def histogram(pairs):
    labels = np.array([label for label, _ in pairs], dtype=np.int64)
    units = np.array([unit for _, unit in pairs], dtype=np.int64)
    return unit_histogram(labels=labels, units=units, classes=4)


def test_a_unit_is_spread_over_the_classes_of_its_images():
    # Unit 0 has three images (two of class 0, one of class 1), unit 7 has one of class 3.
    found = histogram([(0, 0), (3, 7), (0, 0), (1, 0)])
    np.testing.assert_allclose(found, [2 / 3, 1 / 3, 0.0, 1.0])


@given(images)
def test_all_classes_together_count_the_units(pairs):
    assert histogram(pairs).sum() == pytest.approx(len({unit for _, unit in pairs}))


@given(images, st.integers(0, 8))
def test_removing_a_unit_moves_the_histogram_by_at_most_one(pairs, gone):
    without = [pair for pair in pairs if pair[1] != gone]
    assert np.linalg.norm(histogram(pairs) - histogram(without)) <= 1 + 1e-9


@given(images, st.randoms())
def test_the_order_of_images_and_the_names_of_units_do_not_matter(pairs, random):
    shuffled = [(label, unit * 17 + 5) for label, unit in pairs]
    random.shuffle(shuffled)
    np.testing.assert_allclose(histogram(pairs), histogram(shuffled))


def test_a_card_is_read_back_from_json():
    card = DataCard(**CARD)
    assert DataCard.model_validate_json(card.model_dump_json()) == card


@pytest.mark.parametrize(
    "change",
    [
        {"units": 0.9},
        {"units": float("nan")},
        {"units": float("inf")},
        {"public_key": "0" * 63},
        {"public_key": "G" * 64},
        {"dataset_version": ""},
        {"version": 2},
        {"exact_units": 11},
    ],
)
def test_a_card_that_is_wrong_or_says_more_is_refused(change):
    with pytest.raises(pydantic.ValidationError, match=next(iter(change))):
        DataCard(**{**CARD, **change})

"""The data card is checked when it is read."""

import pydantic
import pytest

from datasites.site.card import DataCard

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
        {"version": 1},
        {"joined_units": 1.0},
        {"exact_units": 11},
    ],
)
def test_a_card_that_is_wrong_or_says_more_is_refused(change):
    with pytest.raises(pydantic.ValidationError, match=next(iter(change))):
        DataCard(**{**CARD, **change})


def test_a_card_says_whom_its_unit_is_for_and_of_groups_not_that_it_is_a_patient():
    meaning = DataCard(**CARD).unit_meaning
    assert "all images of one patient" in meaning
    groups = DataCard(**{**CARD, "unit": "near-duplicate group"}).unit_meaning
    for words in ("a replacement", "two changes", "three changes", "nothing bounds"):
        assert words in groups
    assert "patient" not in groups

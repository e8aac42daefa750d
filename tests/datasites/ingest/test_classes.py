from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasites.ingest.classes import DEFAULT_CLASSES, ClassNames
from datasites.ingest.errors import ClassListError


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("glioma", "glioma"),
        ("Glioma", "glioma"),
        ("GLIOMA_TUMOR", "glioma"),
        ("meningioma tumor", "meningioma"),
        ("meningioma-tumour", "meningioma"),
        ("pituitary_tumour", "pituitary"),
        ("no_tumor", "notumor"),
        ("No-Tumor", "notumor"),
        ("no tumour", "notumor"),
        ("none", "notumor"),
        ("notumor", "notumor"),
        (" glioma ", "glioma"),
        ("tumor", None),
        ("gliomas", None),
        ("", None),
        ("Training", None),
    ],
)
def test_default_folder_names(folder: str, expected: str | None) -> None:
    assert ClassNames(DEFAULT_CLASSES).match(folder) == expected


def test_another_disease_needs_no_code() -> None:
    names = ClassNames(("ischaemic stroke", "haemorrhage", "no_tumour", "Müller"))
    assert names.match("Ischaemic_Stroke") == "ischaemic stroke"
    assert names.match("none") == "no_tumour"
    assert names.match(unicodedata.normalize("NFD", "müller")) == "Müller"
    assert names.label("haemorrhage") == 1
    assert names.expected() == "ischaemic stroke, haemorrhage, no_tumour, Müller"


def test_exact_name_wins_over_an_alias() -> None:
    names = ClassNames(("none", "notumor", "brain", "brain_tumor"))
    assert names.match("none") == "none"
    assert names.match("no tumor") == "notumor"
    assert names.match("brain-tumor") == "brain_tumor"


@pytest.mark.parametrize(
    "classes",
    [
        (),
        ("glioma", "Glioma"),
        ("a_b", "a-b"),
        ("no", "notumor"),  # both would be "no tumor"
        ("",),
        ("  ",),
        ("a/b",),
        ("..",),
        (".hidden",),
        ("a\nb",),
        (" glioma",),
        ("_",),
        tuple(f"c{i}" for i in range(1001)),
    ],
)
def test_bad_lists_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(ClassListError):
        ClassNames(classes)


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{3,9}", fullmatch=True), min_size=1, max_size=6, unique=True))
def test_every_class_matches_its_own_name(classes: list[str]) -> None:
    try:
        names = ClassNames(tuple(classes))
    except ClassListError:
        return
    for name in classes:
        assert names.match(name) == names.match(name.upper()) == name

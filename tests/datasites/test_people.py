"""One person is one person, however the name is typed; nobody reviews a plan of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.desk.release_policy import must_be_reviewer
from datasites.errors import DeskError, SettingsError
from datasites.people import count_people, is_researcher, is_same_person, listed_as, plain_name
from datasites.plans import add_vote
from datasites.site.settings import make_settings

BASE = {"name": "A", "email": "a@hospital.example", "relay": "file:///relay"}
SPELLINGS = [
    ("Dr Ann", "Dr Ann "),
    ("Dr Ann", " dr  ANN"),
    ("Dr Ann", "\uff24\uff52 \uff21\uff4e\uff4e"),
    ("Stra\u00dfe", "STRASSE"),
    ("Jos\u00e9", "Jose\u0301"),
    ("Ann", "Ann <ann@h.example>"),
    ("Ann <ann@h.example>", "A. Lee <ANN@h.example>"),
    ("ann@h.example", "Ann <ann@h.example>"),
]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_two_spellings_of_one_person_are_one_vote(one, other, approval, changed):
    assert is_same_person(one, other)
    assert count_people([one, other]) == 1
    with pytest.raises(ValueError, match="already"):
        add_vote(changed(approval, reviewers=(one,)), reviewer=other, decided="")
    with pytest.raises(SettingsError, match="make no other person"):
        make_settings(**BASE, reviewers=(one, other), quorum=2)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ann", "Bob"), ("Ann <ann@h.example>", "Ann <lee@h.example>"), ("Ann", "Ann Lee")],
)
def test_two_people_are_two(one, other):
    assert count_people([one, other]) == 2
    assert make_settings(**BASE, reviewers=(one, other), quorum=2).quorum == 2


@pytest.mark.parametrize("name", ["Ann\u200b", "Ann\u202e", "An\u00adn", "Ann\x1b[0m", "A\u00a0n"])
def test_a_name_that_cannot_be_seen_whole_is_refused(name):
    with pytest.raises(ValueError, match="cannot be seen"):
        plain_name(name)
    with pytest.raises(DeskError, match="cannot be seen"):
        must_be_reviewer(name, ())
    with pytest.raises(SettingsError, match="cannot be seen"):
        make_settings(**BASE, reviewers=(name, "Bob"), quorum=2)
    assert is_same_person(name, name.replace("\u00a0", " "))  # as older records may say it


@given(st.text())
def test_however_a_name_is_typed_it_is_recorded_as_it_is_listed(name):
    try:
        plain = plain_name(name)
    except ValueError:
        return
    listed = (plain, "somebody else entirely")
    assert must_be_reviewer(f" {name}  ", listed) == plain
    assert plain_name(plain) == plain
    assert is_same_person(plain, plain.casefold())


def test_a_reviewer_is_recorded_as_the_settings_spell_them():
    people = ("Dr Ann <ann@h.example>", "Bob", "Kim <k1@h.example>", "Kim <k2@h.example>")
    assert must_be_reviewer("dr ann", people) == people[0]
    assert must_be_reviewer("ANN@h.example", people) == people[0]
    assert listed_as("Kim", people) is None  # which of them?
    assert listed_as("kim <K2@h.example>", people) == people[3]
    for nobody in ("eve", "Ann", "Dr Ann <eve@h.example>"):
        with pytest.raises(DeskError, match="is not a reviewer here"):
            must_be_reviewer(nobody, people)


@pytest.mark.parametrize(
    "name",
    [
        "ann.lee@university.example",
        "ANN.LEE@university.example",
        "Somebody <ann.lee@university.example>",
        "Ann Lee",
        "dr ann  LEE",
        "Lee, Ann",
        "eve (ann.lee@university.example)",
        "ann.lee@university.example <eve@h.example>",
    ],
)
def test_a_researcher_reviews_no_plan_of_their_own(name):
    assert is_researcher(name, "ann.lee@university.example")


@pytest.mark.parametrize("name", ["Bob", "Ann", "Ann Lee <ann@h.example>", "Annlee Ann"])
def test_somebody_else_may_review_it(name):
    assert not is_researcher(name, "ann.lee@university.example")

"""Facts written down: JSON, hash, and references in their one form."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reports.errors import FactsError
from models.reports.facts import (
    Facts,
    OutlierCheck,
    facts_from_json,
    facts_sha256,
    references,
)
from models.reports.facts.sources import class_text, percent
from models.training_scripts.synthetic_facts import sample_facts
from tests.models.factkit import case, cohort, held


@given(st.integers(0, 2**32))
def test_json_brings_back_the_same_facts(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    again = facts_from_json(facts.to_json())
    assert again == facts
    assert facts_sha256(again) == facts_sha256(facts)


def test_the_hash_sees_every_field() -> None:
    facts = case()
    changed: list[Facts] = [
        case(hospital="Southgate"),
        case(case_id="C-18"),
        case(epsilon=None),
        case(delta=1e-6),
        case(privacy_unit="group"),
        case(model_sha256="f" * 64),
        case(dataset_version="v4"),
        case(calibration=held(1.0)),
        case(calibration=held(0.9)),
        case(outlier=OutlierCheck(score=1.0, threshold=0.5, basis="public data")),
        case(quality=()),
        case(quality=("saturation",)),
        case(region="centre"),
    ]
    assert len({facts_sha256(f) for f in [facts, *changed]}) == len(changed) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "must be a JSON object"),
        ('{"kind": "case", "kind": "case"}', "repeats"),
        ('{"kind": "case", "epsilon": NaN}', "NaN"),
        ('{"kind": "case", "epsilon": Infinity}', "Infinity"),
        ('{"kind": "story"}', "kind is 'story'"),
        ('{"kind": "case"}', "lacks"),
    ],
)
def test_json_refuses(text: str, message: str) -> None:
    with pytest.raises(FactsError, match=message):
        facts_from_json(text)


def test_json_refuses_unknown_and_later_documents() -> None:
    document = json.loads(case().to_json())
    with pytest.raises(FactsError, match="does not know"):
        facts_from_json(json.dumps({**document, "age": 4}))
    for version, message in ((1, "write them again"), (3, "reads version 2")):
        with pytest.raises(FactsError, match=message):
            facts_from_json(json.dumps({**document, "version": version}))
    del document["version"]
    with pytest.raises(FactsError, match="lacks"):
        facts_from_json(json.dumps(document))
    broken = json.loads(cohort().to_json())
    with pytest.raises(FactsError, match="per_class"):
        facts_from_json(json.dumps({**broken, "per_class": []}))
    with pytest.raises(FactsError, match="JSON object"):
        facts_from_json(json.dumps({**broken, "per_class": {"a1": 3, "b1": 4}}))


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.0004, "< 0.1 %"),
        (0.9996, "> 99.9 %"),
        (0.913, "91.3 %"),
        (1e-300, "< 0.1 %"),
    ],
)
def test_percent_never_rounds_to_certainty(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_references_are_written_with_their_units() -> None:
    table = references(case(epsilon=2.991, delta=3.17e-4))
    written = {name: row.text for name, row in table.items()}
    assert written["p.1"] == "80.0 %"
    assert written["class.3"] == "no tumour"
    assert written["privacy"] == "epsilon 3.00 at delta 3.2e-04 per patient (add or remove one)"
    assert written["model"] == "sha256:0123456789ab"
    assert written["margin"] == "65.0 percentage points"
    no_promise = references(case(epsilon=None))
    assert no_promise["privacy"].text == "no differential privacy guarantee"
    hashed = references(case(dataset_version="9" * 64))
    assert hashed["dataset"].text == "sha256:" + "9" * 12


@given(st.floats(0, 1e6), st.floats(1e-12, 1.0))
def test_epsilon_and_delta_are_never_written_smaller_than_they_are(e: float, d: float) -> None:
    words = references(case(epsilon=e, delta=d))["privacy"].text.split()
    assert float(words[1]) >= e
    assert float(words[4]) >= d


def test_zero_delta_and_counts() -> None:
    assert references(case(delta=0.0))["privacy"].text.split()[4] == "0"
    table = references(cohort(n_cases=1, rounds=1, hospitals=("A1", "B1", "C1")))
    assert table["n_cases"].text == "1 case"
    assert table["rounds"].text == "1 round"
    assert table["hospital_count"].text == "3 hospitals"
    assert table["hospital_names"].text == "A1, B1 and C1"
    assert references(cohort(hospitals=("A1",)))["hospital_names"].text == "A1"


def test_a_class_named_like_a_word_of_prose_is_quoted() -> None:
    assert class_text("other") == '"other"'
    assert class_text("low_grade") == "low grade"
    assert class_text("no-tumor") == "no tumour"

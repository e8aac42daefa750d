"""The template passes verification for whatever facts there are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reports.facts import CaseFacts, ClassScores, CohortFacts, Facts
from models.reports.language.layout import DISCLAIMER, PROVENANCE, compose, sections_of
from models.reports.language.rendering import render
from models.reports.language.template import template_body
from models.reports.verify.verify import verify_report
from models.training_scripts.synthetic_facts import sample_facts

WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9]{1,7}", fullmatch=True)


def text_of(facts: Facts) -> str:
    return render(compose(facts, template_body(facts), "template"), facts).text


@given(st.integers(0, 2**32))
def test_random_facts(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    verify_report(text_of(facts), facts)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=9))
def test_any_probabilities(weights: list[float]) -> None:
    total = sum(weights)
    values = [w / total for w in weights] if total > 0 else [1.0] + [0.0] * (len(weights) - 1)
    names = [f"type_{letter}" for letter in "abcdefghi"][: len(values)]
    facts = CaseFacts(
        hospital="Northgate Hospital",
        case_id="C-1",
        predicted=names[values.index(max(values))],
        probabilities=dict(zip(names, values, strict=True)),
        model_sha256="0" * 64,
        dataset_version="1" * 64,
        epsilon=None,
        delta=0.0,
        privacy_unit="patient",
    )
    verify_report(text_of(facts), facts)


@pytest.mark.parametrize("name", ["other", "study", "a", "Class", "report", "F-score", "normal"])
def test_classes_named_like_prose(name: str) -> None:
    facts = CaseFacts(
        hospital="The clinic",
        case_id="result-1",
        predicted=name,
        probabilities={name: 0.95, "glioma": 0.05},
        model_sha256="0" * 64,
        dataset_version="v1",
        epsilon=1.0,
        delta=1e-5,
        privacy_unit="case",
    )
    verify_report(text_of(facts), facts)


def test_undefined_scores_are_said() -> None:
    nothing = ClassScores(precision=None, recall=None, f1=None)
    facts = CohortFacts(
        kind="global",
        name="Trial (2026)",
        n_cases=1,
        accuracy=0.0,
        macro_f1=0.0,
        per_class={"glioma": nothing, "notumor": nothing},
        epsilon=None,
        delta=0.0,
        privacy_unit="patient",
        noised=False,
        model_sha256="0" * 64,
    )
    text = text_of(facts)
    assert "precision not defined" in text
    verify_report(text, facts)


@given(st.integers(0, 2**32))
def test_layout(seed: int) -> None:
    facts = sample_facts(random.Random(seed))
    lines = text_of(facts).split("\n")
    places = [lines.index(section) for section in sections_of(facts)]
    assert places == sorted(places)
    assert any(line.startswith(DISCLAIMER) for line in lines)
    assert lines[-2] == PROVENANCE["template"]
    assert template_body(facts) == template_body(facts)

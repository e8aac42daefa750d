"""Facts: refusals, and the words that are derived from them."""

from __future__ import annotations

import dataclasses
import math

import pytest

from models.reports.errors import FactsError
from models.reports.facts import (
    OTHERS,
    Calibration,
    ClassScores,
    OutlierCheck,
    facts_from_json,
    references,
)
from models.reports.facts.case import degree, family_of
from tests.models.factkit import HASH, case, cohort, held, point, scores, share


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": {"glioma": math.nan, "b": 0.5}}, "finite"),
        ({"probabilities": {"glioma": math.inf, "b": 0.5}}, "finite"),
        ({"probabilities": {"glioma": 1.2, "b": -0.2}}, "within 0..1"),
        ({"probabilities": {"glioma": 0.9, "b": 0.2}}, "sum to 1.1"),
        ({"probabilities": {"glioma": 1.0}}, "2 to 64"),
        ({"probabilities": {"glioma": True, "b": 0.0}}, "must be a number"),
        ({"probabilities": {"glioma": "0.9", "b": 0.1}}, "must be a number"),
        ({"probabilities": [0.9, 0.1]}, "must map"),
        ({"probabilities": {"glioma": 0.9, 3: 0.1}}, "not usable"),
        ({"probabilities": {"glioma": 0.9, "{{x}}": 0.1}}, "not usable"),
        ({"probabilities": {"glioma": 0.9, "GLIOMA": 0.1}}, "read alike"),
        ({"probabilities": {"glioma": 0.9, "two": 0.1}}, "meaning of its own"),
        ({"predicted": "meningioma"}, "another class is more probable"),
        ({"predicted": "metastasis"}, "has no probability"),
        ({"predicted": ["glioma"]}, "has no probability"),
        ({"hospital": ""}, "a name has"),
        ({"hospital": "12345"}, "a name has"),
        ({"hospital": "North\ngate"}, "a name has"),
        ({"hospital": "{{predicted}}"}, "a name has"),
        ({"hospital": "North  gate"}, "a name has"),
        ({"hospital": "Glioma"}, "reads as a class"),
        ({"hospital": "High"}, "reads as a class or a judgement"),
        ({"case_id": "91.3"}, "identifier"),
        ({"case_id": "C 17"}, "identifier"),
        ({"case_id": "no_tumor", "probabilities": {"glioma": 0.9, "no_tumor": 0.1}}, "reads as"),
        ({"dataset_version": "3"}, "identifier"),
        ({"model_sha256": HASH.upper()}, "hexadecimal"),
        ({"epsilon": -1.0}, "within"),
        ({"epsilon": math.inf}, "finite"),
        ({"epsilon": math.nan}, "finite"),
        ({"delta": 1.5}, "within"),
        ({"delta": None}, "must be a number"),
        ({"privacy_unit": "Patient 7"}, "privacy_unit"),
        ({"version": 1}, "reads version 2"),
        ({"version": True}, "reads version 2"),
        ({"privacy_relation": "replace_one"}, "accounted for"),
        ({"calibration": 1.5}, "must be a Calibration"),
        ({"outlier": True}, "must be an OutlierCheck"),
        ({"quality": ["saturation"]}, "tuple of flags"),
        ({"quality": ("blurred",)}, "must be one of"),
        ({"quality": ("saturation", "saturation")}, "twice"),
        ({"region": "left temporal lobe"}, "must be one of"),
        ({"kind": "hospital"}, "must be one of"),
    ],
)
def test_a_case_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FactsError, match=message):
        case(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_cases": 0}, "at least 1"),
        ({"n_cases": 3.0}, "whole number"),
        ({"rounds": -1}, "at least 0"),
        ({"accuracy": math.nan}, "finite"),
        ({"macro_f1": 1.01}, "within"),
        ({"noised": 1}, "true or false"),
        ({"intervals": {"accuracy": (0.7,)}}, "lower and the upper end"),
        ({"intervals": {"accuracy": (0.7, 0.8)}}, "outside its interval"),
        ({"intervals": {"accuracy": (0.9, 0.8)}}, "outside its interval"),
        ({"intervals": {"accuracy": (0.7, math.nan)}}, "finite"),
        ({"intervals": {"macro_auc": (0.7, 0.8)}}, "no figure here"),
        ({"intervals": [0.7, 0.9]}, "must map"),
        ({"macro_auc": 1.1}, "within"),
        ({"rounds": 4, "trend": (point(1),)}, "at least two"),
        ({"rounds": 4, "trend": (point(3), point(2))}, "in order"),
        ({"rounds": 4, "trend": (point(2), point(2))}, "in order"),
        ({"rounds": 4, "trend": (point(2), point(5))}, "4 rounds"),
        ({"rounds": 4, "trend": [point(1), point(2)]}, "tuple of TrendPoint"),
        ({"shares": (share("A1", 1.0),)}, "match them"),
        ({"hospitals": ("A1", "B1"), "shares": (share("A1", 1.0),)}, "match them"),
        ({"hospitals": ("A1",), "shares": (share("A1", 0.9),)}, "sum to 0.9"),
        ({"per_class": {"glioma": 0.3, "b": 0.1}}, "must be ClassScores"),
        ({"per_class": [scores()]}, "must map"),
        ({"per_class": {"glioma": scores()}}, "2 to 64"),
        ({"hospitals": ["A1", "B1"]}, "tuple"),
        ({"hospitals": ("A1", "A1")}, "twice"),
        ({"hospitals": ("glioma", "B1")}, "reads as a class"),
        ({"confusion": {"glioma": {}}}, "one row for each class"),
        ({"confusion": {"glioma": {}, "meningioma": {}, "notumor": {}}}, "one count for each"),
        ({"kind": "case"}, "must be one of"),
    ],
)
def test_a_cohort_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FactsError, match=message):
        cohort(**changes)


def test_exact_counts_are_not_negative_but_noised_ones_may_be() -> None:
    row = {"glioma": -3.0, "meningioma": 4.0, "notumor": 2.0}
    confusion = dict.fromkeys(row, row)
    assert cohort(confusion=confusion, noised=True).confusion is not None
    with pytest.raises(FactsError, match="within"):
        cohort(confusion=confusion, noised=False)


def test_scores_refuse_what_is_no_fraction() -> None:
    with pytest.raises(FactsError, match="recall"):
        ClassScores(precision=0.5, recall=math.nan, f1=None)


def test_facts_do_not_change() -> None:
    facts = case()
    with pytest.raises(TypeError):
        facts.probabilities["glioma"] = 0.1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        facts.predicted = "notumor"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "word"),
    [(1.0, "high"), (0.9, "high"), (0.8999, "moderate"), (0.7, "moderate"), (0.699, "low")],
)
def test_degrees(value: float, word: str) -> None:
    assert degree(value) == word


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("no_tumor", "healthy"),
        ("notumor", "healthy"),
        ("pituitary_tumor", "pituitary"),
        ("Glioblastoma", "glioma"),
        ("meningioma", "meningioma"),
        ("abscess", "other"),
    ],
)
def test_families(name: str, family: str) -> None:
    assert family_of(name) == family


def test_ranking_and_its_words() -> None:
    facts = case()
    assert facts.ranked == ("glioma", "meningioma", "notumor", "pituitary")
    assert facts.runner_up == "meningioma"
    assert facts.margin == pytest.approx(0.65)
    assert (facts.margin_word, facts.confidence, facts.tied) == ("wide", "moderate", False)


def test_a_tie_has_no_runner_up_and_the_predicted_class_leads() -> None:
    facts = case(predicted="pituitary", probabilities={"glioma": 0.5, "pituitary": 0.5})
    assert facts.tied
    assert facts.ranked == ("pituitary", "glioma")
    assert facts.runner_up is None
    assert "runner_up" not in references(facts)


def test_a_certain_case_has_no_runner_up() -> None:
    assert case(probabilities={"glioma": 1.0, "notumor": 0.0}).runner_up is None


def test_confidence_needs_calibration_and_a_good_image() -> None:
    sure = {"glioma": 0.95, "meningioma": 0.05}
    assert case(probabilities=sure).confidence == "moderate"
    assert case(probabilities=sure, calibration=held(0.93)).confidence == "high"
    assert case(probabilities=sure, calibration=held(0.8)).confidence == "moderate"
    assert case(probabilities=sure, calibration=held(0.3)).confidence == "low"
    spoiled = case(probabilities=sure, calibration=held(0.93), quality=("saturation",))
    assert spoiled.confidence == "low"
    unusual = OutlierCheck(score=0.9, threshold=1.0, basis="synthetic data")
    assert case(probabilities=sure, calibration=held(0.93), outlier=unusual).confidence == "low"
    usual = OutlierCheck(score=1.0, threshold=1.0, basis="synthetic data")
    assert case(probabilities=sure, calibration=held(0.93), outlier=usual).confidence == "high"


def test_parts_refuse_what_they_cannot_mean() -> None:
    for portion in (-0.1, math.nan, math.inf, 1.1):
        with pytest.raises(FactsError, match="calibrated share"):
            held(portion)
    with pytest.raises(FactsError, match="outside its interval"):
        Calibration(share=0.5, low=0.6, high=0.7, basis="public data")
    with pytest.raises(FactsError, match="basis"):
        Calibration(share=1.0, low=1.0, high=1.0, basis="private data")  # type: ignore[arg-type]
    with pytest.raises(FactsError, match="score"):
        OutlierCheck(score=math.nan, threshold=1.0, basis="public data")
    with pytest.raises(FactsError, match="has no recall"):
        ClassScores(precision=None, recall=0.5, f1=None, cases=0)
    with pytest.raises(FactsError, match="cases"):
        ClassScores(precision=None, recall=None, f1=None, cases=-1)
    with pytest.raises(FactsError, match="outside its interval"):
        ClassScores(precision=0.5, recall=0.5, f1=0.5, intervals={"recall": (0.6, 0.7)})


def test_a_trend_in_a_word() -> None:
    for last, word in ((0.515, "steady"), (0.53, "rising"), (0.4, "falling")):
        facts = cohort(rounds=9, trend=(point(1), point(9, last)))
        assert facts.trend_word == word
    table = references(cohort(rounds=9, trend=(point(1), point(9, 0.75))))
    text = "50.0 % after round 1 to 75.0 % after round 9"
    assert table["trend"].text == f"{text} on the test cases of the study"
    study = cohort(kind="global", rounds=9, trend=(point(1), point(9, 0.75)))
    assert references(study)["trend"].text == text


def test_hospitals_may_be_counted_and_weighed_without_being_named() -> None:
    facts = cohort(hospitals=(), n_hospitals=3, shares=(share("A", 0.25), share(OTHERS, 0.75)))
    table = references(facts)
    assert table["hospital_count"].text == "3 hospitals"
    assert "hospital_names" not in table
    assert table["shares"].text == "A 25.0 %, all others 75.0 %"
    assert facts_from_json(facts.to_json()) == facts
    for shares in (
        (share(OTHERS, 0.75), share("A", 0.25)),
        (share(OTHERS, 0.5), share(OTHERS, 0.5)),
    ):
        with pytest.raises(FactsError, match="match them"):
            cohort(hospitals=(), shares=shares)
    with pytest.raises(FactsError, match="match them"):
        cohort(hospitals=("A", "B"), shares=(share("A", 0.25), share(OTHERS, 0.75)))
    with pytest.raises(FactsError, match="n_hospitals is 3, and 2 are named"):
        cohort(hospitals=("A", "B"), n_hospitals=3)
    with pytest.raises(FactsError, match="n_hospitals"):
        cohort(n_hospitals=0)
    assert cohort().trend_word is None


def test_figures_carry_their_intervals() -> None:
    figures = ClassScores(
        precision=0.5, recall=0.5, f1=0.5, auc=0.7, cases=3, intervals={"auc": (0.6, 0.8)}
    )
    table = references(cohort(per_class={"a1": figures, "b1": scores()}))
    assert table["auc.2"].text == "70.0 % (95 % interval 60.0 % to 80.0 %)"
    assert (table["cases.2"].text, table["recall.2"].text) == ("3 cases", "50.0 %")
    assert "auc.1" not in table
    assert "cases.1" not in table


def test_shared_second_place_has_no_runner_up() -> None:
    facts = case(probabilities={"glioma": 0.6, "meningioma": 0.2, "notumor": 0.2})
    assert facts.runner_up is None


def test_cohort_words() -> None:
    facts = cohort()
    assert (facts.best, facts.weakest, facts.level) == ("glioma", "meningioma", "moderate")
    shared = cohort(per_class={"a1": scores(0.5), "b1": scores(0.5)})
    assert (shared.best, shared.weakest) == (None, None)
    undefined = cohort(per_class={"a1": scores(0.5), "b1": scores(None), "c1": scores(0.2)})
    assert (undefined.best, undefined.weakest) == (None, None)
    assert undefined.ranked == ("a1", "c1", "b1")


def test_the_most_frequent_confusion_is_unique_or_not_said() -> None:
    names = ("glioma", "meningioma", "notumor")
    confusion = {true: dict.fromkeys(names, 1.0) for true in names}
    assert cohort(confusion=confusion).top_confusion is None
    confusion["glioma"]["notumor"] = 7.2
    assert cohort(confusion=confusion).top_confusion == ("glioma", "notumor", 7)
    assert cohort(confusion=None).top_confusion is None

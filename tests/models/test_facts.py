"""Facts: refusals, derived words, JSON and hash."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.facts import (
    Calibration,
    CaseFacts,
    ClassScores,
    CohortFacts,
    Facts,
    HospitalShare,
    OutlierCheck,
    TrendPoint,
    facts_from_json,
    facts_sha256,
    references,
)
from models.facts_case import degree, family_of
from models.report_errors import FactsError
from models.report_references import class_text, percent
from models.scripts.synthetic_facts import sample_facts

HASH = "0123456789abcdef" * 4


def case(**changes: object) -> CaseFacts:
    values: dict[str, object] = {
        "hospital": "Northgate Hospital",
        "case_id": "C-17",
        "predicted": "glioma",
        "probabilities": {"glioma": 0.8, "meningioma": 0.15, "notumor": 0.04, "pituitary": 0.01},
        "model_sha256": HASH,
        "dataset_version": "v3",
        "epsilon": 3.0,
        "delta": 1e-5,
        "privacy_unit": "patient",
    }
    return CaseFacts(**{**values, **changes})  # type: ignore[arg-type]


def scores(f1: float | None = 0.8) -> ClassScores:
    return ClassScores(precision=0.9, recall=0.7, f1=f1)


def point(number: int, accuracy: float = 0.5) -> TrendPoint:
    return TrendPoint(round=number, accuracy=accuracy)


def share(hospital: str, fraction: float) -> HospitalShare:
    return HospitalShare(hospital=hospital, share=fraction)


def cohort(**changes: object) -> CohortFacts:
    values: dict[str, object] = {
        "kind": "hospital",
        "name": "Northgate Hospital",
        "n_cases": 340,
        "accuracy": 0.82,
        "macro_f1": 0.8,
        "per_class": {"glioma": scores(0.9), "meningioma": scores(0.6), "notumor": scores(0.7)},
        "epsilon": 3.0,
        "delta": 1e-5,
        "privacy_unit": "patient",
        "noised": True,
        "model_sha256": HASH,
    }
    return CohortFacts(**{**values, **changes})  # type: ignore[arg-type]


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


def held(share: float) -> Calibration:
    return Calibration(share=share, low=share, high=share, basis="public data")


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
    for share in (-0.1, math.nan, math.inf, 1.1):
        with pytest.raises(FactsError, match="calibrated share"):
            held(share)
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
    assert table["trend"].text == "50.0 % after round 1 to 75.0 % after round 9"
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

"""Verification: good reports pass, every kind of corruption is found and placed."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reports.errors import ReportCheckError, ReportFinding
from models.reports.facts import Facts
from models.reports.language.layout import DISCLAIMER, PROVENANCE, compose
from models.reports.language.rendering import render
from models.reports.language.template import template_body
from models.reports.verify.verify import verify_report
from models.training_scripts.synthetic_facts import sample_case, sample_facts
from tests.models.reportkit import CASE, COHORT, text_of


def findings_in(text: str, facts: Facts) -> tuple[ReportFinding, ...]:
    with pytest.raises(ReportCheckError) as caught:
        verify_report(text, facts)
    return caught.value.findings


def swap(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, f"{old!r} is not in the text to corrupt"
        return text.replace(old, new, 1)

    return change


def after(heading: str, sentence: str) -> Callable[[str], str]:
    """Add a sentence at the end of the first line of a section's prose."""

    def change(text: str) -> str:
        return re.sub(rf"(\n{heading}\n[^\n]*)", rf"\1 {sentence}", text, count=1)

    return change


CASE_CORRUPTIONS: list[tuple[str, Callable[[str], str], str]] = [
    # numbers
    ("another probability", swap("of 91.3 %", "of 93.1 %"), "number"),
    ("fraction instead of percent", swap("91.3 %", "0.913"), "number"),
    ("percent sign lost", swap("with a probability of 91.3 %", "with 91.3"), "number"),
    ("percent without the space", swap("91.3 %", "91.3%"), "number"),
    ("more decimals", swap("91.3 %", "91.34 %"), "number"),
    ("minus", swap("91.3 %", "-91.3 %"), "number"),
    ("decimal comma", swap("91.3 %", "91,3 %"), "number"),
    ("thousands separator", after("Limits", "The model saw 1,024 images."), "number"),
    ("exponent", swap("1e-05", "1e-06"), "number"),
    ("epsilon", swap("epsilon 3.00", "epsilon 2.00"), "number"),
    (
        "epsilon without delta",
        swap(" at delta 1e-05 per patient (add or remove one)", ""),
        "number",
    ),
    ("privacy unit", swap("per patient", "per image"), "number"),
    ("word number", after("Limits", "Two readers agree."), "number"),
    ("word fraction", after("Limits", "About half of the images."), "number"),
    ("compound word number", after("Limits", "It used twenty-five images."), "number"),
    ("two of five", after("Confidence", "It is seen in two of five planes."), "number"),
    ("roman numeral", after("Result", "It is of WHO kind IV."), "number"),
    ("full-width digits", after("Result", "The age is ９."), "number"),
    ("superscript", after("Result", "An area of cm²."), "number"),
    ("date", after("Result", "The scan is of 2026-11-03."), "number"),
    ("number in a word", after("Recommendation", "A T1-weighted series is advised."), "number"),
    ("probabilities swapped", swap("- meningioma: 5.0 %", "- meningioma: 3.1 %"), "number"),
    (
        "right figure, wrong class",
        swap("pituitary with a probability of 91.3 %", "pituitary with a probability of 5.0 %"),
        "number",
    ),
    ("class listed twice", swap("- glioma: 3.1 %", "- glioma: 3.1 %\n- glioma: 3.1 %"), "number"),
    (
        "privacy of a class",
        after(
            "Limits",
            "For pituitary it is epsilon 3.00 at delta 1e-05 per patient (add or remove one).",
        ),
        "number",
    ),
    # classes
    ("another class assigned", swap("study to pituitary", "study to glioma"), "class"),
    (
        "another class with its own figure",
        swap("to pituitary with a probability of 91.3 %", "to glioma with a probability of 3.1 %"),
        "class",
    ),
    ("class that is not in the facts", after("Result", "A schwannoma is possible."), "class"),
    ("general disease word", after("Result", "The mass is benign."), "class"),
    ("disease by its ending", after("Result", "An ependymoma is possible."), "class"),
    ("grade", after("Result", "It is of high grade."), "class"),
    ("look-alike letters", swap("to pituitary", "to pituitаry"), "character"),
    ("class in capitals", swap("- glioma", "- Glioma"), "class"),
    ("class claimed without a figure", after("Confidence", "The images suggest glioma."), "class"),
    ("class named in the advice", after("Recommendation", "Compare with glioma."), "class"),
    ("denial", swap("assigns this study to", "does not assign this study to"), "claim"),
    ("denied class", after("Limits", "It is not pituitary."), "claim"),
    ("class turned round", after("Result", "It is something other than pituitary."), "claim"),
    # comparisons and grades
    (
        "wrong runner-up",
        swap("runner-up is meningioma with 5.0 %", "runner-up is glioma with 3.1 %"),
        "claim",
    ),
    ("wrong superlative", after("Result", "The most likely class is meningioma."), "claim"),
    ("wrong lowest", after("Probabilities", "The lowest is glioma."), "claim"),
    ("order reversed", after("Probabilities", "Meningioma lies above pituitary."), "class"),
    (
        "order reversed, as written",
        after("Probabilities", "Here meningioma lies above pituitary."),
        "claim",
    ),
    ("below reversed", after("Probabilities", "Here pituitary lies below glioma."), "claim"),
    ("order of nothing", after("Probabilities", "It lies above the rest."), "claim"),
    ("false tie", after("Result", "The classes pituitary and glioma are tied."), "claim"),
    ("wrong confidence", swap("confidence is high", "confidence is moderate"), "claim"),
    ("wrong margin word", swap("margin is wide", "margin is narrow"), "claim"),
    ("wrong margin", swap("86.3 percentage points", "81.3 percentage points"), "number"),
    (
        "margin to another class",
        after(
            "Probabilities", "The margin between pituitary and glioma is 86.3 percentage points."
        ),
        "claim",
    ),
    ("grade of something else", after("Result", "The quality is high."), "claim"),
    ("likely", after("Result", "It is likely pituitary."), "claim"),
    ("cohort words", after("Result", "The accuracy is 91.3 %."), "claim"),
    ("calibration", after("Confidence", "The probability is calibrated."), "claim"),
    # forbidden statements
    ("prognosis", after("Result", "The prognosis is fair."), "forbidden"),
    ("survival", after("Result", "Survival is to be expected."), "forbidden"),
    ("treatment order", after("Recommendation", "Start dexamethasone."), "forbidden"),
    ("surgery", after("Recommendation", "Surgery is recommended."), "forbidden"),
    ("certainty", after("Confidence", "The result is definite."), "forbidden"),
    ("urgency", after("Recommendation", "This is urgent."), "forbidden"),
    ("diagnosis", after("Result", "The diagnosis is pituitary."), "forbidden"),
    # advice that does not fit
    ("perfusion for a pituitary class", after("Recommendation", "Perfusion is advised."), "claim"),
    (
        "repeat at high confidence",
        after("Recommendation", "A repeat acquisition is advised."),
        "claim",
    ),
    # names
    ("another hospital", swap("Hospital: Northgate", "Hospital: Southgate"), "layout"),
    ("hospital in the prose", after("Result", "It was read at Southgate Hospital."), "name"),
    ("person", after("Result", "It was read by Dr Miller."), "name"),
    ("unknown word", after("Result", "It looks spiculated."), "word"),
    ("another model", swap("sha256:0123", "sha256:9123"), "layout"),
    ("another case", swap("C-17f0", "C-17f1"), "layout"),
    # layout
    ("section lost", swap("\nConfidence\n", "\n"), "missing"),
    ("sections out of order", swap("\nConfidence\n", "\nLimits\n"), "layout"),
    ("section twice", swap("\nLimits\n", "\nResult\n\nLimits\n"), "layout"),
    ("disclaimer lost", swap(DISCLAIMER, "This report is decision support."), "missing"),
    ("disclaimer turned", swap("support, not a diagnosis", "support and a diagnosis"), "missing"),
    ("class not listed", swap("- glioma: 3.1 %\n", ""), "missing"),
    (
        "review lost",
        swap("A radiologist should review the images before the result is used. ", ""),
        "missing",
    ),
    ("confidence lost", swap("The confidence is high. ", ""), "missing"),
    (
        "privacy lost",
        swap(
            " Privacy of the model: epsilon 3.00 at delta 1e-05 per patient (add or remove one).",
            "",
        ),
        "missing",
    ),
    ("result lost", swap("with a probability of 91.3 %", ""), "missing"),
    ("who wrote it lost", swap(PROVENANCE["template"], ""), "layout"),
    ("who wrote it changed", swap("fixed template", "a senior radiologist"), "layout"),
    ("markup", after("Result", "See <b>above</b>."), "character"),
    ("brace", after("Result", "See {{p.1}}."), "number"),
    ("tab", after("Result", "See\tthere."), "character"),
    ("text in front", lambda text: "Dear colleague,\n" + text, "layout"),
    ("text behind", lambda text: text + "Yours\n", "layout"),
    ("endless", lambda text: text + "a" * 30_000, "layout"),
    ("empty", lambda text: "", "layout"),
]

COHORT_CORRUPTIONS: list[tuple[str, Callable[[str], str], str]] = [
    ("another accuracy", swap("accuracy of 82.0 % (", "accuracy of 84.0 % ("), "number"),
    ("F-score as accuracy", swap("accuracy of 82.0 %", "accuracy of 80.5 %"), "number"),
    (
        "precision and recall swapped",
        swap("precision 90.0 %, recall 70.0 %", "precision 70.0 %, recall 90.0 %"),
        "number",
    ),
    (
        "scores of another class",
        swap("- glioma: precision 90.0 %", "- glioma: precision 75.0 %"),
        "number",
    ),
    ("accuracy of one class", after("Confidence", "For glioma the accuracy is 82.0 %."), "number"),
    ("interval", swap("78.0 % to 86.0 %", "79.0 % to 86.0 %"), "number"),
    ("interval lost", swap(" (95 % interval 78.0 % to 86.0 %)", ""), "number"),
    ("cases", swap("340 cases", "350 cases"), "number"),
    ("hospitals", swap("2 hospitals", "3 hospitals"), "number"),
    ("rounds", swap("12 rounds", "12 epochs"), "number"),
    ("hospital named", swap("and Klinikum Süd", "and Klinikum Nord"), "name"),
    ("confusion", swap("(25 cases)", "(20 cases)"), "number"),
    ("confusion turned", swap("glioma read as meningioma", "meningioma read as glioma"), "number"),
    (
        "wrong weakest",
        swap("lowest F-score belongs to meningioma", "lowest F-score belongs to glioma"),
        "claim",
    ),
    ("wrong best", after("Confidence", "The best F-score is that of glioma."), "claim"),
    (
        "best by another measure",
        after("Confidence", "The highest recall is that of no tumour."),
        "claim",
    ),
    (
        "noise denied",
        swap(
            "The figures carry noise for privacy.",
            "The figures are exact.",
        ),
        "claim",
    ),
    (
        "noise lost",
        swap(" The figures carry noise for privacy.", ""),
        "missing",
    ),
    ("accuracy graded up", swap("accuracy is moderate", "accuracy is high"), "claim"),
    ("comparison", after("Confidence", "Here glioma lies above meningioma."), "claim"),
    ("tie", after("Confidence", "The classes are tied."), "claim"),
    ("case words", after("Confidence", "The runner-up is glioma."), "claim"),
    ("class without a claim", after("Confidence", "It knows glioma."), "class"),
    (
        "advice for another class",
        after("Recommendation", "More cases of glioma would help."),
        "class",
    ),
    ("frequent", after("Confidence", "This is the most frequent outcome."), "claim"),
    (
        "macro score as class score",
        swap("The macro F-score is 80.5 %", "The F-score is 80.5 %"),
        "number",
    ),
    (
        "interval of another measure",
        after("Result", "The macro F-score has a 95 % interval 78.0 % to 86.0 %."),
        "number",
    ),
    ("count as a score", after("Result", "The accuracy is 340 cases."), "number"),
    ("cases of one class", after("Result", "It saw 340 cases of glioma."), "number"),
    (
        "class listed twice",
        after("Class scores", "\n- glioma: precision 90.0 %, recall 70.0 %, F-score 78.8 %"),
        "number",
    ),
    ("another study", swap("Study: Trial B", "Study: Trial C"), "layout"),
]


@pytest.mark.parametrize(
    ("change", "kind"),
    [pytest.param(change, kind, id=name) for name, change, kind in CASE_CORRUPTIONS],
)
def test_a_corrupted_case_report_is_caught(change: Callable[[str], str], kind: str) -> None:
    text = change(text_of(CASE))
    found = findings_in(text, CASE)
    assert kind in {finding.kind for finding in found}
    for finding in found:
        assert 0 <= finding.start <= finding.end <= max(len(text), 1)


@pytest.mark.parametrize(
    ("change", "kind"),
    [pytest.param(change, kind, id=name) for name, change, kind in COHORT_CORRUPTIONS],
)
def test_a_corrupted_cohort_report_is_caught(change: Callable[[str], str], kind: str) -> None:
    assert kind in {finding.kind for finding in findings_in(change(text_of(COHORT)), COHORT)}


def test_good_reports_pass() -> None:
    verify_report(text_of(CASE), CASE)
    verify_report(text_of(COHORT), COHORT)


def test_findings_are_placed_and_the_error_tells_them() -> None:
    text = text_of(CASE).replace("of 91.3 %", "of 77.7 %", 1)
    with pytest.raises(ReportCheckError, match=r"number at \d+-\d+ \('77.7'\)") as caught:
        verify_report(text, CASE)
    found = next(f for f in caught.value.findings if f.excerpt == "77.7")
    assert text[found.start : found.end] == "77.7"
    many = "".join("5 " for _ in range(9))
    with pytest.raises(ReportCheckError, match=r"and \d+ more"):
        verify_report(text.replace("77.7", many), CASE)


def test_a_report_of_other_facts_fails() -> None:
    other = dataclasses.replace(CASE, probabilities={**CASE.probabilities, "glioma": 0.0305})
    verify_report(text_of(CASE), CASE)
    assert findings_in(text_of(CASE), dataclasses.replace(other, case_id="C-18"))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_reports_do_not_pass_for_other_facts(seed: int) -> None:
    rng = random.Random(seed)
    facts, others = sample_facts(rng), sample_facts(rng)
    assert findings_in(text_of(facts), others)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 9), st.data())
def test_any_changed_digit_is_found(seed: int, digit: int, data: st.DataObject) -> None:
    facts = sample_facts(random.Random(seed))
    text = text_of(facts)
    places = [i for i, char in enumerate(text) if char.isdigit() and char != str(digit)]
    place = data.draw(st.sampled_from(places))
    changed = text[:place] + str(digit) + text[place + 1 :]
    findings_in(changed, facts)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.data())
def test_any_exchanged_class_is_found(seed: int, data: st.DataObject) -> None:
    facts = sample_case(random.Random(seed))
    if len(set(facts.probabilities.values())) < len(facts.probabilities):
        return
    wrong = data.draw(st.sampled_from(facts.ranked[1:]))
    slug = f"{{{{class.{facts.ranked.index(wrong) + 1}}}}}"
    body = template_body(facts).replace("{{predicted}}", slug, 1)
    text = render(compose(facts, body, "template"), facts).text
    findings_in(text, facts)

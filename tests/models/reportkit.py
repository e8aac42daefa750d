"""One case, one cohort, and the template's report of each."""

from __future__ import annotations

from models.reports.facts import Calibration, CaseFacts, ClassScores, CohortFacts, Facts
from models.reports.language.layout import compose
from models.reports.language.rendering import render
from models.reports.language.template import template_body

HASH = "0123456789ab" + "c" * 52

CASE = CaseFacts(
    hospital="Northgate Hospital",
    case_id="C-17f0",
    predicted="pituitary",
    probabilities={"glioma": 0.031, "meningioma": 0.05, "notumor": 0.006, "pituitary": 0.913},
    model_sha256=HASH,
    dataset_version="v3",
    epsilon=3.0,
    delta=1e-5,
    privacy_unit="patient",
    calibration=Calibration(share=0.95, low=0.9, high=1.0, basis="synthetic data"),
)

COHORT = CohortFacts(
    kind="global",
    name="Trial B",
    n_cases=340,
    accuracy=0.82,
    intervals={"accuracy": (0.78, 0.86)},
    macro_f1=0.805,
    per_class={
        "glioma": ClassScores(precision=0.9, recall=0.7, f1=0.788),
        "meningioma": ClassScores(precision=0.75, recall=0.72, f1=0.735),
        "notumor": ClassScores(precision=0.95, recall=0.97, f1=0.96),
    },
    confusion={
        "glioma": {"glioma": 70.0, "meningioma": 25.0, "notumor": 5.0},
        "meningioma": {"glioma": 8.0, "meningioma": 72.0, "notumor": 20.0},
        "notumor": {"glioma": 1.0, "meningioma": 2.0, "notumor": 97.0},
    },
    hospitals=("Northgate Hospital", "Klinikum Süd"),
    rounds=12,
    epsilon=3.0,
    delta=1e-5,
    privacy_unit="patient",
    noised=True,
    model_sha256=HASH,
)


def text_of(facts: Facts) -> str:
    return render(compose(facts, template_body(facts), "template"), facts).text

"""Facts of a case and of a cohort, with any field changed."""

from __future__ import annotations

from models.reports.facts import (
    Calibration,
    CaseFacts,
    ClassScores,
    CohortFacts,
    HospitalShare,
    TrendPoint,
)

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


def held(share: float) -> Calibration:
    return Calibration(share=share, low=share, high=share, basis="public data")

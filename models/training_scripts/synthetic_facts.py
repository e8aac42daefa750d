"""Facts that describe nobody, drawn at random with the edges kept frequent.

Edges are ties, certainty, classes without cases, figures that are not there. The shipped report
model saw these and nothing else; tests and benchmarks use them too.
"""

from __future__ import annotations

import random
from typing import Final, cast

from models.classes import DEFAULT_CLASSES
from models.reports.facts import (
    Calibration,
    CaseFacts,
    ClassScores,
    CohortFacts,
    Facts,
    HospitalShare,
    OutlierCheck,
    TrendPoint,
)
from models.reports.facts.parts import BASES, QUALITY_FLAGS, REGIONS, Basis, QualityFlag, Region

CLASS_SETS: Final = (
    DEFAULT_CLASSES,
    DEFAULT_CLASSES,
    DEFAULT_CLASSES,
    DEFAULT_CLASSES,
    ("glioma", "no_tumor", "meningioma", "pituitary_tumor"),
    ("glioblastoma", "healthy"),
    ("atrophy", "lacune", "normal"),
    ("class_a", "class_b", "class_c", "class_d", "class_e", "other"),
    ("glioma", "meningioma", "pituitary", "notumor", "schwannoma", "metastasis", "abscess", "cyst"),
    tuple(f"type_{letter}" for letter in "abcdefghijkl"),
)
_HOSPITALS: Final = ("Northgate Hospital", "Hospital 7", "Klinikum Süd", "St. Anne's", "Site C")
_DELTAS: Final = (1e-5, 1e-6, 3.17e-4, 0.0)
_UNITS: Final = ("patient", "near-duplicate group")


def sample_facts(rng: random.Random) -> Facts:
    """A case (two in three) or a cohort."""
    return sample_case(rng) if rng.random() < 2 / 3 else sample_cohort(rng)


def sample_case(rng: random.Random) -> CaseFacts:
    """A case; one in eight is tied, one in eight certain; each check is there or not."""
    classes = rng.choice(CLASS_SETS)
    values = _probabilities(len(classes), rng)
    top = max(range(len(classes)), key=values.__getitem__)
    flags = rng.sample(QUALITY_FLAGS, rng.choice((0, 0, 0, 1, 2)))
    return CaseFacts(
        hospital=rng.choice(_HOSPITALS),
        case_id=f"C-{rng.getrandbits(32):08x}",
        predicted=classes[top],
        probabilities=dict(zip(classes, values, strict=True)),
        model_sha256=_hash(rng),
        dataset_version=rng.choice((f"v{rng.randrange(1, 40)}", _hash(rng))),
        epsilon=_epsilon(rng),
        delta=rng.choice(_DELTAS),
        privacy_unit=rng.choice(_UNITS),
        calibration=_calibration(rng),
        outlier=_outlier(rng),
        quality=None if rng.random() < 0.3 else cast("tuple[QualityFlag, ...]", tuple(flags)),
        region=cast("Region", rng.choice(REGIONS)) if rng.random() < 0.6 else None,
    )


def sample_cohort(rng: random.Random) -> CohortFacts:
    """An evaluation; scores, intervals, confusion, hospitals, rounds, trend may be absent."""
    classes = rng.choice(CLASS_SETS)
    kind = rng.choice(("hospital", "global"))
    figures = {
        "accuracy": rng.choice((rng.random(), rng.uniform(0.7, 1.0), 0.0, 1.0)),
        "macro_f1": rng.random(),
        "macro_auc": rng.uniform(0.4, 1.0) if rng.random() < 0.5 else None,
    }
    taking_part = rng.sample(_HOSPITALS, rng.randrange(1, 6)) if rng.random() < 0.6 else []
    noised = rng.random() < 0.5
    rounds = rng.choice((None, 0, 1, rng.randrange(2, 100)))
    detailed = rng.random() < 0.5
    return CohortFacts(
        kind="hospital" if kind == "hospital" else "global",
        name=rng.choice(_HOSPITALS) if kind == "hospital" else f"Trial {rng.choice('ABC')}",
        n_cases=rng.choice((1, rng.randrange(2, 60), rng.randrange(60, 5000))),
        accuracy=figures["accuracy"] or 0.0,
        macro_f1=figures["macro_f1"] or 0.0,
        macro_auc=figures["macro_auc"],
        intervals=_intervals(figures, rng),
        per_class={name: _scores(rng, detailed=detailed) for name in classes},
        confusion=_confusion(classes, noised, rng) if rng.random() < 0.5 else None,
        hospitals=tuple(taking_part),
        n_hospitals=rng.choice((None, len(taking_part) or rng.randrange(1, 9))),
        rounds=rounds,
        trend=_trend(rounds, rng),
        shares=_shares(taking_part, rng),
        noised=noised,
        model_sha256=_hash(rng),
        epsilon=_epsilon(rng),
        delta=rng.choice(_DELTAS),
        privacy_unit=rng.choice(_UNITS),
    )


def _probabilities(size: int, rng: random.Random) -> list[float]:
    kind = rng.randrange(8)
    if kind == 0:  # certain
        return [1.0] + [0.0] * (size - 1)
    if kind == 1:  # a tie at the top
        rest = [rng.random() * 0.1 for _ in range(size - 2)]
        values = [*rest, (1.0 - sum(rest)) / 2, (1.0 - sum(rest)) / 2]
        return values if sum(rest) < 0.5 else [1.0 / size] * size
    sharpness = rng.choice((0.5, 2.0, 6.0, 20.0))
    weights = [rng.random() ** sharpness + 1e-9 for _ in range(size)]
    lift = rng.choice((0.0, 1.0, 10.0))
    weights[rng.randrange(size)] += lift
    total = sum(weights)
    return [weight / total for weight in weights]


def _calibration(rng: random.Random) -> Calibration | None:
    if rng.random() < 0.5:
        return None
    basis = cast("Basis", rng.choice(BASES))
    share = rng.choice((1.0, 0.0, rng.random(), rng.uniform(0.7, 1.0)))
    spread = rng.uniform(0.0, 0.2)
    low, high = max(0.0, share - spread), min(1.0, share + spread)
    return Calibration(share=share, low=low, high=high, basis=basis)


def _outlier(rng: random.Random) -> OutlierCheck | None:
    if rng.random() < 0.3:
        return None
    basis = cast("Basis", rng.choice(BASES))
    score = rng.choice((0.5, 5.0, 5.0, 5.0))
    return OutlierCheck(score=score, threshold=rng.uniform(1.0, 4.0), basis=basis)


def _scores(rng: random.Random, *, detailed: bool) -> ClassScores:
    if rng.random() < 0.05:
        return ClassScores(precision=None, recall=None, f1=None, cases=0 if detailed else None)
    low, high = rng.choice(((0.0, 1.0), (0.7, 1.0), (1.0, 1.0)))
    precision, recall, f1, auc = (rng.uniform(low, high) for _ in range(4))
    figures: dict[str, float | None] = {"precision": precision, "recall": recall, "f1": f1}
    if not detailed:
        return ClassScores(precision=precision, recall=recall, f1=f1)
    return ClassScores(
        precision=precision,
        recall=recall,
        f1=f1,
        auc=auc,
        cases=rng.randrange(1, 900),
        intervals=_intervals({**figures, "auc": auc}, rng),
    )


def _intervals(
    figures: dict[str, float | None], rng: random.Random
) -> dict[str, tuple[float, float]]:
    spread = rng.uniform(0.0, 0.1)
    return {
        name: (max(0.0, value - spread), min(1.0, value + spread))
        for name, value in figures.items()
        if value is not None and rng.random() < 0.6
    }


def _confusion(
    classes: tuple[str, ...], noised: bool, rng: random.Random
) -> dict[str, dict[str, float]]:
    low = -2.0 if noised else 0.0
    return {
        true: {predicted: float(rng.randrange(0, 60)) + low for predicted in classes}
        for true in classes
    }


def _trend(rounds: int | None, rng: random.Random) -> tuple[TrendPoint, ...]:
    if rounds is None or rounds < 2 or rng.random() < 0.4:
        return ()
    chosen = sorted(rng.sample(range(1, rounds + 1), rng.randrange(2, min(rounds, 6) + 1)))
    start = rng.random()
    return tuple(
        TrendPoint(round=n, accuracy=min(1.0, max(0.0, start + rng.uniform(-0.1, 0.3))))
        for n in chosen
    )


def _shares(hospitals: list[str], rng: random.Random) -> tuple[HospitalShare, ...]:
    if not hospitals or rng.random() < 0.5:
        return ()
    weights = [rng.uniform(0.05, 1.0) for _ in hospitals]
    total = sum(weights)
    return tuple(
        HospitalShare(hospital=name, share=weight / total)
        for name, weight in zip(hospitals, weights, strict=True)
    )


def _epsilon(rng: random.Random) -> float | None:
    private = rng.random() < 0.85
    return rng.choice((0.1, 1.0, 3.0, rng.uniform(0.0, 20.0))) if private else None


def _hash(rng: random.Random) -> str:
    return f"{rng.getrandbits(256):064x}"

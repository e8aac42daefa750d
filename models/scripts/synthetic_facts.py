"""Facts that describe nobody, drawn at random with the edges kept frequent.

Edges are ties, certainty, classes without cases, figures that are not there. The shipped report
model saw these and nothing else; tests and benchmarks use them too.
"""

from __future__ import annotations

import random
from typing import Final

from models.classes import DEFAULT_CLASSES
from models.facts import CaseFacts, ClassScores, CohortFacts, Facts

_CLASS_SETS: Final = (
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
    """A case; one in eight is tied, one in eight certain."""
    classes = rng.choice(_CLASS_SETS)
    values = _probabilities(len(classes), rng)
    top = max(range(len(classes)), key=values.__getitem__)
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
    )


def sample_cohort(rng: random.Random) -> CohortFacts:
    """An evaluation; scores, interval, confusion, hospitals and rounds may be absent."""
    classes = rng.choice(_CLASS_SETS)
    kind = rng.choice(("hospital", "global"))
    accuracy = rng.choice((rng.random(), rng.uniform(0.7, 1.0), 0.0, 1.0))
    spread = rng.uniform(0.0, 0.1) if rng.random() < 0.6 else None
    taking_part = rng.sample(_HOSPITALS, rng.randrange(1, 6)) if rng.random() < 0.6 else []
    noised = rng.random() < 0.5
    return CohortFacts(
        kind="hospital" if kind == "hospital" else "global",
        name=rng.choice(_HOSPITALS) if kind == "hospital" else f"Trial {rng.choice('ABC')}",
        n_cases=rng.choice((1, rng.randrange(2, 60), rng.randrange(60, 5000))),
        accuracy=accuracy,
        accuracy_low=None if spread is None else max(0.0, accuracy - spread),
        accuracy_high=None if spread is None else min(1.0, accuracy + spread),
        macro_f1=rng.random(),
        per_class={name: _figures(rng) for name in classes},
        confusion=_confusion(classes, noised, rng) if rng.random() < 0.5 else None,
        hospitals=tuple(taking_part),
        rounds=rng.choice((None, 0, 1, rng.randrange(2, 100))),
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


def _figures(rng: random.Random) -> ClassScores:
    if rng.random() < 0.05:
        return ClassScores(precision=None, recall=None, f1=None)
    low, high = rng.choice(((0.0, 1.0), (0.7, 1.0), (1.0, 1.0)))
    precision, recall, f1 = (rng.uniform(low, high) for _ in range(3))
    return ClassScores(precision=precision, recall=recall, f1=f1)


def _confusion(
    classes: tuple[str, ...], noised: bool, rng: random.Random
) -> dict[str, dict[str, float]]:
    low = -2.0 if noised else 0.0
    return {
        true: {predicted: float(rng.randrange(0, 60)) + low for predicted in classes}
        for true in classes
    }


def _epsilon(rng: random.Random) -> float | None:
    private = rng.random() < 0.85
    return rng.choice((0.1, 1.0, 3.0, rng.uniform(0.0, 20.0))) if private else None


def _hash(rng: random.Random) -> str:
    return f"{rng.getrandbits(256):064x}"

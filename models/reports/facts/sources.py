"""The named references of a facts document, each written in exactly one way. Pure.

A draft holds `{{name}}`; a text holds what stands here. Figures carry their unit, so that nothing
has to be added to them:

    fractions       one decimal and a percent sign, "91.3 %"; a fraction that would round to
                    nothing or to certainty without being it is "< 0.1 %" or "> 99.9 %"
    intervals       behind their figure, never apart, "82.0 % (95 % interval 78.0 % to 86.0 %)"
    counts          digits without separators and their noun, "340 cases"
    epsilon         rounded upwards (towards more privacy lost), never without its delta, unit and
                    relation, "epsilon 3.00 at delta 1e-05 per patient (add or remove one)"
    hashes          first twelve digits after "sha256:"
    class names     as the facts have them, with spaces for underscores; names of "nothing to see"
                    such as `notumor` read "no tumour"; a name that is also a word of the report
                    vocabulary stands in double quotes

A class and its figures are named by its rank (`class.1`, `p.1`): a draft never holds its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Final, Literal

from models.reports.facts.case import CaseFacts
from models.reports.facts.checks import is_hash
from models.reports.facts.cohort import CohortFacts
from models.reports.facts.scores import ClassScores, Interval
from models.reports.vocabulary import VOCABULARY

Role = Literal["class", "figure", "name", "word"]
_NO_TUMOUR: Final = frozenset({"notumor", "notumour"})


@dataclass(frozen=True, slots=True)
class Reference:
    """One fact that a draft may point to.

    Attributes:
        name: what stands between the braces.
        value: the fact itself.
        text: the fact as every report writes it, unit included.
        role: "class" (a class name), "figure" (holds a number), "name" (of a hospital, case,
            model or data set) or "word" (a judgement that a rule derives).
        measure: the word that has to stand near a figure ("accuracy"); empty where the text says
            it itself.
        subject: text of the class a figure belongs to; empty for the whole.
    """

    name: str
    value: str | float | int | None
    text: str
    role: Role
    measure: str = ""
    subject: str = ""


def references(facts: CaseFacts | CohortFacts) -> Mapping[str, Reference]:
    """All references of a document, by name, in a fixed order.

    A reference exists only where its statement makes sense: `runner_up` not in a tie, for example.
    """
    rows = _case(facts) if isinstance(facts, CaseFacts) else _cohort(facts)
    return MappingProxyType({row.name: row for row in (*rows, *_privacy(facts))})


def class_text(name: str) -> str:
    """A class name as reports write it."""
    if name.lower().replace("_", "").replace("-", "").replace(" ", "") in _NO_TUMOUR:
        return "no tumour"
    text = " ".join(name.replace("_", " ").split())
    return f'"{text}"' if all(word in _FOLDED for word in text.lower().split()) else text


def percent(fraction: float) -> str:
    """A fraction in percent, one decimal; "0.0 %" and "100.0 %" only where it is exactly so."""
    if 0.0 < fraction < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= fraction < 1.0:
        return "> 99.9 %"
    return f"{100.0 * fraction:.1f} %"


def percent_within(fraction: float, interval: Interval | None) -> str:
    """A fraction with its 95 % interval, where that is known."""
    if interval is None:
        return percent(fraction)
    low, high = interval
    return f"{percent(fraction)} (95 % interval {percent(low)} to {percent(high)})"


def count(number: int, noun: str) -> str:
    """A whole number with its noun, plural where it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_FOLDED: Final = frozenset(word.lower() for word in VOCABULARY)


def _word(name: str, value: str) -> Reference:
    return Reference(name, value, value, "word")


def _name(name: str, value: str) -> Reference:
    return Reference(name, value, value, "name")


def _class(name: str, value: str) -> Reference:
    return Reference(name, value, class_text(value), "class")


def _hash(name: str, sha256: str) -> Reference:
    return Reference(name, sha256, f"sha256:{sha256[:12]}", "name")


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure of one class: `value` (None where it is not defined), how it is written, of what."""

    value: float | None
    text: str
    measure: str = ""


def _each_class(value: str, figures: Mapping[str, _Figure], *, rank: int) -> Iterator[Reference]:
    """One class's name and figures."""
    shown = class_text(value)
    yield _class(f"class.{rank}", value)
    for key, figure in figures.items():
        name = f"{key}.{rank}"
        yield Reference(name, figure.value, figure.text, "figure", figure.measure, shown)


def _case(facts: CaseFacts) -> Iterator[Reference]:
    yield _class("predicted", facts.predicted)
    if facts.runner_up is not None:
        yield _class("runner_up", facts.runner_up)
    for rank, name in enumerate(facts.ranked, start=1):
        value = facts.probabilities[name]
        figures = {"p": _Figure(value, percent(value), "probability")}
        yield from _each_class(name, figures, rank=rank)
    points = percent(facts.margin).replace("%", "percentage points")
    yield Reference("margin", facts.margin, points, "figure")
    yield _word("margin_word", facts.margin_word)
    yield _word("confidence", facts.confidence)
    yield _name("hospital", facts.hospital)
    yield _name("case_id", facts.case_id)
    hashed = is_hash(facts.dataset_version)
    yield (_hash if hashed else _name)("dataset", facts.dataset_version)
    yield _hash("model", facts.model_sha256)
    yield from _image(facts)


def _image(facts: CaseFacts) -> Iterator[Reference]:
    if (held := facts.calibration) is not None:
        text = f"{percent_within(held.share, (held.low, held.high))} after calibration"
        yield Reference("calibrated", held.share, text, "figure")
        yield _name("calibration_basis", held.basis)
    if facts.outlier is not None:
        yield _name("outlier_basis", facts.outlier.basis)
    if facts.quality:
        yield _name("quality_flags", " and ".join(facts.quality))
    if facts.region is not None:
        yield _name("region", f"{facts.region} of the image")


def _cohort(facts: CohortFacts) -> Iterator[Reference]:
    yield _name("name", facts.name)
    yield _hash("model", facts.model_sha256)
    yield Reference("n_cases", facts.n_cases, count(facts.n_cases, "case"), "figure")
    yield from _overall(facts)
    yield _word("level", facts.level)
    for rank, name in enumerate(facts.ranked, start=1):
        yield from _each_class(name, _scores(facts.per_class[name]), rank=rank)
    for label, extreme in (("best", facts.best), ("weakest", facts.weakest)):
        if extreme is not None:
            yield _class(label, extreme)
    yield from _cohort_extras(facts)


def _overall(facts: CohortFacts) -> Iterator[Reference]:
    figures = (
        ("accuracy", facts.accuracy, "accuracy"),
        ("macro_f1", facts.macro_f1, "macro F-score"),
        ("macro_auc", facts.macro_auc, "macro AUC"),
    )
    for key, value, measure in figures:
        if value is not None:
            text = percent_within(value, facts.intervals.get(key))
            yield Reference(key, value, text, "figure", measure)


def _scores(scores: ClassScores) -> dict[str, _Figure]:
    """A class's figures; a score that is not defined says so, an AUC that is not known is left."""
    measures = {"precision": "precision", "recall": "recall", "f1": "F-score", "auc": "AUC"}
    figures = {}
    for key, measure in measures.items():
        value = getattr(scores, key)
        if value is not None:
            text = percent_within(value, scores.intervals.get(key))
            figures[key] = _Figure(value, text, measure)
        elif key != "auc":
            figures[key] = _Figure(None, "not defined", measure)
    if scores.cases is not None:
        figures["cases"] = _Figure(scores.cases, count(scores.cases, "case"))
    return figures


def _cohort_extras(facts: CohortFacts) -> Iterator[Reference]:
    if facts.top_confusion is not None:
        true, predicted, number = facts.top_confusion
        text = f"{class_text(true)} read as {class_text(predicted)} ({count(number, 'case')})"
        yield Reference("top_confusion", number, text, "figure")
    if facts.rounds is not None:
        yield Reference("rounds", facts.rounds, count(facts.rounds, "round"), "figure")
    taking_part = len(facts.hospitals) or facts.n_hospitals
    if taking_part:
        text = count(taking_part, "hospital")
        yield Reference("hospital_count", taking_part, text, "figure")
    if facts.hospitals:
        listed = ", ".join(facts.hospitals[:-1])
        last = facts.hospitals[-1]
        yield _name("hospital_names", f"{listed} and {last}" if listed else last)
    if facts.trend_word is not None:
        first, latest = facts.trend[0], facts.trend[-1]
        text = (
            f"{percent(first.accuracy)} after round {first.round} to "
            f"{percent(latest.accuracy)} after round {latest.round}"
        )
        # The hospital's own accuracy is of other cases: the two may not be taken for one.
        text += "" if facts.kind == "global" else " on the test cases of the study"
        yield Reference("trend", latest.accuracy, text, "figure", "accuracy")
        yield _word("trend_word", facts.trend_word)
    if facts.shares:
        each = [f"{share.hospital} {percent(share.share)}" for share in facts.shares]
        yield Reference("shares", None, ", ".join(each), "figure")


def _privacy(facts: CaseFacts | CohortFacts) -> Iterator[Reference]:
    if facts.epsilon is None:
        yield Reference("privacy", None, "no differential privacy guarantee", "figure")
        return
    # Rounded up: a text must never promise more privacy than was kept.
    hundredths = Decimal(facts.epsilon).quantize(Decimal("0.01"), rounding=ROUND_CEILING)
    text = (
        f"epsilon {hundredths} at delta {_delta_text(facts.delta)} per {facts.privacy_unit} "
        f"({facts.privacy_relation.replace('_', ' ')})"
    )
    yield Reference("privacy", facts.epsilon, text, "figure")


def _delta_text(delta: float) -> str:
    """Two significant digits, rounded up, as a bare exponent where the second is zero."""
    if delta == 0.0:
        return "0"
    exact = Decimal(repr(delta))
    step = Decimal(1).scaleb(exact.adjusted() - 1)
    rounded = exact.quantize(step, rounding=ROUND_CEILING)
    digits, _, exponent = f"{rounded:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(exponent):+03d}"

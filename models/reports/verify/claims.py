"""What a report's sentences claim, held against the facts: the part common to all kinds. Pure.

A rule looks at one sentence at a time and is deliberately narrow: a claim in a form that no rule
can check is refused, because a draft that is refused costs a second and a false statement in a
medical text costs more.

    figures       a figure belongs to the class named just after it ("5.0 % for X"), else to the
                  class named last before it in the sentence, and to the measure named last before
                  it; both must be those of the facts. What follows a measure is a figure of it.
                  A figure of no class does not stand in a sentence about one
    denials       "not", "no", "without" stand under Limits only, and never beside a class or figure
    degrees       "high", "narrow" and the like are the word that the facts' rule gives
    comparisons   see `models.reports.verify.case_claims` and `models.reports.verify.cohort_claims`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.reports.errors import ReportFinding
from models.reports.facts import Reference
from models.reports.verify.read import Sentence, Token
from models.reports.vocabulary import NEGATIONS

DEGREES: Final = frozenset({"high", "moderate", "low"})
MARGINS: Final = frozenset({"wide", "fair", "narrow"})
TRENDS: Final = frozenset({"rising", "falling", "steady"})
COMPARATORS: Final = frozenset({"above", "ahead", "below", "behind"})
TIES: Final = frozenset({"tie", "tied", "equal", "equally"})
BEST: Final = frozenset({"highest", "best", "strongest", "leading", "leads"})
WORST: Final = frozenset({"lowest", "weakest"})

_MEASURES: Final = {
    "probability": "probability",
    "probabilities": "probability",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f-score": "F-score",
    "f-scores": "F-score",
    "auc": "AUC",
}
_AFTER_FIGURE: Final = frozenset({"for", "to"})
_ARTICLES: Final = frozenset({"the", "class"})


def finding(kind: str, place: Sentence | Token, message: str) -> ReportFinding:
    """A finding about a sentence or a token."""
    words = " ".join(t.text for t in place.tokens) if isinstance(place, Sentence) else place.text
    return ReportFinding(kind, place.start, place.end, words, message)


def class_names(sentence: Sentence) -> tuple[str, ...]:
    """The classes a sentence names, as reports write them."""
    return tuple(token.text for token in sentence.of("class"))


def says(sentence: Sentence, name: str) -> bool:
    """Whether a sentence holds the figure of this reference (by its text)."""
    return any(name == row.name for token in sentence.of("figure") for row in token.facts)


def bound_figures(
    sentence: Sentence, default: str
) -> Iterator[tuple[Token, tuple[Reference, ...]]]:
    """Each figure with the references that it can stand for, where it stands.

    Args:
        sentence: the sentence.
        default: measure of a figure before which the sentence names none; "" for none.
    """
    for index, token in enumerate(sentence.tokens):
        if token.kind != "figure":
            continue
        measure, subject = _measure_before(sentence, index) or default, _subject(sentence, index)
        fitting = tuple(
            row
            for row in token.facts
            if row.measure in ("", measure) and row.subject in ("", subject)
        )
        yield token, fitting


def figure_findings(sentence: Sentence, default: str) -> Iterator[ReportFinding]:
    """Figures that belong to another class or measure than the sentence says."""
    for token, fitting in bound_figures(sentence, default):
        if not fitting:
            owners = sorted({f"{row.subject} {row.measure}".strip() for row in token.facts})
            yield finding("number", token, f"the facts give this figure for {owners} only")
        elif sentence.of("class") and not any(_of_classes(row) for row in fitting):
            yield finding("number", token, "the facts give this figure for no class")
    for index in range(len(sentence.tokens)):
        measure = _measure_at(sentence, index)
        figure = next((t for t in sentence.tokens[index + 1 :] if t.kind == "figure"), None)
        if measure and figure and not any(row.measure == measure for row in figure.facts):
            yield finding("number", figure, f"this is not a figure of {measure}")


def repetition_findings(
    sentences: Sequence[Sentence], *, section: str, default: str
) -> Iterator[ReportFinding]:
    """Figures of a class that its list gives twice."""
    given: set[tuple[str, str]] = set()
    for sentence in sentences:
        if sentence.section != section:
            continue
        for token, fitting in bound_figures(sentence, default):
            told = {(row.subject, row.measure) for row in fitting if row.subject}
            if told & given:
                yield finding("number", token, "the list gives this figure twice")
            given |= told


def denial_findings(sentence: Sentence) -> Iterator[ReportFinding]:
    """Denials outside Limits, or beside a class or figure."""
    if not NEGATIONS.intersection(sentence.words):
        return
    if sentence.section != "Limits" or sentence.of("class") or sentence.of("figure"):
        yield finding("claim", sentence, "a denial cannot be checked against the facts here")


def degree_findings(
    sentence: Sentence, *, scale: frozenset[str], about: str, right: str
) -> Iterator[ReportFinding]:
    """Grading words that are not the facts' word, or grade something else.

    Args:
        sentence: the sentence.
        scale: the grading words.
        about: the word that must stand in the same sentence; "" where nothing may be graded.
        right: the word that the facts' rule gives.
    """
    used = scale.intersection(sentence.words)
    if not used:
        return
    if not about or about not in sentence.words:
        yield finding("claim", sentence, f"{sorted(used)} grades what the facts do not grade")
    elif used != {right}:
        yield finding("claim", sentence, f"{about} is {right!r} by the facts, not {sorted(used)}")


def _of_classes(figure: Reference) -> bool:
    """Whether a figure may stand in a sentence about classes."""
    return bool(figure.subject) or figure.name in ("margin", "top_confusion")


def _measure_before(sentence: Sentence, index: int) -> str:
    found = (_measure_at(sentence, place) for place in range(index - 1, -1, -1))
    return next((measure for measure in found if measure), "")


def _measure_at(sentence: Sentence, index: int) -> str:
    """The measure that the word at this place names; "" for none."""
    token = sentence.tokens[index]
    measure = _MEASURES.get(token.text.lower(), "") if token.kind == "word" else ""
    before = sentence.tokens[index - 1].text.lower() if index else ""
    return f"macro {measure}" if measure and before == "macro" else measure


def _subject(sentence: Sentence, index: int) -> str:
    """The class a figure belongs to; "" for none."""
    after = [t for t in sentence.tokens[index + 1 : index + 5] if t.text not in _ARTICLES]
    if len(after) > 1 and after[0].text in _AFTER_FIGURE and after[1].kind == "class":
        return after[1].text
    for token in reversed(sentence.tokens[:index]):
        if token.kind == "class":
            return token.text
    return ""

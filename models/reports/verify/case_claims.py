"""What the sentences of a case report may claim. Pure; see `models.reports.verify.claims`.

classes         another class than the predicted one is named only beside its own probability
under Probabilities, or in a comparison that is checked; never by a sentence
that says what the study was assigned to
comparisons     "most likely", "highest": the predicted class, and no tie; "least likely",
"lowest": the one class at the end; "runner-up": the class next to the
predicted one; "X above Y": in this order; "tied", "equally": only a tie
margins         between the predicted class and the next
checks          "passed", "unusual", "noted", "uncalibrated" where the checks say so
recommendations words of a work-up that only some classes or confidences call for
required        the predicted class with its probability, every class with its probability, the
confidence word, the privacy statement, review by a radiologist
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from models.reports.errors import ReportFinding
from models.reports.facts import CaseFacts, class_text
from models.reports.verify.claims import (
    COMPARATORS,
    DEGREES,
    MARGINS,
    TIES,
    WORST,
    bound_figures,
    degree_findings,
    denial_findings,
    figure_findings,
    finding,
    repetition_findings,
    says,
)
from models.reports.verify.comparisons import comparison_findings
from models.reports.verify.read import Sentence

_ASSIGNING: Final = frozenset(
    [
        "assigns",
        "assigned",
        "attributes",
        "attributed",
        "classified",
        "classifies",
        "classification",
        "predicted",
        "prediction",
        "favours",
        "points",
        "pointer",
        "places",
        "puts",
        "reports",
        "reported",
        "returns",
        "returned",
        "result",
        "indicates",
        "indicated",
        "suggests",
        "suggested",
        "finding",
        "recognised",
        "recognises",
        "found",
        "chosen",
    ]
)
_FOREIGN: Final = frozenset(
    [
        "accuracy",
        "precision",
        "recall",
        "f-score",
        "f-scores",
        "macro",
        "noise",
        "noised",
        "rounds",
        "frequent",
    ]
)
_DOUBTS: Final = frozenset(
    [
        "than",
        "instead",
        "against",
        "lack",
        "outside",
        "mistaken",
        "mistake",
        "mistakes",
        "wrong",
        "misread",
        "error",
        "errors",
    ]
)
_WORKUPS: Final[Sequence[tuple[frozenset[str], str, Callable[[CaseFacts], bool]]]] = (
    (
        frozenset({"hormone", "endocrine", "sellar", "visual"}),
        "a pituitary class",
        lambda facts: facts.family == "pituitary",
    ),
    (frozenset({"dural"}), "a meningioma class", lambda facts: facts.family == "meningioma"),
    (
        frozenset({"perfusion", "spectroscopy"}),
        "a glioma class",
        lambda facts: facts.family == "glioma",
    ),
    (
        frozenset({"contrast", "contrast-enhanced"}),
        "a class with a finding",
        lambda facts: facts.family != "healthy",
    ),
    (
        frozenset({"board", "multidisciplinary", "neuro-oncology"}),
        "a class with a finding and more than low confidence",
        lambda facts: facts.family != "healthy" and facts.confidence != "low",
    ),
    (
        frozenset({"repeat", "repeated", "acquisition", "independent"}),
        "low confidence or a narrow margin",
        lambda facts: facts.confidence == "low" or facts.margin_word == "narrow",
    ),
    (
        frozenset({"symptoms", "persist"}),
        "a class without a finding",
        lambda facts: facts.family == "healthy",
    ),
)

_CHECKS: Final[Sequence[tuple[frozenset[str], str, Callable[[CaseFacts], bool]]]] = (
    (frozenset({"unusual"}), "the outlier check marked the image", lambda facts: facts.unusual),
    (frozenset({"noted"}), "the quality check noted something", lambda facts: bool(facts.quality)),
    (frozenset({"uncalibrated"}), "nothing calibrated it", lambda facts: facts.calibration is None),
    (
        frozenset({"passed", "quality"}),
        "the quality check noted nothing",
        lambda facts: facts.quality == (),
    ),
    (
        frozenset({"passed", "outlier"}),
        "the outlier check was done and did not mark the image",
        lambda facts: facts.outlier is not None and not facts.unusual,
    ),
    (
        frozenset({"lowers"}),
        "a check of the image found something",
        lambda facts: facts.unusual or bool(facts.quality),
    ),
)


def case_findings(facts: CaseFacts, sentences: Sequence[Sentence]) -> Iterator[ReportFinding]:
    """Everything that a case report's sentences get wrong, and what they leave out."""
    for sentence in sentences:
        yield from figure_findings(sentence, "probability")
        yield from denial_findings(sentence)
        yield from degree_findings(
            sentence, scale=DEGREES, about="confidence", right=facts.confidence
        )
        yield from degree_findings(sentence, scale=MARGINS, about="margin", right=facts.margin_word)
        yield from _class_findings(facts, sentence)
        yield from comparison_findings(facts, sentence)
        yield from _word_findings(facts, sentence)
    yield from repetition_findings(sentences, section="Probabilities", default="probability")
    yield from _missing(facts, sentences)


def _class_findings(facts: CaseFacts, sentence: Sentence) -> Iterator[ReportFinding]:
    predicted, words = class_text(facts.predicted), set(sentence.words)
    others = [token for token in sentence.of("class") if token.text != predicted]
    if others and words & _ASSIGNING:
        yield finding("class", others[0], f"the study was assigned to {predicted!r}")
    compared = words & (COMPARATORS | TIES | WORST | {"runner-up", "least"}) or says(
        sentence, "margin"
    )
    if not compared:
        for token in others:
            own = any(
                row.subject == token.text
                for _, rows in bound_figures(sentence, "probability")
                for row in rows
            )
            if not own or sentence.section != "Probabilities":
                yield finding("class", token, f"nothing is claimed of it; say {predicted!r}")
    if sentence.of("class") and sentence.section != "Limits" and words & _DOUBTS:
        yield finding("claim", sentence, f"{sorted(words & _DOUBTS)} turns a class round")


def _word_findings(facts: CaseFacts, sentence: Sentence) -> Iterator[ReportFinding]:
    words = set(sentence.words)
    if used := words & _FOREIGN:
        yield finding("claim", sentence, f"{sorted(used)} belongs to a cohort report")
    if sentence.section == "Limits":
        return
    if words & {"calibrated", "calibration"}:
        yield finding("claim", sentence, "calibration is not in the facts")
    for said, needs, fits in _CHECKS:
        if said <= words and not fits(facts):
            yield finding("claim", sentence, f"{sorted(said)} may be said where {needs}")
    for triggers, needs, fits in _WORKUPS:
        if words & triggers and not fits(facts):
            yield finding("claim", sentence, f"{sorted(words & triggers)} is advised for {needs}")


def _missing(facts: CaseFacts, sentences: Sequence[Sentence]) -> Iterator[ReportFinding]:
    end = sentences[-1].end if sentences else 0

    def absent(message: str) -> ReportFinding:
        return ReportFinding("missing", end, end, "", message)

    said: dict[str, set[str]] = {}
    for sentence in sentences:
        figures = {r.name for _, rows in bound_figures(sentence, "probability") for r in rows}
        said.setdefault(sentence.section, set()).update(figures)
    if "p.1" not in said.get("Result", ()):
        yield absent("Result must give the predicted class with its probability")
    for rank, name in enumerate(facts.ranked, start=1):
        if f"p.{rank}" not in said.get("Probabilities", ()):
            yield absent(f"Probabilities must give {class_text(name)!r} with its probability")
    if not any(
        s.section == "Confidence" and {"confidence", facts.confidence} <= set(s.words)
        for s in sentences
    ):
        yield absent(f"Confidence must say that confidence is {facts.confidence}")
    if "privacy" not in said.get("Limits", ()):
        yield absent("Limits must give the privacy statement")
    if not reviewed_by_radiologist(sentences):
        yield absent("Recommendation must ask for review by a radiologist")


def reviewed_by_radiologist(sentences: Sequence[Sentence]) -> bool:
    """Whether the recommendation asks for a radiologist's review."""
    review = {"review", "reviewed", "read", "reading"}
    return any(
        s.section == "Recommendation" and "radiologist" in s.words and review & set(s.words)
        for s in sentences
    )

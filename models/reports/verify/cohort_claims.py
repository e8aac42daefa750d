"""What the sentences of a cohort report may claim. Pure; see `models.reports.verify.claims`.

classes       a class is named beside its own scores, as the one with the highest or lowest
F-score where there is such a one, or (the weakest) in the recommendation
comparisons   by F-score only; nothing is "above" or "tied"; "most frequent" is the one most
frequent confusion
noise         "noise" where the figures carry it, "exact" where they do not
degrees       the accuracy's word, and the word of its trend; nothing else is graded
required      the accuracy, three scores of every class,
noise or exactness, the privacy statement, review by a radiologist
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.reports.errors import ReportFinding
from models.reports.facts import CohortFacts, class_text, references
from models.reports.verify.case_claims import reviewed_by_radiologist
from models.reports.verify.claims import (
    BEST,
    COMPARATORS,
    DEGREES,
    MARGINS,
    TIES,
    TRENDS,
    WORST,
    bound_figures,
    class_names,
    degree_findings,
    denial_findings,
    figure_findings,
    finding,
    repetition_findings,
    says,
)
from models.reports.verify.read import Sentence

_FOREIGN: Final = frozenset(
    [
        "probability",
        "probabilities",
        "likely",
        "probable",
        "least",
        "margin",
        "runner-up",
        "confidence",
        "calibrated",
        "calibration",
        "hormone",
        "endocrine",
        "sellar",
        "visual",
        "dural",
        "perfusion",
        "spectroscopy",
        "contrast",
        "symptoms",
        "contrast-enhanced",
        "board",
        "multidisciplinary",
        "neuro-oncology",
        "persist",
        "acquisition",
    ]
)
_OTHER_MEASURES: Final = frozenset({"precision", "recall", "accuracy", "macro"})
_NOISE: Final = frozenset({"noise", "noised"})


def cohort_findings(facts: CohortFacts, sentences: Sequence[Sentence]) -> Iterator[ReportFinding]:
    """Everything that a cohort report's sentences get wrong, and what they leave out."""
    for sentence in sentences:
        yield from figure_findings(sentence, "")
        yield from denial_findings(sentence)
        yield from degree_findings(sentence, scale=DEGREES, about="accuracy", right=facts.level)
        yield from degree_findings(sentence, scale=MARGINS, about="", right="")
        yield from degree_findings(
            sentence, scale=TRENDS, about="accuracy", right=facts.trend_word or ""
        )
        yield from _class_findings(facts, sentence)
        yield from _word_findings(facts, sentence)
    yield from repetition_findings(sentences, section="Class scores", default="")
    yield from _missing(facts, sentences)


def _class_findings(facts: CohortFacts, sentence: Sentence) -> Iterator[ReportFinding]:
    words, named = set(sentence.words), set(class_names(sentence))
    best = class_text(facts.best) if facts.best else None
    weakest = class_text(facts.weakest) if facts.weakest else None
    for claims, right in ((words & BEST, best), (words & WORST, weakest)):
        if claims and (right is None or named != {right} or words & _OTHER_MEASURES):
            message = f"{sorted(claims)} is said by F-score, of {right!r} alone"
            yield finding("claim", sentence, message)
    if words & (BEST | WORST):
        return
    scored = {row.subject for _, rows in bound_figures(sentence, "") for row in rows}
    for token in sentence.of("class"):
        advised = sentence.section == "Recommendation" and token.text == weakest
        own = sentence.section == "Class scores" and token.text in scored
        if not advised and not own:
            yield finding("class", token, "nothing is claimed of this class here")


def _word_findings(facts: CohortFacts, sentence: Sentence) -> Iterator[ReportFinding]:
    words = set(sentence.words)
    if used := words & (_FOREIGN | COMPARATORS | TIES):
        yield finding("claim", sentence, f"{sorted(used)} cannot be checked against these facts")
    if words & _NOISE and not facts.noised:
        yield finding("claim", sentence, "these figures carry no noise")
    if "exact" in words and facts.noised:
        yield finding("claim", sentence, "these figures carry noise")
    frequent = "frequent" in words and says(sentence, "top_confusion")
    if words & {"most", "frequent"} and not frequent:
        yield finding("claim", sentence, "only the most frequent confusion is in the facts")


def _missing(facts: CohortFacts, sentences: Sequence[Sentence]) -> Iterator[ReportFinding]:
    end = sentences[-1].end if sentences else 0
    table = references(facts)
    said: dict[str, set[str]] = {}
    for sentence in sentences:
        figures = {row.name for _, rows in bound_figures(sentence, "") for row in rows}
        said.setdefault(sentence.section, set()).update(figures)
    scores = [f"{key}.{i + 1}" for i in range(len(facts.per_class)) for key in _SCORES]
    wanted = [("Result", "accuracy"), ("Limits", "privacy")]
    wanted += [("Class scores", name) for name in scores]
    for section, name in wanted:
        if name not in said.get(section, ()):
            what = f"{table[name].subject} {table[name].measure}".strip() or name
            yield ReportFinding("missing", end, end, "", f"{section} must give {what}")
    needed = _NOISE if facts.noised else {"exact"}
    if not any(s.section == "Confidence" and needed & set(s.words) for s in sentences):
        message = (
            f"Confidence must say that the figures are {'noised' if facts.noised else 'exact'}"
        )
        yield ReportFinding("missing", end, end, "", message)
    if not reviewed_by_radiologist(sentences):
        message = "Recommendation must ask for reading by a radiologist"
        yield ReportFinding("missing", end, end, "", message)


_SCORES: Final = ("precision", "recall", "f1")

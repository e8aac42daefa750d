"""Rankings and orders that a case report may claim. Pure; see `models.reports.verify.case_claims`.

Ranking words are judged with all classes that their sentence names, so a sentence may make one such
claim at a time. What is "most likely" must be so strictly: in a tie, nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from models.reports.errors import ReportFinding
from models.reports.facts import CaseFacts, class_text
from models.reports.verify.claims import BEST, COMPARATORS, TIES, WORST, class_names, finding, says
from models.reports.verify.read import Sentence


def comparison_findings(facts: CaseFacts, sentence: Sentence) -> Iterator[ReportFinding]:
    """Rankings, ties and orders of one sentence of a case report that the facts do not bear out."""
    words, named = sentence.words, class_names(sentence)
    ordered = bool(COMPARATORS.intersection(words))
    yield from _likelihood_findings(sentence)
    if _claims_top(words) and not ordered:
        if facts.tied:
            yield finding("claim", sentence, "two classes are tied; none is the most probable")
        elif not named or set(named) != {class_text(facts.predicted)} or "confidence" in words:
            yield finding("claim", sentence, "only the predicted class is the most probable")
    if WORST.intersection(words) or "least" in words:
        last = _last(facts)
        if last is None or set(named) != {last} or "confidence" in words:
            yield finding("claim", sentence, f"the one least probable class is {last!r}")
    if TIES.intersection(words):
        tied = {class_text(n) for n in facts.ranked if facts.probabilities[n] == _top(facts)}
        if not facts.tied or not set(named) <= tied:
            yield finding("claim", sentence, f"the classes tied at the top are {sorted(tied)}")
    if "runner-up" in words:
        right = class_text(facts.runner_up) if facts.runner_up else None
        allowed = {right, class_text(facts.predicted)} if ordered else {right}
        if right is None or not set(named) <= allowed:
            yield finding("claim", sentence, f"the runner-up is {right!r}")
    yield from _order_findings(facts, sentence)
    if says(sentence, "margin"):
        ends = {class_text(n) for n in facts.ranked[:1]} | _seconds(facts)
        if not set(named) <= ends:
            yield finding("claim", sentence, f"the margin lies between {sorted(ends)}")


def _claims_top(words: tuple[str, ...]) -> bool:
    most = any(a == "most" and b in ("likely", "probable") for a, b in pairwise(words))
    return most or bool(BEST.intersection(words))


def _likelihood_findings(sentence: Sentence) -> Iterator[ReportFinding]:
    """Check "likely" and "most" only in the forms that are checked."""
    degrees = ("most", "least", "equally")
    for before, word in pairwise(("", *sentence.words, "")):
        if word in ("likely", "probable") and before not in degrees:
            yield finding("claim", sentence, f"{word!r} is graded by the facts' figures only")
        if before in ("most", "least") and word not in ("likely", "probable"):
            yield finding("claim", sentence, f"{before!r} compares what the facts do not")


def _order_findings(facts: CaseFacts, sentence: Sentence) -> Iterator[ReportFinding]:
    """Check "X above Y", where Y may be "all other classes" or "the runner-up"."""
    by_text = {class_text(name): value for name, value in facts.probabilities.items()}
    for index, token in enumerate(sentence.tokens):
        word = token.text.lower()
        if token.kind != "word" or word not in COMPARATORS:
            continue
        left = [by_text[t.text] for t in sentence.tokens[:index] if t.kind == "class"]
        named = [by_text[t.text] for t in sentence.tokens[index + 1 :] if t.kind == "class"]
        after = sentence.words[sentence.words.index(word) + 1 :]
        right = named[:1]
        if not named and "classes" in after and {"other", "others"}.intersection(after):
            right = [facts.probabilities[name] for name in facts.ranked[1:]]
        elif not named and "runner-up" in after and facts.runner_up is not None:
            right = [facts.probabilities[facts.runner_up]]
        ascending = word in ("below", "behind")
        if (
            len(left) != 1
            or not right
            or len(named) > 1
            or any(left[0] >= r if ascending else left[0] <= r for r in right)
        ):
            yield finding("claim", sentence, f"{word!r} is not so, or compares no two classes")


def _top(facts: CaseFacts) -> float:
    return facts.probabilities[facts.predicted]


def _seconds(facts: CaseFacts) -> set[str]:
    """Texts of the classes that are as probable as the one ranked next to the predicted one."""
    second = facts.probabilities[facts.ranked[1]]
    return {class_text(name) for name in facts.ranked[1:] if facts.probabilities[name] == second}


def _last(facts: CaseFacts) -> str | None:
    ranked = facts.ranked
    shared = facts.probabilities[ranked[-1]] == facts.probabilities[ranked[-2]]
    return None if shared else class_text(ranked[-1])

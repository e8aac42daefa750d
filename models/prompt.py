"""What a language model is told: fixed instructions and the facts, nothing else. Pure.

Two styles. "compact" is the dialect of the shipped model: a handful of control tokens and the
references that exist, without a single value, so that it cannot learn to write one. "text" is for
any other model: instructions in English and a table of all references with their values; models
with a chat template get the same as a system and a user message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from models.facts import CaseFacts, CohortFacts, Facts, references
from models.report_layout import DISCLAIMER, sections_of

Style = Literal["compact", "text"]

COMPACT_CLASSES: Final = 12
"""How many classes the shipped model's vocabulary has references for."""

_OPTIONAL: Final = (
    "runner_up",
    "best",
    "weakest",
    "top_confusion",
    "rounds",
    "hospital_count",
)
_DEGREES: Final = ("high", "moderate", "low")
COMPACT_TAGS: Final = (
    "<case>",
    "<hospital>",
    "<global>",
    *(f"<{word}>" for word in ("glioma", "meningioma", "pituitary", "healthy", "other")),
    *(f"<{word}>" for word in _DEGREES),
    *(f"<{word}>" for word in ("wide", "fair", "narrow")),
    "<tied>",
    "<noised>",
    "<exact>",
    "<report>",
    "<end>",
)
"""Control tokens of the compact style; `<report>` closes the prompt, `<end>` the body."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `role` is "system" or "user"; `content` is what is said."""

    role: Literal["system", "user"]
    content: str


def build_prompt(facts: Facts, style: Style = "compact") -> str:
    """The prompt for a model without a chat template.

    Args:
        facts: the facts to report; nothing else goes in.
        style: "compact" for the shipped model, "text" for others.
    """
    if style == "compact":
        return "".join(_compact(facts))
    return f"{_instructions(facts)}\n\n{_table(facts)}\n\nReport:\n"


def chat_messages(facts: Facts) -> tuple[Message, ...]:
    """The prompt for an instruction-tuned model: rules as system, facts as user."""
    return (Message("system", _instructions(facts)), Message("user", _table(facts)))


def compact_names() -> tuple[str, ...]:
    """Every reference that the shipped model can write, in the order of its vocabulary."""
    single = [
        "predicted",
        "runner_up",
        "margin",
        "margin_word",
        "confidence",
        "hospital",
        "case_id",
        "dataset",
        "model",
        "calibrated",
        "calibration_basis",
        "outlier_basis",
        "quality_flags",
        "region",
        "name",
        "n_cases",
        "accuracy",
        "macro_f1",
        "macro_auc",
        "level",
        "best",
        "weakest",
        "top_confusion",
        "rounds",
        "hospital_count",
        "hospital_names",
        "trend",
        "trend_word",
        "shares",
        "privacy",
    ]
    ranked = ("class", "p", "precision", "recall", "f1", "auc", "cases")
    numbered = [f"{key}.{rank}" for key in ranked for rank in range(1, COMPACT_CLASSES + 1)]
    return (*single, *numbered)


def _compact(facts: Facts) -> Iterator[str]:
    table = references(facts)
    yield f"<{facts.kind}>"
    if isinstance(facts, CaseFacts):
        yield f"<{facts.family}><{facts.confidence}><{facts.margin_word}>"
        if facts.tied:
            yield "<tied>"
    else:
        yield f"<{facts.level}><{'noised' if facts.noised else 'exact'}>"
    yield from (f"{{{{{name}}}}}" for name in _OPTIONAL if name in table)
    yield from (f"{{{{class.{rank}}}}}" for rank in range(1, len(facts.ranked) + 1))
    yield "<report>"


def _instructions(facts: Facts) -> str:
    about = "one classified MRI study" if isinstance(facts, CaseFacts) else "one evaluation"
    headings = "\n".join(sections_of(facts))
    rules = _CASE_RULES if isinstance(facts, CaseFacts) else _COHORT_RULES
    return (
        f"You write a short report about {about} for a radiologist, in plain, careful English.\n"
        "Every fact has a reference in double braces, such as {{model}}. Wherever a number, a class"
        " or a name belongs, write the reference itself; never write a number, a class or a name"
        " in your own words. Say nothing that is not in the facts: no prognosis, no treatment, no"
        " certainty.\nWrite these sections, each heading on a line of its own and an empty line"
        f" after each section:\n{headings}\nLimits opens with: {DISCLAIMER}\n{rules}"
    )


def _table(facts: Facts) -> str:
    rows = [
        f"{{{{{row.name}}}}} = {' '.join(x for x in (row.subject, row.measure, row.text) if x)}"
        for row in references(facts).values()
        if row.naming != "rank"
    ]
    tied = ["Two classes are tied at the top."] if _is_tied(facts) else []
    return "\n".join(["Facts:", *rows, *tied, *_nature(facts)])


def _is_tied(facts: Facts) -> bool:
    return isinstance(facts, CaseFacts) and facts.tied


def _nature(facts: Facts) -> list[str]:
    if isinstance(facts, CohortFacts):
        return [
            "The figures carry noise for privacy." if facts.noised else "The figures are exact."
        ]
    return []


_CASE_RULES: Final = (
    "Result: the predicted class with its probability, and the runner-up if there is one.\n"
    "Probabilities: one line for each class, for example '- {{name.x}}: {{p.x}}'.\n"
    "Confidence: 'The confidence is {{confidence}}.' and the margin.\n"
    "Limits: after the fixed sentence, 'Privacy of the model: {{privacy}}.'\n"
    "Recommendation: review by a radiologist, and what else this class and confidence call for."
)
_COHORT_RULES: Final = (
    "Result: the accuracy, and the number of cases.\n"
    "Class scores: one line for each class, for example '- {{name.x}}: precision {{precision.x}},"
    " recall {{recall.x}}, F-score {{f1.x}}'.\n"
    "Confidence: whether the figures carry noise or are exact.\n"
    "Limits: after the fixed sentence, 'Privacy of the model: {{privacy}}.'\n"
    "Recommendation: reading by a radiologist, and what would improve the model."
)

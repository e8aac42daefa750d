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

from models.reports.facts import CaseFacts, Facts, references
from models.reports.language import DISCLAIMER, holds, patterns

Style = Literal["compact", "text"]

COMPACT_CLASSES: Final = 12
"""How many classes the shipped model's vocabulary has references for."""

_OPTIONAL: Final = (
    "runner_up",
    "calibrated",
    "quality_flags",
    "region",
    "macro_auc",
    "best",
    "weakest",
    "top_confusion",
    "rounds",
    "hospital_count",
    "trend",
    "shares",
)
_STATES: Final = (
    "tied",
    "unusual",
    "typical",
    "clear",
    "outlier unchecked",
    "quality unchecked",
    "noised",
    "exact",
    "no interval",
)
COMPACT_TAGS: Final = (
    "<case>",
    "<hospital>",
    "<global>",
    *(f"<{word}>" for word in ("glioma", "meningioma", "pituitary", "healthy", "other")),
    *(f"<{word}>" for word in ("high", "moderate", "low")),
    *(f"<{word}>" for word in ("wide", "fair", "narrow")),
    *(f"<{word}>" for word in _STATES),
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
    else:
        yield f"<{facts.level}>"
    yield from (f"<{state}>" for state in _STATES if holds(state, facts, table))
    yield from (f"{{{{{name}}}}}" for name in _OPTIONAL if name in table)
    yield from (f"{{{{class.{rank}}}}}" for rank in range(1, len(facts.ranked) + 1))
    yield "<report>"


def _instructions(facts: Facts) -> str:
    about = "one classified MRI study" if isinstance(facts, CaseFacts) else "one evaluation"
    language = "\n\n".join(
        "\n".join([heading, *(f"  {pattern}" for pattern in said)])
        for heading, said in patterns(facts)
    )
    return (
        f"You write a short report about {about} for a radiologist, in plain, careful English.\n"
        "Every fact has a reference in double braces, such as {{model}}. Wherever a number, a class"
        " or a name belongs, write the reference itself; never write a number, a class or a name"
        " in your own words. Say nothing that is not in the facts: no prognosis, no treatment, no"
        " certainty.\nWrite these sections in this order, each heading on a line of its own and an"
        " empty line after each section. Under each heading stand the sentences that you may use,"
        " in their order: (a|b) means one of these, [x] may be left out, K is the rank of a class."
        " Choose those that help the reader most.\n"
        f"{language}\n\nLimits opens with: {DISCLAIMER}"
    )


def _table(facts: Facts) -> str:
    rows = [
        f"{{{{{row.name}}}}} = {' '.join(x for x in (row.subject, row.measure, row.text) if x)}"
        for row in references(facts).values()
    ]
    return "\n".join(["Facts:", *rows, *_nature(facts)])


def _nature(facts: Facts) -> list[str]:
    """What the facts say without a figure."""
    table = references(facts)
    return [f"It holds: {state}." for state in _STATES if holds(state, facts, table)]

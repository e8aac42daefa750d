"""Writes a report's body without a language model: plain, complete, the same for the same facts.

Used when no draft of the language model passes verification, and always passes it itself (a test
over random facts says so). Returns a draft with references; `models.render` fills them in.
"""

from __future__ import annotations

from models.facts import CaseFacts, CohortFacts, Facts
from models.report_layout import section_openings
from models.report_references import references


def template_body(facts: Facts) -> str:
    """The body of a report, with references, sections in order."""
    if isinstance(facts, CaseFacts):
        parts = [_result(facts), _probabilities(facts), _confidence(facts), _LIMITS, _advice(facts)]
    else:
        parts = [
            _cohort_result(facts),
            _cohort_scores(facts),
            _cohort_confidence(facts),
            _COHORT_LIMITS,
            _cohort_advice(facts),
        ]
    sections = zip(section_openings(facts), parts, strict=True)
    return "\n\n".join(opening + part for opening, part in sections) + "\n"


_LIMITS = (
    " The model reads image data only and knows no clinical history."
    " It cannot recognise findings outside the listed classes."
    " Privacy of the model: {{privacy}}."
)
_COHORT_LIMITS = (
    " The figures describe these cases only and may differ for other hospitals."
    " Privacy of the model: {{privacy}}."
)


def _result(facts: CaseFacts) -> str:
    main = "The model assigns this study to {{predicted}} with a probability of {{p.1}}."
    if facts.tied:
        return f"{main} {{{{class.1}}}} and {{{{class.2}}}} are tied, so the outcome is open."
    if facts.runner_up is not None:
        return f"{main} The runner-up is {{{{runner_up}}}} with {{{{p.2}}}}."
    return main


def _probabilities(facts: CaseFacts) -> str:
    ranks = range(1, len(facts.probabilities) + 1)
    return "\n".join(f"- {{{{class.{k}}}}}: {{{{p.{k}}}}}" for k in ranks)


def _confidence(facts: CaseFacts) -> str:
    caution = {
        "high": "A wrong result remains possible.",
        "moderate": "The result should be weighed with the clinical picture.",
        "low": "The result should be taken with caution.",
    }[facts.confidence]
    return (
        "The confidence is {{confidence}}. The margin is {{margin_word}} at {{margin}}. " + caution
    )


def _advice(facts: CaseFacts) -> str:
    parts = ["A radiologist should review the images before the result is used."]
    if facts.family != "healthy":
        parts.append("Contrast-enhanced MRI should be considered for further work-up.")
    if facts.family == "pituitary":
        parts.append("A hormone panel should be considered.")
    if facts.family != "healthy" and facts.confidence != "low":
        parts.append("The case should be discussed in the neuro-oncology board after the review.")
    if facts.confidence == "low" or facts.margin_word == "narrow":
        parts.append("A repeat acquisition should be considered.")
    parts.append("Earlier studies should be used for comparison where available.")
    return " ".join(parts)


def _cohort_result(facts: CohortFacts) -> str:
    table = references(facts)
    place = "at {{name}}" if facts.kind == "hospital" else "in the study {{name}}"
    parts = [
        f"On {{{{n_cases}}}} {place} the model reaches an accuracy of {{{{accuracy}}}}.",
        "The macro F-score is {{macro_f1}}.",
    ]
    if "hospital_names" in table:
        parts.append("The model was trained by {{hospital_count}}: {{hospital_names}}.")
    if "rounds" in table:
        parts.append("The training took {{rounds}}.")
    return " ".join(parts)


def _cohort_scores(facts: CohortFacts) -> str:
    table = references(facts)
    lines = [
        f"- {{{{class.{k}}}}}: precision {{{{precision.{k}}}}}, recall {{{{recall.{k}}}}}, "
        f"F-score {{{{f1.{k}}}}}"
        for k in range(1, len(facts.per_class) + 1)
    ]
    if "weakest" in table:
        lines.append("The lowest F-score is that of {{weakest}}.")
    if "top_confusion" in table:
        lines.append("The most frequent confusion is {{top_confusion}}.")
    return "\n".join(lines)


def _cohort_confidence(facts: CohortFacts) -> str:
    if facts.noised:
        origin = "The figures carry noise for privacy, so small differences may be due to it."
    else:
        origin = "The figures are exact counts on these cases."
    return "The accuracy is {{level}} by a fixed rule. " + origin


def _cohort_advice(facts: CohortFacts) -> str:
    parts = ["Each study should still be read by a radiologist."]
    if facts.weakest is not None:
        parts.append("More cases of {{weakest}} would help to improve the model.")
    if facts.level == "low":
        parts.append("Further training should be considered before any use.")
    parts.append("The evaluation should be repeated on new cases.")
    return " ".join(parts)

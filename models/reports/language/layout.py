"""How a report is laid out: header, sections in order, fixed sentences. Pure.

    header        kind of report, hospital or study, case, model, data set; filled in, never written
    body          the sections of `sections_of`, each a line with its heading and then prose;
                  "Limits" opens with the sentence that this is decision support
    provenance    one of two fixed lines: who wrote the prose

The body is what a language model or a template writes; header and provenance are added here, and
the verifier compares both with what this module says they must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from models.reports.facts import CaseFacts, CohortFacts

Source = Literal["llama", "template"]

DISCLAIMER: Final = "This report is decision support, not a diagnosis."
PROVENANCE: Final[Mapping[Source, str]] = MappingProxyType(
    {
        "llama": "Source: prose by a language model; figures filled in from facts and verified.",
        "template": "Source: fixed template; no draft of the language model passed verification.",
    }
)
CASE_SECTIONS: Final = ("Result", "Probabilities", "Confidence", "Limits", "Recommendation")
COHORT_SECTIONS: Final = ("Result", "Class scores", "Confidence", "Limits", "Recommendation")


def sections_of(facts: CaseFacts | CohortFacts) -> tuple[str, ...]:
    """The headings of a report of these facts, in order."""
    return CASE_SECTIONS if isinstance(facts, CaseFacts) else COHORT_SECTIONS


def section_openings(facts: CaseFacts | CohortFacts) -> tuple[str, ...]:
    """What each section starts with: its heading line, and the fixed sentence under Limits."""
    fixed = {"Limits": f"Limits\n{DISCLAIMER}"}
    return tuple(fixed.get(section, f"{section}\n") for section in sections_of(facts))


def header_of(facts: CaseFacts | CohortFacts) -> str:
    """The header of the draft, with references, ending in an empty line."""
    if isinstance(facts, CaseFacts):
        return (
            "Case report\nHospital: {{hospital}}\nCase: {{case_id}}\nModel: {{model}}\n"
            "Data set: {{dataset}}\n\n"
        )
    owner = "Hospital" if facts.kind == "hospital" else "Study"
    return f"Cohort report\n{owner}: {{{{name}}}}\nModel: {{{{model}}}}\n\n"


def compose(facts: CaseFacts | CohortFacts, body: str, source: Source) -> str:
    """The whole draft: header, body, provenance."""
    return f"{header_of(facts)}{body.rstrip()}\n\n{PROVENANCE[source]}\n"

"""What a report may say: typed, versioned, frozen facts. Nothing else reaches a prompt or a text.

Two documents exist, both of version 2. `CaseFacts` is one classified study of one (pseudonymous)
patient: probabilities, calibration, outlier and quality checks, the region that mattered.
`CohortFacts` is the evaluation of a model at one hospital or over a federation: scores with
intervals, confusion, trend, shares. What was not measured is absent, never zero. Both

- refuse NaN, infinities, probabilities outside 0..1 or not summing to 1 within 0.001, names with
  braces or line breaks, and anything that contradicts itself (a `predicted` that is not the most
  probable class, an interval that does not hold its own middle);
- derive every judgement (confidence word, margin word, ties, runner-up, best and weakest class)
  by a fixed rule, so that a text can be checked against it;
- read and write JSON with `kind` and `version`; unknown, missing and repeated keys are refused;
- hash to SHA-256 over canonical JSON (RFC 8785);
- give a flat table of named references (`models.reports.facts.sources`), each written in one way.

`epsilon` is None where no differential privacy holds: that is "unbounded", never zero.
"""

from __future__ import annotations

import hashlib

from models.reports.errors import FactsError
from models.reports.facts.case import CaseFacts
from models.reports.facts.cohort import CohortFacts
from models.reports.facts.strict_json import canonical_json, parse_object

Facts = CaseFacts | CohortFacts


def facts_from_json(text: str) -> Facts:
    """Read a facts document of either kind.

    Raises:
        FactsError: not JSON, an unknown kind or version, wrong keys, or values out of range.
    """
    document = parse_object(text)
    kind, version = document.get("kind"), document.get("version")
    if version == 1 and kind in ("case", "hospital", "global"):
        # Said before the keys are compared: a list of unknown keys would not tell why.
        raise FactsError("the facts have version 1; this release reads version 2, write them again")
    if kind == "case":
        return CaseFacts.from_json(text)
    if kind in ("hospital", "global"):
        return CohortFacts.from_json(text)
    raise FactsError(f"kind is {kind!r}; facts are of kind 'case', 'hospital' or 'global'")


def facts_sha256(facts: Facts) -> str:
    """SHA-256 of the document's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(facts)).hexdigest()

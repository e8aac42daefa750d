"""Beside every epsilon that a person sees stand its unit and the neighbouring relation.

Every place in the code that writes an epsilon into text is found here: the function says of whom it
is (`per_unit`, `RELATION`), or it is in `ELSEWHERE` with the place that does. A new place that does
neither fails this test, and so does a line of the list that no longer has its place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy import RELATION, Unit, per_unit, weakest

ROOT = Path(__file__).parents[2]
STATED = ("per_unit(", "RELATION", RELATION)

ELSEWHERE = {
    "datasites/cli/budget.py:_limit_lines": "is given `whose`, made by `per_unit`",
    "models/reports/facts/checks.py:check_relation": "names the relation that it refuses",
    "models/reports/facts/sources.py:_privacy": "unit and relation of the facts, checked there",
    "orchestrator/bench/tables.py:said": "a line below the one that states both",
    "orchestrator/audit/account.py:_budget": "a note in the section whose heading states both",
    "orchestrator/results/curves.py:__post_init__": "says what is no total",
    "orchestrator/results/curves.py:epsilon_series": "says what is no total",
    "orchestrator/results/plots.py:_spent": "a mark on a picture whose axis states both",
    "orchestrator/aggregation/update_checks.py:_check_claims": "says what is no privacy statement",
    "privacy/accounting/accountant.py:agreed_opinions": "an alarm on the accountants, not a claim",
    "privacy/spending/account.py:__str__": "names the units for which nothing holds any more",
    "privacy/accounting/checks.py:check_epsilon": "refuses an amount",
    "privacy/spending/budget.py:__str__": "an amount; every page that shows one adds `per_unit`",
    "privacy/accounting/calibrate.py:calibrate_noise": "refuses an amount",
    "privacy/accounting/claim.py:__post_init__": "refuses an amount",
    "orchestrator/hospitals/documents.py:verified_receipt": "refuses what is no figure",
    "privacy/ledger/receipts.py:__post_init__": "refuses an amount",
}
_EPSILON = re.compile(r"(epsilon|ε)[^.;:(]*$", re.IGNORECASE)


def _texts() -> Iterator[tuple[str, str]]:
    """(place, source of the function) for each text into which an epsilon is written."""
    for package in ("datasites", "models", "orchestrator", "privacy"):
        for path in sorted((ROOT / package).rglob("*.py")):
            source = path.read_text()
            functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef))
            for function in functions:
                if any(_writes_epsilon(node) for node in ast.walk(function)):
                    place = f"{path.relative_to(ROOT).as_posix()}:{function.name}"
                    yield place, ast.get_source_segment(source, function) or ""


def _writes_epsilon(node: ast.AST) -> bool:
    if not isinstance(node, ast.JoinedStr):
        return False
    return any(
        isinstance(text, ast.Constant)
        and isinstance(value, ast.FormattedValue)
        and _EPSILON.search(str(text.value)) is not None
        for text, value in zip(node.values, node.values[1:], strict=False)
    )


def test_every_epsilon_in_a_text_is_of_a_unit_under_a_relation():
    silent = {place for place, code in _texts() if not any(word in code for word in STATED)}
    assert silent - set(ELSEWHERE) == set()
    assert set(ELSEWHERE) - silent == set()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("report.html.j2", ("report.neighbouring", "hospital.unit", "line.unit")),
        ("audit.html.j2", ("report.relation", "site.account.unit", "audit.unit")),
    ],
)
def test_the_pages_state_both(page, said):
    text = (ROOT / "orchestrator" / "templates" / page).read_text()
    assert not [name for name in said if name not in text]


def test_the_test_finds_what_is_silent():
    (silent,) = ast.parse('def f(a):\n    return f"costs epsilon {a:.3f}"').body
    assert any(_writes_epsilon(node) for node in ast.walk(silent))


def test_the_words_of_units():
    assert per_unit("patient") == "per patient, add or remove one"
    assert [unit.words for unit in Unit] == ["patient", "near-duplicate group", "image"]
    assert weakest(["patient", "near-duplicate group"]) is Unit.NEAR_DUPLICATE_GROUP
    assert weakest(["image", "patient"]) is weakest([]) is weakest(["scanner"]) is Unit.IMAGE
    assert weakest(["near_duplicate_group"]) is Unit.NEAR_DUPLICATE_GROUP

"""The table of the claim names code and tests that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/privacy.md").read_text()
TABLE = PAGE.partition("## The claim, piece by piece")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith(("| sentence", "|---"))
]


def names(path: Path) -> set[str]:
    """Functions, classes and methods (`Class.method`) of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{x.name}" for x in node.body if isinstance(x, ast.FunctionDef)}
    return found


def test_the_claim_has_its_table():
    assert len(ROWS) >= 13
    assert all(len(row) == 4 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_row_names_code_and_tests_that_are_there(row):
    path = None
    for named in re.findall(r"`([^`]+)`", row[2]):
        file, _, name = named.rpartition(": ")
        path = ROOT / file if file else path
        assert path is not None
        assert name in names(path), named
    tests = re.findall(r"`([^`:]+)::([^`]+)`", row[3])
    assert tests
    for file, name in tests:
        assert name in names(ROOT / file), name

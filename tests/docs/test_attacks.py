"""docs/attacks.md and the attack tests are in step: every row has its tests, every test its row."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "attacks.md").read_text().splitlines()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in LINES
    if re.match(r"\| \d+ \|", line)
]


def functions(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def named(cell):
    return [tuple(name.split("::")) for name in re.findall(r"`(tests/[^`]+)`", cell)]


def test_there_are_at_least_forty_attacks_numbered_in_order():
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 40


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_of_a_row_exist_and_say_what_it_says(row):
    _, _, stock, _, stock_test, dura_test = row
    assert (stock == "succeeds") == bool(named(stock_test))
    assert stock in ("succeeds", "not shown")
    assert named(dura_test)
    for path, name in named(stock_test) + named(dura_test):
        assert name in functions(path), name


def test_every_attack_test_has_its_row():
    in_table = {name for row in ROWS for cell in row[4:] for _, name in named(cell)}
    for path in sorted((ROOT / "tests" / "hostile").glob("test_*.py")):
        tests = {name for name in functions(path) if name.startswith("test_")}
        assert tests <= in_table, tests - in_table


@pytest.mark.parametrize("finding", range(1, 16))
def test_every_finding_of_the_review_is_answered(finding):
    assert any(f"({finding})" in row[1] for row in ROWS)

"""docs/ledger.md: every invariant of its table is broken by stories that exist, and all of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORIES = [
    f"tests/orchestrator/{name}.py" for name in ("impossible", "untrue", "test_false_stories")
]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "ledger.md").read_text().splitlines()
    if re.match(r"\| \d+ \| .* \| .* \| `", line)
]


def _functions(*paths: str) -> set[str]:
    text = "\n".join((ROOT / path).read_text() for path in paths)
    return set(re.findall(r"^def (\w+)\(", text, re.MULTILINE))


def test_there_are_invariants_numbered_in_order():
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 20


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_breaks_an_invariant_exists(row):
    for name in re.findall(r"`([^`]+)`", row[3]):
        path, _, function = name.rpartition("::")
        assert function in _functions(*([path] if path else STORIES)), name


def test_every_false_story_breaks_an_invariant_of_the_table():
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[3])}
    text = "\n".join((ROOT / path).read_text() for path in STORIES)
    kinds = set(re.findall(r"^@false\ndef (\w+)\(", text, re.MULTILINE))
    assert len(kinds) >= 40
    assert kinds <= named, kinds - named

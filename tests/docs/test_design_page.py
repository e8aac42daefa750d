"""The design page names every room, and what it names in the code is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "design.md").read_text()
PACKAGES = ("models", "privacy", "datasites", "orchestrator")
NO_ROOMS = {"models/assets", "privacy/scripts", "orchestrator/templates"}
LOOSE = {"models": 6, "privacy": 6, "datasites": 8, "orchestrator": 6}
"""At most so many files beside a package's rooms."""
INNER = {"models/reports": {"facts", "language", "writer", "verify"}}


def rooms(package):
    return {
        f"{package}/{path.name}"
        for path in (ROOT / package).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    } - NO_ROOMS


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_on_the_page_and_no_other(package):
    named = set(re.findall(rf"^\| `({package}/\w+)` \|", PAGE, re.MULTILINE))
    assert named == rooms(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_little_lies_beside_the_rooms(package):
    loose = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"}
    assert len(loose) <= LOOSE[package], loose


@pytest.mark.parametrize("room", sorted(set().union(*map(rooms, PACKAGES))))
def test_every_room_has_a_face_that_says_what_it_is_for(room):
    doc = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
    assert doc
    assert len(doc.split()) > 4
    for inner in INNER.get(room, ()):
        assert f"`{inner}`" in PAGE


@pytest.mark.parametrize(
    ("path", "name"), sorted(set(re.findall(r"`([\w/]+\.py): ([\w.]+)`", PAGE)))
)
def test_what_it_names_in_a_file_is_defined_there(path, name):
    tree = ast.parse((ROOT / path).read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in defined, sorted(defined)


def test_paths_of_tests_that_it_names_exist():
    for path in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("0*.md")))
def test_a_decision_says_what_why_and_what_was_turned_down_and_is_listed(page):
    text = page.read_text()
    for part in ("**Decided.**", "**Why.**", "**Turned down.**"):
        assert part in text
    assert f"({page.name})" in (page.parent / "README.md").read_text()


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [p.name for p in (ROOT / "docs").glob("*.md") if f"({p.name})" not in index]
    assert missing in ([], ["index.md"])

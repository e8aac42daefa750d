"""A room's face is a list that is true: each name is there, and the stub is what is loaded."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = sorted(
    stub
    for package in ("models", "privacy", "datasites", "orchestrator")
    for stub in (ROOT / package).glob("**/__init__.pyi")
)


def room_of(stub):
    return ".".join(stub.parent.relative_to(ROOT).parts)


@pytest.mark.parametrize("stub", STUBS, ids=room_of)
def test_every_name_of_a_face_is_there(stub):
    room = import_module(room_of(stub))
    listed = [
        name.name
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    assert sorted(room.__all__) == sorted(listed)
    assert [name for name in listed if not hasattr(room, name)] == []


@pytest.mark.parametrize("stub", STUBS, ids=room_of)
def test_no_module_hides_a_name_of_its_rooms_face(stub):
    modules = {path.stem for path in stub.parent.glob("*.py")}
    modules |= {path.name for path in stub.parent.iterdir() if path.is_dir()}
    assert modules & set(import_module(room_of(stub)).__all__) == set()

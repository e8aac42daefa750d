"""One module makes files whole and takes locks: `datasites.durable`; ledgers and keys lie below it.

What has a rename or a lock of its own is what forgets to sync, or to give free.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THE_WAY = "datasites/durable.py"
BELOW = {"privacy/ledger/file.py", "privacy/signing/new_file.py"}
"""`privacy` imports no other package."""
FOLDERS = {"datasites/ingest/shardstore.py", "datasites/ingest/splitter.py"}
"""They rename whole folders, which `durable` does not write."""
EMPTYING = "datasites/sandbox/cleaning.py"
"""Renames what is about to be removed."""
TRANSPORT = "datasites/syftnet/"
"""Inboxes and relays have rules of their own for what comes from outside."""


def own_ways(text: str) -> set[str]:
    """What a module does by itself: lock, sync, or rename over what is there."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Attribute(attr="flock" | "lockf"):
                found.add("lock")
            case ast.Attribute(attr="fsync" | "fdatasync"):
                found.add("sync")
            # A text's `replace` takes two, a moment's none without a name.
            case ast.Call(func=ast.Attribute(attr="replace" | "rename"), args=[_], keywords=[]):
                found.add("rename")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="replace" | "rename")):
                found.add("rename")
    return found


def sources() -> list[str]:
    packages = ("datasites", "orchestrator", "models", "privacy")
    paths = [path for name in packages for path in (ROOT / name).rglob("*.py")]
    return [path.relative_to(ROOT).as_posix() for path in paths if "scripts" not in path.parts]


@pytest.mark.parametrize("path", sources())
def test_one_module_makes_files_whole_and_takes_locks(path: str) -> None:
    found = own_ways((ROOT / path).read_text())
    if path == THE_WAY:
        assert found == {"lock", "sync", "rename"}
    elif path in FOLDERS or path == EMPTYING:
        assert found == {"rename"}
    elif path not in BELOW and not path.startswith(TRANSPORT):
        assert not found, f"{path}: {found}; use datasites.durable"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("fcntl.flock(1, 2)", {"lock"}),
        ("os.fsync(1)", {"sync"}),
        ("partial.replace(path)", {"rename"}),
        ("os.rename(a, b)", {"rename"}),
        ("'a'.replace('a', 'b'); moment.replace(tzinfo=None)", set()),
    ],
)
def test_an_own_way_is_found(text: str, found: set[str]) -> None:
    assert own_ways(text) == found

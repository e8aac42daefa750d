"""The runtime's hash changes with what jobs execute and any library's version, and nothing else."""

import ast
import shutil
from pathlib import Path

import pytest

from datasites.site import runtime

ROOT = Path(__file__).parents[2]
OURS = ("datasites", "models", "privacy", "orchestrator")
NOT_IN_A_JOB = ("feature_cache",)  # the agent's, beside the worker's own
STARTS_INSIDE = ("datasites.sandbox.landlock", "datasites.sandbox.seccomp")
ROOMS = [room for room in runtime.EXECUTED if (ROOT / room.replace(".", "/")).is_dir()]
INNER = [room for room in ROOMS if "." in room]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small installation in place of this one; its hash is computed anew at each call."""
    for room in runtime.EXECUTED:
        place = tmp_path / room.replace(".", "/")
        if room in ROOMS:
            (place / "deep").mkdir(parents=True)
            (place / "__init__.py").write_text("x = 1\n")
            (place / "deep" / "code.py").write_text("x = 1\n")
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.with_suffix(".py").write_text("x = 1\n")
    place_at(tmp_path, monkeypatch)
    return tmp_path


def place_at(root, monkeypatch):
    monkeypatch.setattr(runtime, "__file__", str(root / "datasites" / "site" / "runtime.py"))


def now():
    return runtime.runtime_sha256.__wrapped__()


def test_this_installation_has_one_hash():
    first = runtime.runtime_sha256()
    assert len(bytes.fromhex(first)) == 32
    assert runtime.runtime_sha256() == first == now()


def test_the_place_of_the_installation_does_not_matter(tree, tmp_path, monkeypatch):
    first = now()
    shutil.copytree(tree, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    place_at(tmp_path / "copy", monkeypatch)
    assert now() == first


@pytest.mark.parametrize("room", INNER)
@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "code.py").write_text("x = 2\n"),
        lambda folder: (folder / "new.py").write_text(""),
        lambda folder: (folder / "data.json").write_text("{}"),
        lambda folder: (folder / "code.py").unlink(),
        lambda folder: (folder / "code.py").rename(folder / "other.py"),
    ],
    ids=["edited", "added", "data", "removed", "renamed"],
)
def test_any_change_of_a_jobs_code_changes_it(tree, room, change):
    before = now()
    change(tree / room.replace(".", "/") / "deep")
    assert now() != before


@pytest.mark.parametrize("package", ["datasites", "models", "privacy"])
@pytest.mark.parametrize("name", ["__init__.py", "__init__.pyi"])
def test_a_face_decides_what_a_name_means(tree, package, name):
    before = now()
    (tree / package / name).write_text("x = 2\n")
    assert now() != before


def test_bytecode_and_what_jobs_do_not_run_change_nothing(tree):
    before = now()
    (tree / "models" / "images" / "__pycache__").mkdir()
    (tree / "models" / "images" / "__pycache__" / "code.pyc").write_bytes(b"x")
    for other in ("orchestrator", "datasites/cli", "datasites/reportfile", "privacy/ledger"):
        (tree / other).mkdir(parents=True)
        (tree / other / "code.py").write_text("")
    assert now() == before


@pytest.mark.parametrize("library", runtime.LIBRARIES)
def test_another_version_of_a_library_changes_it(tree, monkeypatch, library):
    before = now()
    real = runtime.version
    monkeypatch.setattr(runtime, "version", lambda name: real(name) + "x" * (name == library))
    assert now() != before


def test_what_a_job_can_import_is_what_is_hashed():
    """The rooms of every module that the worker's imports lead to, at any depth of its code."""
    worker = ROOT / "datasites" / "worker"
    starts = {f"datasites.worker.{path.stem}" for path in worker.glob("*.py")}
    starts -= {f"datasites.worker.{name}" for name in ("__init__", *NOT_IN_A_JOB)}
    reached = imported_from(starts | set(STARTS_INSIDE))
    assert {".".join(name.split(".")[:2]) for name in reached} == {
        room for room in runtime.EXECUTED if room != "models.assets"
    }


def imported_from(starts):
    """Our modules that these lead to; a name out of a face is the module that its stub names."""
    seen, todo = set(), list(starts)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [*imports_of(name), *([name.rpartition(".")[0]] if "." in name else [])]
    return seen


def imports_of(module):
    """What a module imports, functions included and what only a type checker reads excepted."""
    tree = ast.parse(source_of(module).read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            yield node.module
            for name in node.names:
                home = node.module
                while name.name in (face := names_in_face(home)):
                    home = face[name.name]
                    yield home
                if home == node.module and source_of(f"{home}.{name.name}").exists():
                    yield f"{home}.{name.name}"


def names_in_face(module):
    stub = ROOT / module.replace(".", "/") / "__init__.pyi"
    if not stub.exists():
        return {}
    return {
        name.name: f"{module}.{node.module}"
        for node in ast.parse(stub.read_text()).body
        for name in node.names
    }


def source_of(module):
    place = ROOT / module.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")

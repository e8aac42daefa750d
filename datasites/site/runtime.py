"""The hash of the code that a hospital's jobs execute.

Covers the rooms that a job's process can import, the weights that ship, and the versions of the
libraries that train, draw noise and account; a test follows the worker's imports and compares. An
approval pins it: after an upgrade that changes what jobs do, a plan is reviewed again. What the
command line, the desk or the researcher's side shows may change without that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from privacy import digest, sha256_hex

LIBRARIES = (
    "cryptography",
    "diffusers",
    "dp-accounting",
    "numpy",
    "opacus",
    "peft",
    "safetensors",
    "syft",
    "torch",
    "torchvision",
    "transformers",
)
EXECUTED = (
    *("datasites", "datasites.durable", "datasites.errors", "datasites.ingest", "datasites.plans"),
    *("datasites.sandbox", "datasites.worker"),
    *("models", "models.assets", "models.classes", "models.classifiers", "models.encoder"),
    *("models.errors", "models.generators", "models.images", "models.metrics"),
    *("models.modelfile", "models.phantoms", "models.reports", "models.weights"),
    *("privacy", "privacy.accounting", "privacy.errors", "privacy.mechanism"),
    *("privacy.release", "privacy.signing", "privacy.training"),
)
"""Of a package its face alone, of a room everything below it."""


@cache
def runtime_sha256() -> str:
    """The hash of everything this installation executes in a job."""
    root = Path(__file__).parents[2]
    files = {
        str(path.relative_to(root)): sha256_hex(path.read_bytes())
        for room in EXECUTED
        for path in _files(root / room.replace(".", "/"), whole="." in room)
    }
    return digest({"files": files, "libraries": {name: version(name) for name in LIBRARIES}})


def _files(room: Path, *, whole: bool) -> Iterator[Path]:
    if not room.is_dir():
        yield room.with_suffix(".py")
        return
    for path in sorted(room.rglob("*") if whole else room.glob("__init__.py*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path

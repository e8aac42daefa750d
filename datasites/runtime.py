"""The hash of the code that a hospital's jobs execute.

Covers every file of the packages that run at a hospital and the versions of the libraries that
train, draw noise and account. An approval pins it: after an upgrade a plan is reviewed again.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

from datasites.sandbox.machine import PACKAGES
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


@cache
def runtime_sha256() -> str:
    """The hash of everything this installation executes in a job."""
    root = Path(__file__).parents[1]
    files = {
        str(path.relative_to(root)): sha256_hex(path.read_bytes())
        for package in PACKAGES
        for path in sorted((root / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return digest({"files": files, "libraries": {name: version(name) for name in LIBRARIES}})

"""Running jobs without a sandbox, because the owner said so. Every use is logged by its caller.

The job is Dura's own trainer over an interpreted model, so it is not a stranger's code; but a
hole in it, or in a library, would meet no wall: it could read this account's files and use the
network. For a machine on which bubblewrap cannot be had, and nobody else's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class UnsafeNoSandbox:
    """Stands where an `Installation` would.

    Attributes:
        python: the interpreter of this installation.
    """

    python: Path = field(default_factory=lambda: Path(sys.executable))


def unsafe_root(folder: Path, data: Mapping[str, Path]) -> Path:
    """A folder that looks to the worker as a sandbox's root does."""
    root = folder / "root"
    (root / "job").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "job" / "in").symlink_to(folder / "in")
    (root / "job" / "out").symlink_to(folder / "out")
    for name, path in data.items():
        (root / "data" / name).symlink_to(path)
    return root

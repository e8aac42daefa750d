"""What this machine offers: bubblewrap, the interpreter, and the code a job may read."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasites.errors import SandboxError

PACKAGES = ("datasites", "models", "privacy")


@dataclass(frozen=True)
class Installation:
    """Where the sandbox finds its programs.

    Attributes:
        bwrap: the bubblewrap program.
        python: the interpreter of this installation.
        code: folders that the interpreter and Dura's jobs need, read-only in a sandbox.
    """

    bwrap: Path
    python: Path
    code: tuple[Path, ...]


@cache
def find_installation() -> Installation:
    """Where bubblewrap, the interpreter, the libraries and Dura's packages lie.

    Raises:
        SandboxError: bubblewrap is not installed.
    """
    # A bwrap beside the interpreter is one that `make` unpacked where it may not install.
    beside = str(Path(sys.prefix) / "bin")
    found = shutil.which("bwrap", path=os.pathsep.join([os.defpath, "/usr/local/bin", beside]))
    if found is None:
        raise SandboxError(
            "bubblewrap (bwrap) is not installed, so no job can run; "
            "install it with `apt-get install bubblewrap` or your system's package manager"
        )
    own = Path(__file__).parents[2]
    wanted = [
        Path(sys.base_prefix),
        Path(sys.prefix),
        *(own / package for package in PACKAGES),
        Path(sysconfig.get_path("purelib")),
    ]
    return Installation(Path(found), Path(sys.executable), _outermost(wanted))


def _outermost(folders: list[Path]) -> tuple[Path, ...]:
    """The folders without those that /usr or another one of them already holds."""
    outer: list[Path] = []
    for folder in sorted({folder.absolute() for folder in folders}):
        inside = [Path("/usr"), *outer]
        if not any(folder.is_relative_to(parent) for parent in inside):
            outer.append(folder)
    return tuple(outer)

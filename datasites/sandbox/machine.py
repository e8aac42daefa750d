"""What this machine offers: bubblewrap, the interpreter, and the code a job may read."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasites.errors import SandboxError
from datasites.sandbox.seccomp import seccomp_filter

PACKAGES = ("datasites", "models", "privacy")


@dataclass(frozen=True)
class Installation:
    """Where the sandbox finds its programs.

    Attributes:
        bwrap: the bubblewrap program.
        python: the interpreter of this installation.
        code: folders that the interpreter and Dura's jobs need, read-only in a sandbox.
        sizes_tmpfs: whether this bubblewrap can bound the size of /tmp (0.7 and later).
    """

    bwrap: Path
    python: Path
    code: tuple[Path, ...]
    sizes_tmpfs: bool = False


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
    return Installation(
        Path(found), Path(sys.executable), _outermost(wanted), sizes_tmpfs=_sizes_tmpfs(found)
    )


def _sizes_tmpfs(bwrap: str) -> bool:
    told = subprocess.run([bwrap, "--help"], capture_output=True, check=False, timeout=20)
    return b"--size" in told.stdout + told.stderr


def require_sandbox() -> Installation:
    """An installation whose sandbox really starts.

    Raises:
        SandboxError: bubblewrap is missing or may not create namespaces here.
    """
    installation = find_installation()
    seccomp_filter(platform.machine())  # or there is no table for this machine
    probe = [str(installation.bwrap), "--unshare-all", "--ro-bind", "/usr", "/usr"]
    probe += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "/usr/bin/true"]
    done = subprocess.run(probe, capture_output=True, check=False, timeout=20)
    if done.returncode != 0:
        detail = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise SandboxError(
            f"bubblewrap does not start here ({detail[0]}); jobs are refused. Allow "
            "unprivileged user namespaces, or see docs/operations.md"
        )
    return installation


def _outermost(folders: list[Path]) -> tuple[Path, ...]:
    """The folders without those that /usr or another one of them already holds."""
    outer: list[Path] = []
    for folder in sorted({folder.absolute() for folder in folders}):
        inside = [Path("/usr"), *outer]
        if not any(folder.is_relative_to(parent) for parent in inside):
            outer.append(folder)
    return tuple(outer)

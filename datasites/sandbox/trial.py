"""Whether a sandbox starts on this machine, found out by starting one."""

from __future__ import annotations

from functools import cache

from datasites.errors import SandboxError
from datasites.sandbox.command import Limits
from datasites.sandbox.launch import run_inside
from datasites.sandbox.machine import Installation, find_installation


def require_sandbox() -> Installation:
    """An installation whose sandbox really starts; tried once, with the interpreter inside.

    Raises:
        SandboxError: bubblewrap is missing, too old, or may not build a sandbox here; or root's
            jobs cannot be an unprivileged user's.
    """
    installation = find_installation()
    try_sandbox(installation)
    return installation


@cache
def try_sandbox(installation: Installation) -> None:
    """Start the interpreter in a sandbox as jobs have it; one that started is not tried again.

    Raises:
        SandboxError: it does not start.
    """
    nothing = [str(installation.python), "-I", "-S", "-c", ""]
    done = run_inside(nothing, installation=installation, limits=Limits(), timeout_s=20)
    if done.returncode == 0:
        return
    detail = done.stderr.strip().splitlines()[-1:] or ["no message"]
    if "nknown option" in done.stderr:
        mend = "Install bubblewrap 0.7 or later, which gives file systems in memory a size"
    else:
        mend = "Allow unprivileged user namespaces, and let everybody read the interpreter"
    raise SandboxError(
        f"bubblewrap does not start here ({detail[0]}); jobs are refused. {mend}, or see "
        "docs/operations.md"
    )

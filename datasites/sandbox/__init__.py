"""Jobs run here: bubblewrap, limits, and outputs taken with suspicion.

`command` (pure) says how a sandbox is built, `process` starts and ends one, `outputs` takes the
declared files from it, `machine` finds out what this machine can do.
"""

from datasites.sandbox.command import Limits, Mounts, sandbox_argv
from datasites.sandbox.machine import Installation, find_installation, require_sandbox
from datasites.sandbox.outputs import take_output
from datasites.sandbox.process import Ending, JobFolder, SandboxProcess

__all__ = [
    "Ending",
    "Installation",
    "JobFolder",
    "Limits",
    "Mounts",
    "SandboxProcess",
    "find_installation",
    "require_sandbox",
    "sandbox_argv",
    "take_output",
]

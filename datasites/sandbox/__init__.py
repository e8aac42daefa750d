"""Jobs run here: bubblewrap, limits, and outputs taken with suspicion.

`command`, `gpu` and `seccomp` (pure) say how a sandbox is built, `process` starts and ends one,
`outputs` takes the declared files from it, `machine`, `driver` and `cgroup` find out what this
machine can do. There is one way round it, with an ugly name: `UnsafeNoSandbox`.
"""

from datasites.sandbox.command import Limits, Mounts, sandbox_argv
from datasites.sandbox.driver import find_gpu, probe_gpu
from datasites.sandbox.gpu import INSIDE, Gpu
from datasites.sandbox.machine import Installation, find_installation, require_sandbox
from datasites.sandbox.outputs import take_output
from datasites.sandbox.process import Ending, JobFolder, SandboxProcess
from datasites.sandbox.unsafe import UnsafeNoSandbox

__all__ = [
    "INSIDE",
    "Ending",
    "Gpu",
    "Installation",
    "JobFolder",
    "Limits",
    "Mounts",
    "SandboxProcess",
    "UnsafeNoSandbox",
    "find_gpu",
    "find_installation",
    "probe_gpu",
    "require_sandbox",
    "sandbox_argv",
    "take_output",
]

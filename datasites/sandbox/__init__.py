"""Jobs run here: bubblewrap, limits, and outputs taken with suspicion.

`command`, `gpu` and `seccomp` (pure) say how a sandbox is built, `jobuser` whose powers a job has.
`launch` starts one, `process` keeps it to its one job, `outputs` takes the declared files from it,
`cleaning` removes the rest. `machine`, `trial`, `driver` and `cgroup` find out what this machine
can do. There is one way round it, with an ugly name: `UnsafeNoSandbox`.
"""

from datasites.sandbox.cleaning import remove_tree
from datasites.sandbox.command import Limits, Mounts, sandbox_argv
from datasites.sandbox.driver import find_gpu, probe_gpu
from datasites.sandbox.gpu import INSIDE, Gpu
from datasites.sandbox.launch import run_inside
from datasites.sandbox.machine import Installation, find_installation
from datasites.sandbox.outputs import take_output
from datasites.sandbox.process import Ending, JobFolder, SandboxProcess
from datasites.sandbox.trial import require_sandbox
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
    "remove_tree",
    "require_sandbox",
    "run_inside",
    "sandbox_argv",
    "take_output",
]

"""Jobs run here: bubblewrap, limits, and outputs taken with suspicion.

`command`, `gpu` and `seccomp` (pure) say how a sandbox is built, `jobuser` whose powers a job has.
`launch` starts one, `process` keeps it to its one job, `outputs` takes the declared files from it,
`cleaning` removes the rest. `machine`, `trial`, `driver` and `cgroup` find out what this machine
can do. There is one way round it, with an ugly name: `UnsafeNoSandbox`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

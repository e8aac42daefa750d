"""Finding the GPU that the owner's settings name on this machine, and trying it in a sandbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from datasites.errors import SandboxError
from datasites.sandbox.command import Limits
from datasites.sandbox.gpu import Gpu, driver_libraries, gpu_nodes, gpu_number
from datasites.sandbox.launch import run_inside
from datasites.sandbox.machine import Installation

DEV: Final = Path("/dev")
_LDCONFIG: Final = ("/usr/sbin/ldconfig", "/sbin/ldconfig")
_MOST_LINKS: Final = 16
# cuInit: 0 is success; a missing library raises, which is an exit status as well.
_PROBE: Final = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0))"


def find_gpu(device: str) -> Gpu | None:
    """The GPU of a setting; None for `cpu`.

    Raises:
        SandboxError: there is no such GPU or no driver here; says what to do.
    """
    number = gpu_number(device)
    if number is None:
        return None
    nodes = gpu_nodes(number, present=[node.name for node in DEV.iterdir()], dev=DEV)
    return Gpu(nodes, driver_libraries(_loader_cache(), link_chain), number)


def probe_gpu(installation: Installation, gpu: Gpu) -> None:
    """Start the driver inside a sandbox that shows this GPU and nothing else of the host.

    Raises:
        SandboxError: it does not start there.
    """
    program = [str(installation.python), "-I", "-c", _PROBE]
    done = run_inside(program, installation=installation, limits=Limits(), gpu=gpu)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"cuInit answered {done.returncode}"]
        raise SandboxError(
            f"the GPU's driver does not start in a sandbox ({said[0]}); set report_device to "
            '"cpu" in site.toml, or mend the driver (does `nvidia-smi` work?)'
        )


def link_chain(path: Path) -> list[Path]:
    """A path, each path that its links lead over, and at last the file itself."""
    chain = [path]
    while chain[-1].is_symlink() and len(chain) < _MOST_LINKS:
        chain.append(Path(os.path.normpath(chain[-1].parent / chain[-1].readlink())))
    return [*chain, path.resolve()] if path.exists() else chain


def _loader_cache() -> str:
    program = next((name for name in _LDCONFIG if Path(name).exists()), None)
    if program is None:
        return ""
    done = subprocess.run([program, "-p"], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout

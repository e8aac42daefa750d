"""What a sandbox must show of one NVIDIA GPU, and nothing more of it. Pure.

Only the report writer's jobs get one, and only where the owner's settings name it. Such a job sees
the driver's control nodes, the node of the one GPU that was named, and those of the driver's
libraries that /usr does not hold already; no other device and no second GPU. Being the only one,
it is `cuda:0` inside whatever its number outside.

A driver is a large interface to the kernel, so a job with a GPU is less confined than one without:
this is the owner's choice, off by default. Libraries are found by the loader's cache, which the
sandbox shows; a library that is reached over links outside /usr is put where each link lies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from datasites.errors import SandboxError

CONTROL: Final = ("nvidiactl", "nvidia-uvm")
OPTIONAL: Final = ("nvidia-uvm-tools",)
DRIVER: Final = "libcuda.so.1"
INSIDE: Final = "cuda:0"
"""How the one GPU of a sandbox is called inside it."""

_LIBRARY: Final = re.compile(r"^\s*(libcuda\.so\S*|libnvidia-\S+) \(.*\) => (/\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Gpu:
    """One GPU as a sandbox shows it.

    Attributes:
        nodes: name below /dev to the host's device node.
        libraries: path inside to the host's file, read-only.
        number: the GPU's number at the host.
    """

    nodes: Mapping[str, Path]
    libraries: Mapping[Path, Path] = field(default_factory=dict)
    number: int = 0


def gpu_number(device: str) -> int | None:
    """The number of the GPU that a setting names: `cpu` none, `cuda` the first, `cuda:N` N."""
    kind, _, number = device.partition(":")
    return None if kind == "cpu" else int(number or 0)


def gpu_nodes(number: int, *, present: Iterable[str], dev: Path) -> dict[str, Path]:
    """The device nodes for GPU `number`, of those `present` in `dev`.

    Raises:
        SandboxError: one that is needed is not there; says which and what to do.
    """
    there, needed = set(present), [*CONTROL, f"nvidia{number}"]
    missing = [name for name in needed if name not in there]
    if missing:
        raise SandboxError(
            f"report_device is a GPU, and {dev / missing[-1]} is not here; set report_device to "
            '"cpu" in site.toml, or install the NVIDIA driver (`nvidia-modprobe -u -c 0` makes '
            "its nodes)"
        )
    return {name: dev / name for name in (*needed, *OPTIONAL) if name in there}


def driver_libraries(cache: str, links: Callable[[Path], list[Path]]) -> dict[Path, Path]:
    """What of the driver lies outside /usr, from the loader's cache.

    Args:
        cache: what `ldconfig -p` prints.
        links: a library's own path, each path that its links lead over, and at last its file.

    Raises:
        SandboxError: the cache does not know the driver.
    """
    found = {name: Path(path) for name, path in reversed(_LIBRARY.findall(cache))}
    if DRIVER not in found:
        raise SandboxError(
            f'report_device is a GPU, and the loader knows no {DRIVER}; set report_device to "cpu" '
            "in site.toml, or install the NVIDIA driver's libraries and run `ldconfig`"
        )
    chains = [links(path) for path in found.values()]
    return {
        place: chain[-1]
        for chain in chains
        for place in chain
        if not place.is_relative_to("/usr") and not _usr_alias(place)
    }


def _usr_alias(place: Path) -> bool:
    """Whether a path is in one of the folders that are links into /usr in every sandbox."""
    return place.parts[1] in ("lib", "lib64", "bin", "sbin")

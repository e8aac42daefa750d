"""Memory and process caps by cgroup v2, where the host lets the agent have a group of its own.

`find_parent` and `cap_values` are pure decisions over a tree of files. The agent needs a group
that was delegated to it, with the controllers `memory` and `pids` (`Delegate=yes` in its systemd
unit). Where there is none, the limits of `prlimit` and the agent's own supervision hold alone,
and `dura site doctor` says so.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from datasites.sandbox.command import Limits

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
CONTROLLERS = frozenset({"memory", "pids"})


def find_parent(root: Path, own: str) -> Path | None:
    """The cgroup below which the agent may make groups, None when there is none.

    Args:
        root: where cgroup v2 is mounted.
        own: the text of /proc/self/cgroup.
    """
    lines = [line for line in own.splitlines() if line.startswith("0::")]
    if not lines or not (root / "cgroup.controllers").exists():
        return None
    group = root / lines[0].removeprefix("0::").strip().lstrip("/")
    # A group that holds processes cannot hand controllers down, so ours lie beside its parent's.
    for parent in (group, group.parent):
        controllers = parent / "cgroup.subtree_control"
        if not controllers.is_file() or not os.access(parent, os.W_OK):
            continue
        if set(controllers.read_text().split()) >= CONTROLLERS:
            return parent
    return None


def cap_values(limits: Limits) -> dict[str, str]:
    """Cgroup file to value, for a job with these limits."""
    return {
        "memory.max": str(limits.memory_bytes),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": str(limits.processes),
    }


def make_group(parent: Path, limits: Limits) -> Path:
    """A new group below `parent` with the caps of `limits` set.

    Raises:
        OSError: the kernel refuses one of them.
    """
    group = parent / f"dura-{secrets.token_hex(8)}"
    group.mkdir()
    for name, value in cap_values(limits).items():
        if name == "memory.swap.max" and not (group / name).exists() and parent != ROOT:
            continue  # a kernel without swap accounting has no such file
        (group / name).write_text(value)
    return group


def entered(argv: list[str], group: Path) -> list[str]:
    """The command line that enters `group` before it becomes `argv`, so that nothing escapes."""
    script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    return ["/bin/sh", "-c", script, str(group), *argv]


def remove_group(group: Path) -> None:
    """Remove a group once its last process is gone; one that is busy stays for the kernel."""
    try:
        group.rmdir()
    except OSError:
        return

"""Removing what jobs left, and the alarm where it cannot be removed.

What stays on disk may be patients' data in a job's hands, or fill it. So the agent goes on, since
the next request is not to blame, but says so in its log and in the site's `left-behind.txt`, which
`dura site doctor` reads: a problem until the folder is gone.
"""

from __future__ import annotations

import logging
from pathlib import Path

from datasites.errors import CleanUpError
from datasites.sandbox import SandboxProcess, remove_tree
from datasites.site.site import Site

log = logging.getLogger("dura.agent")


def discard(site: Site, sandbox: SandboxProcess) -> None:
    """End a sandbox and remove everything of it."""
    try:
        sandbox.discard()
    except CleanUpError as error:
        _alarm(site, sandbox.folder.root, error)


def clear(site: Site, folder: Path) -> None:
    """Remove a folder that an earlier agent left."""
    try:
        remove_tree(folder)
    except CleanUpError as error:
        _alarm(site, folder, error)


def left_behind(site: Site) -> list[Path]:
    """The folders that could not be removed and are there still."""
    if not site.left_behind.exists():
        return []
    named = {Path(line) for line in site.left_behind.read_text().splitlines()}
    return sorted(path for path in named if path.exists())


def _alarm(site: Site, folder: Path, error: CleanUpError) -> None:
    log.error("clean-up failed: %s", error)
    with site.left_behind.open("a") as file:
        file.write(f"{folder}\n")

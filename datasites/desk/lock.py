"""One lock for everything that decides about outputs: releasing, editing, rules, revocation.

Whoever holds it is alone on this desk, across processes: an approval cannot be revoked between
the check that it holds and the entry that says an output was released under it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def desk_lock(site_root: Path) -> Iterator[None]:
    """Hold the desk of the site in `site_root`; not to be taken twice by one thread."""
    folder = site_root / "desk"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

"""One lock for everything that people decide at a site: plans, images, outputs, rules.

Approving, rejecting, revoking, accepting images, releasing, editing and setting rules read what was
decided, decide, record and write under it, and so does the agent when it reserves a job's spend.
Whoever holds it is alone on this desk, across processes: an approval cannot be revoked between the
look at it and the entry that says what was done under it, and no vote of a colleague can write over
a revocation. The ledger has a lock of its own, which is taken within this one, never around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasites.durable import locked


@contextmanager
def desk_lock(site_root: Path) -> Iterator[None]:
    """Hold the desk of the site in `site_root`; not to be taken twice by one thread."""
    folder = site_root / "desk"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / ".lock"):
        yield

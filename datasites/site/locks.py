"""A site's two locks: one agent serves it, and one desk is for everything that people decide.

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

from datasites import durable
from datasites.durable import locked
from datasites.errors import SiteBusyError
from datasites.site.site import Site


@contextmanager
def desk_lock(site_root: Path) -> Iterator[None]:
    """Hold the desk of the site in `site_root`; not to be taken twice by one thread."""
    folder = site_root / "desk"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / ".lock"):
        yield


def agent_lock(site: Site) -> int:
    """Hold the site for one agent; the descriptor is closed to give it free.

    Raises:
        SiteBusyError: another agent holds it.
    """
    try:
        return durable.take_lock(site.root / "agent.lock", wait=False)
    except BlockingIOError as error:
        raise SiteBusyError(
            f"another agent already serves {site.root}; end it before starting a second"
        ) from error

"""One agent serves a site: the lock that says so, and what it is to the network."""

from __future__ import annotations

from datasites import durable
from datasites.errors import SiteBusyError
from datasites.site import Site
from datasites.syftnet.client import Participant


def participant(site: Site) -> Participant:
    """The site as a participant of the network."""
    return Participant(
        email=site.settings.email,
        relay_url=site.settings.relay,
        syftbox=site.syftbox,
        own_folder=site.keys,
        is_site=True,
    )


def take_lock(site: Site) -> int:
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

"""What the owner sees of jobs that ran without a sandbox: every one of them is in the ledger."""

from __future__ import annotations

from datasites.site.site import Site
from privacy import EntryKind

UNSAFE_NOTE = "made WITHOUT A SANDBOX"
UNSAFE_OPTION = "--unsafe-no-sandbox"


def log_unsafe_run(site: Site, request: str) -> None:
    """Write one use of the option to the ledger, before it is used."""
    _log(site, action="run without a sandbox", resource=request)


def log_unsafe_serve(site: Site) -> None:
    """Write to the ledger that the agent is started with the option."""
    _log(site, action="serve without a sandbox", resource=site.settings.email)


def ran_unsafe(site: Site, request: str) -> bool:
    """Whether the job of this request was started without a sandbox, by any agent."""
    return any(
        sealed.entry.kind is EntryKind.UNSAFE_OPTION_USED and sealed.entry.resource == request
        for sealed in site.ledger.entries()
    )


def unsafe_uses(site: Site) -> list[str]:
    """UTC times at which the option was used here, oldest first."""
    return [
        sealed.entry.time
        for sealed in site.ledger.entries()
        if sealed.entry.kind is EntryKind.UNSAFE_OPTION_USED
        and sealed.entry.reason == UNSAFE_OPTION
    ]


def _log(site: Site, *, action: str, resource: str) -> None:
    site.log(
        EntryKind.UNSAFE_OPTION_USED,
        actor="agent",
        action=action,
        resource=resource,
        reason=UNSAFE_OPTION,
    )

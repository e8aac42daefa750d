"""The owner's decisions on peers: pair, unpair, a new key. Used by every owner's surface.

Checks everything, records in the ledger, then acts. Unpairing withdraws the approvals of that
researcher's plans as well: a key that is paired again later starts without any. The running
agent sees it at its next step, ends that researcher's job and refuses what waits; what was
reserved or spent stays so.
"""

from __future__ import annotations

import os

from datasites.errors import PeerKeyError
from datasites.owner.plan_review import withdraw
from datasites.plans import APPROVED
from datasites.site import PlanStore, Site, agent_lock, desk_lock
from datasites.syftnet import OwnerLink, Participant
from privacy import EntryKind


def participant(site: Site) -> Participant:
    """The site as a participant of the network."""
    return Participant(
        email=site.settings.email,
        relay_url=site.settings.relay,
        syftbox=site.syftbox,
        own_folder=site.keys,
        is_site=True,
    )


def open_link(site: Site) -> OwnerLink:
    """The site on the network, for a command that takes no messages."""
    return OwnerLink(participant(site), lambda _peer, _code: None)


def pair(site: Site, link: OwnerLink, *, email: str, code: str, actor: str) -> str:
    """Pair with a researcher whose code (words or fingerprint) was compared; returns theirs.

    Raises:
        PeerKeyError: they did not ask, or published another key.
    """
    fingerprint = link.compare(email, code)
    site.log(
        EntryKind.PEER_PAIRED,
        actor=actor,
        action="pair",
        resource=email,
        detail={"fingerprint": fingerprint},
    )
    link.approve_peer(email, fingerprint)
    return fingerprint


def unpair(site: Site, link: OwnerLink, *, email: str, actor: str, reason: str) -> int:
    """Turn a researcher away; returns how many approvals were withdrawn with that.

    Raises:
        PeerKeyError: they are not paired, or no reason is given.
    """
    fingerprint = link.paired().get(email)
    if fingerprint is None:
        raise PeerKeyError(f"{email} is not paired here; `dura site peers` lists who is")
    if not reason.strip():
        raise PeerKeyError("say why: --reason TEXT (it stays at this hospital)")
    site.log(
        EntryKind.PEER_UNPAIRED,
        actor=actor,
        action="unpair",
        resource=email,
        reason=reason,
        detail={"fingerprint": fingerprint},
    )
    link.unpair(email)
    with desk_lock(site.root):  # who approves from here on sees that they were turned away
        return _withdraw_all(site, email=email, actor=actor)


def _withdraw_all(site: Site, *, email: str, actor: str) -> int:
    held = [
        submission.bundle.sha256
        for submission, approval in PlanStore(site).intact()
        if submission.sender == email
        and approval is not None
        and approval.decision == APPROVED
        and not approval.revoked
    ]
    for sha in held:
        withdraw(site, sha, actor=actor, reason=f"{email} was unpaired")
    return len(held)


def rotate_key(site: Site, *, actor: str, reason: str) -> str:
    """Replace the key this site signs and encrypts messages with; returns its fingerprint.

    The ledger's key, which signs receipts and approvals, stays: old receipts verify as before.

    Raises:
        SiteBusyError: the agent runs; it would go on with the old key.
        PeerKeyError: no reason is given.
    """
    if not reason.strip():
        raise PeerKeyError("say why: --reason TEXT (it stays at this hospital)")
    lock = agent_lock(site)
    try:
        link = open_link(site)
        site.log(
            EntryKind.KEY_ROTATED,
            actor=actor,
            action="replace key",
            resource=site.settings.email,
            reason=reason,
            detail={"before": link.fingerprint},
        )
        return link.rotate_key()
    finally:
        os.close(lock)

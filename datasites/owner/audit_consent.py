"""A shard whose owner consents to an empirical audit: logged, reserved, read, committed.

An audit among patients is a training run like any other, only without a plan: what it would cost is
reserved before an image is read, and committed when it ends, however it ended. Its use is an
`unsafe_option_used` entry with the owner's name and reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from datasites.errors import SettingsError
from datasites.site import TRAIN, Site, must_not_be_behind, now_utc, runtime_sha256, stamp
from privacy import EntryKind, Reservation, commit, describe, reserve

if TYPE_CHECKING:
    from datasites.ingest import Shard
    from privacy import DpEvent

AUDIT_REQUEST = "empirical-audit"
FLAG = "--unsafe-train-on-consented-patients"


@contextmanager
def consented_shard(
    root: Path, *, event: DpEvent, clip_norm: float, owner: str, reason: str
) -> Iterator[Shard]:
    """The training shard of the site in `root`, for one audit that costs `event`.

    Args:
        root: the site's folder.
        event: what the run costs.
        clip_norm: that bounds one unit in it.
        owner: who consents.
        reason: why; both go into the ledger.

    Yields:
        The shard, once the event is reserved.

    Raises:
        SettingsError: there is no site or no data, or nobody consents with a reason.
        BudgetExceededError: it does not fit; no image was read.
    """
    from datasites.ingest import load_shard

    site = Site.open(root)
    must_not_be_behind(site)
    version = site.card().dataset_version
    if not owner.strip() or not reason.strip():
        raise SettingsError(
            f"{FLAG} needs the owner's consent: --as NAME and --reason TEXT; both are logged"
        )
    site.log(
        EntryKind.UNSAFE_OPTION_USED,
        actor=owner,
        action="consent to an empirical audit",
        resource=FLAG,
        reason=reason,
    )
    wanted = Reservation(
        reservation=f"{AUDIT_REQUEST}-{secrets.token_hex(4)}",
        event=event,
        mechanisms=describe(event, clip_norm=clip_norm, published_units=site.card().units),
        researcher=site.settings.email,
        study=AUDIT_REQUEST,
        dataset_version=version,
        code_sha256=runtime_sha256(),
        request=AUDIT_REQUEST,
    )
    site.ledger.transact(
        lambda account: reserve(account, wanted, time=stamp(now_utc()), actor=owner)
    )
    try:
        yield load_shard(site.shard(TRAIN))
    finally:
        site.ledger.transact(
            lambda account: commit(
                account,
                reservation=wanted.reservation,
                event=event,
                time=stamp(now_utc()),
                actor=owner,
            )
        )

"""A site whose ledger is behind its own receipts runs nothing until its owner settled that.

An old copy of a site's folder, put back, has forgotten spends. What tells is a receipt that this
site signed: a researcher brings the newest one that they hold with each task and each
countersignature, and the site's own records hold some. One that names an entry which is not in the
ledger is kept in `behind.json`, and from then on

- no job starts, a running one ends, nothing is released by a rule, and no data is taken in: each is
  refused as `ledger_behind`;
- `dura site status`, `doctor` and the agent's log say so, and what to do.

The site goes on when the ledger holds that entry again (the right ledger was put back: this is
looked at anew each time), or when the owner settles the loss (`dura site settle-loss`): epsilon
over all time is infinite from then on. A receipt that this site did not sign stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasites.errors import (
    DamagedFileError,
    DatasitesError,
    PlanError,
    Reason,
    RefusedError,
)
from datasites.plans import read_record
from datasites.site.site import Site, now_utc, stamp, write_json

if TYPE_CHECKING:
    from privacy import Receipt

BEHIND_FILE = "behind.json"
OWN_RECORDS = "this site's own records"


@dataclass(frozen=True)
class Behind:
    """What shows that the ledger is behind.

    Attributes:
        receipt: this site's own, whose entry is not in the ledger.
        told_by: who brought it.
    """

    receipt: Receipt
    told_by: str

    def __str__(self) -> str:
        point = self.receipt.checkpoint
        return (
            f"the ledger is behind: entry {point.sequence} ({point.entry_hash[:12]}), which a "
            f"receipt of {self.receipt.time} names, is not in it (told by {self.told_by}). An old "
            "copy was put back, and spends are forgotten; nothing runs. Put the newest "
            "ledger.jsonl back, or, if it is lost for good, `dura site settle-loss` (epsilon "
            "becomes infinite)"
        )


def take_witness(site: Site, text: str, *, told_by: str) -> None:
    """Look at a receipt of this site that somebody holds; kept if it shows that we are behind.

    Raises:
        DatasitesError: this site did not sign it.
    """
    from privacy import PrivacyError, own_receipt

    try:
        receipt = own_receipt(text, public_hex=site.key.public_hex)
    except PrivacyError as error:
        raise DatasitesError(f"what came as a receipt of this site is none: {error}") from error
    if not _lost(site, receipt):
        return
    known = behind(site)
    if known is None or known.receipt.time < receipt.time:  # settling one settles those before it
        write_json(site.root / BEHIND_FILE, {"receipt": text, "told_by": told_by})


def take_own_records(site: Site, receipts: Iterable[str]) -> None:
    """Look at the receipts that this site's own records hold; one of an earlier format is none."""
    for text in receipts:
        with suppress(DatasitesError):
            take_witness(site, text, told_by=OWN_RECORDS)


def behind(site: Site) -> Behind | None:
    """What shows that the ledger is behind, None while nothing does; looked at anew.

    Raises:
        DatasitesError: the file that says so was altered.
    """
    from privacy import PrivacyError, own_receipt

    path = site.root / BEHIND_FILE
    try:
        told = read_record(path)
        receipt = own_receipt(told["receipt"], public_hex=site.key.public_hex)
        found = Behind(receipt=receipt, told_by=str(told["told_by"]))
    except FileNotFoundError:
        return None
    except (DamagedFileError, KeyError, TypeError, AttributeError, PrivacyError) as error:
        raise RefusedError(
            Reason.LEDGER_BEHIND,
            f"{path} says that the ledger is behind, but cannot be read ({error}): compare the "
            "ledger with the receipts that researchers hold before you remove that file",
        ) from error
    if _lost(site, receipt):
        return found
    path.unlink(missing_ok=True)
    return None


def must_not_be_behind(site: Site) -> None:
    """Refuse to go on while the ledger is behind.

    Raises:
        RefusedError: it is; the message says what to do.
    """
    found = behind(site)
    if found is not None:
        raise RefusedError(Reason.LEDGER_BEHIND, str(found))


def settle_loss(site: Site, *, actor: str, reason: str) -> None:
    """The owner goes on without the lost entries; epsilon over all time is infinite from then on.

    Raises:
        PlanError: nothing is behind, or nobody says why.
    """
    from privacy import loss_entry

    found = behind(site)
    if found is None:
        raise PlanError("the ledger holds every entry that is known of; there is nothing to settle")
    if not actor.strip() or not reason.strip():
        raise PlanError("say who decides and why: --as NAME --reason TEXT (they stay here)")
    moment = stamp(now_utc())
    site.ledger.append(loss_entry(found.receipt, reason=reason, time=moment, actor=actor))
    (site.root / BEHIND_FILE).unlink(missing_ok=True)


def _lost(site: Site, receipt: Receipt) -> bool:
    from privacy import is_lost

    ledger = site.ledger
    return is_lost(receipt, held=ledger.holds(receipt.checkpoint), account=ledger.account())

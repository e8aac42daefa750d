"""Is a ledger behind what its own hospital signed? Pure.

Whoever puts an old copy of a site back makes it forget spends. The receipts that the hospital gave
away remember: each names an entry of the ledger and carries the hospital's own signature, so nobody
can make one up to stop a hospital. A receipt that names an entry which is not in the ledger means
that entries were lost, and that nobody knows how many.

The one way on without them is the owner's (`loss_entry`): a disclosure of every unit, after which
epsilon over all time is infinite. It covers every receipt that was signed before it, and none that
is signed later: whoever puts back a copy from after the loss is found again.
"""

from privacy.errors import PrivacyError, SignatureError
from privacy.ledger.receipts import Receipt, signed_receipt_from_json, verify_receipt
from privacy.signing import parse_json
from privacy.spending import Account, Disclosure, DisclosureKind, Entry, disclose

NO_DATA = "unknown"


def own_receipt(text: str, *, public_hex: str) -> Receipt:
    """A receipt that the holder of the key signed.

    Args:
        text: JSON, from anybody.
        public_hex: the hospital's key.

    Raises:
        SignatureError: it is no receipt, or this key did not sign it.
    """
    try:
        signed = signed_receipt_from_json(parse_json(text.encode(errors="surrogatepass")))
    except SignatureError:
        raise
    except PrivacyError as error:
        raise SignatureError("this is no receipt") from error
    verify_receipt(signed, public_hex=public_hex)
    return signed.receipt


def is_lost(receipt: Receipt, *, held: bool, account: Account) -> bool:
    """Whether a receipt shows that the ledger is behind.

    Args:
        receipt: signed by the hospital.
        held: whether exactly the entry that it names is in the ledger.
        account: of the ledger.
    """
    return not held and not any(
        shown.disclosure.kind is DisclosureKind.LEDGER_LOST
        and shown.disclosure.units is None
        and shown.time >= receipt.time
        for shown in account.disclosures
    )


def loss_entry(receipt: Receipt, *, reason: str, time: str, actor: str) -> Entry:
    """The owner's entry that the ledger lost what a receipt names, and that epsilon is infinite.

    Args:
        receipt: signed by the hospital; its entry is not in the ledger.
        reason: why it cannot be brought back (required).
        time: UTC, ISO 8601 with ``Z``; taken for the receipt's if that is later.
        actor: the owner.

    Raises:
        LedgerError: no reason given.
    """
    point = receipt.checkpoint
    lost = Disclosure(
        kind=DisclosureKind.LEDGER_LOST,
        units=None,
        scope=f"entry {point.sequence}, which a receipt of {receipt.time} names, was lost with "
        "whatever stood around it",
        dataset_version=NO_DATA,
    )
    return disclose(
        lost, resource=point.entry_hash, reason=reason, time=max(time, receipt.time), actor=actor
    )

"""Receipts: what a hospital signs and a researcher keeps for every run whose outputs left.

A receipt names the round, everything executed, the data version, the privacy event, the hospital's
epsilon so far, the hashes of the outputs, and the ledger's last entry at that moment. With it a
researcher can check that the files are those the hospital released, recompute epsilon, and later
prove that the hospital's ledger was cut or rewritten (`Receipt.checkpoint` goes into
`privacy.verify_file`). Receipts and ledger lines are signed by the same key, each for its
own purpose (`privacy.signing.envelope`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from privacy.accounting import ADD_OR_REMOVE_ONE, Unit, check_promised_delta, event_from_json
from privacy.errors import LedgerError, PrivacyError, SignatureError
from privacy.ledger.chain import Checkpoint
from privacy.signing import (
    JsonValue,
    Purpose,
    SigningKey,
    is_lower_hex,
    sign_document,
    verify_document,
)
from privacy.spending import DisclosureKind, check_identifier, check_time

FORMAT = "dura.receipt/3"
_INFINITE = "infinite"
_SIGNED_FIELDS = {"receipt", "key", "signature"}


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What left a hospital after one run.

    Attributes:
        site: name of the hospital.
        study: name of the study.
        request: id of the approved request.
        round: number of the round, >= 0.
        plan_sha256: hash over everything executed, 64 hex digits.
        dataset_version: hash of the data used.
        event: the privacy event committed, in `event_to_json` form.
        epsilon_total: the hospital's epsilon after this run, over all time, for a unit that was not
            disclosed, >= 0; infinite if a disclosure may concern every unit.
        delta: the delta of `epsilon_total`.
        unit: the unit of privacy; the neighbouring relation is always add or remove one of it.
        disclosed: coded kind of un-noised release (`case_report`, `custom_job`) -> how many there
            were so far: for the units that they show, epsilon is infinite.
        outputs: file name -> SHA-256, 64 hex digits.
        checkpoint: the ledger's last entry when this was signed.
        time: UTC, ISO 8601 with ``Z``.

    Raises:
        LedgerError: a field is malformed.
        EventError: the event is.
        BudgetAmountError: delta is.
    """

    site: str
    study: str
    request: str
    round: int
    plan_sha256: str
    dataset_version: str
    event: Mapping[str, JsonValue]
    epsilon_total: float
    delta: float
    unit: Unit
    disclosed: Mapping[str, int]
    outputs: Mapping[str, str]
    checkpoint: Checkpoint
    time: str

    def __post_init__(self) -> None:
        for name in ("site", "study", "request", "dataset_version"):
            check_identifier(getattr(self, name), f"a receipt's {name}")
        hashes = {"plan_sha256": self.plan_sha256, **self.outputs}
        for name, value in hashes.items():
            if not is_lower_hex(value, 64):
                raise LedgerError(f"{name!r} must be given with a SHA-256 of 64 hex digits"[:300])
        if isinstance(self.round, bool) or not isinstance(self.round, int) or self.round < 0:
            raise LedgerError(f"a round is an integer >= 0, got {self.round!r}"[:200])
        epsilon = self.epsilon_total
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not epsilon >= 0:
            raise LedgerError(f"epsilon must be >= 0, got {self.epsilon_total!r}"[:200])
        check_promised_delta(self.delta)
        check_time(self.time)
        event_from_json(self.event)
        _check_disclosed(self.disclosed)
        object.__setattr__(self, "disclosed", MappingProxyType(dict(self.disclosed)))
        object.__setattr__(self, "event", MappingProxyType(dict(self.event)))
        object.__setattr__(self, "outputs", MappingProxyType(dict(self.outputs)))


@dataclass(frozen=True, kw_only=True)
class SignedReceipt:
    """A receipt and the hospital's signature.

    Attributes:
        receipt: what was signed.
        public_hex: the key that claims to have signed it; check it against the pinned one.
        signature_hex: the signature.
    """

    receipt: Receipt
    public_hex: str
    signature_hex: str


def sign_receipt(receipt: Receipt, key: SigningKey) -> SignedReceipt:
    """Sign a receipt with the hospital's key.

    Args:
        receipt: what left.
        key: the hospital's signing key.

    Returns:
        The signed receipt.
    """
    signature = sign_document(receipt_to_json(receipt), purpose=Purpose.RECEIPT, key=key)
    return SignedReceipt(receipt=receipt, public_hex=key.public_hex, signature_hex=signature)


def verify_receipt(signed: SignedReceipt, *, public_hex: str) -> None:
    """Check that the pinned key signed exactly this receipt.

    Args:
        signed: a receipt as received.
        public_hex: the hospital's key, pinned at pairing.

    Raises:
        SignatureError: another key, or another content.
    """
    if signed.public_hex != public_hex:
        raise SignatureError("this receipt names another key than the pinned one; do not accept it")
    verify_document(
        receipt_to_json(signed.receipt),
        purpose=Purpose.RECEIPT,
        public_hex=public_hex,
        signature_hex=signed.signature_hex,
    )


def receipt_to_json(receipt: Receipt) -> dict[str, JsonValue]:
    """The receipt as a JSON object, the body of its signature."""
    infinite = math.isinf(receipt.epsilon_total)
    return {
        "format": FORMAT,
        "site": receipt.site,
        "study": receipt.study,
        "request": receipt.request,
        "round": receipt.round,
        "plan_sha256": receipt.plan_sha256,
        "dataset_version": receipt.dataset_version,
        "event": dict(receipt.event),
        "epsilon_total": _INFINITE if infinite else receipt.epsilon_total,
        "delta": receipt.delta,
        "unit": receipt.unit.value,
        "relation": ADD_OR_REMOVE_ONE,
        "disclosed": dict(receipt.disclosed),
        "outputs": dict(receipt.outputs),
        "ledger": {
            "sequence": receipt.checkpoint.sequence,
            "entry_hash": receipt.checkpoint.entry_hash,
        },
        "time": receipt.time,
    }


def signed_receipt_to_json(signed: SignedReceipt) -> dict[str, JsonValue]:
    """The signed receipt as a JSON object."""
    return {
        "receipt": receipt_to_json(signed.receipt),
        "key": signed.public_hex,
        "signature": signed.signature_hex,
    }


def signed_receipt_from_json(value: JsonValue) -> SignedReceipt:
    """Rebuild a signed receipt; `verify_receipt` still has to be called.

    Args:
        value: what `signed_receipt_to_json` returned, after a round trip.

    Returns:
        The signed receipt.

    Raises:
        SignatureError: a field is missing, extra or malformed.
    """
    if not isinstance(value, Mapping) or set(value) != _SIGNED_FIELDS:
        raise SignatureError(f"a signed receipt has exactly the fields {sorted(_SIGNED_FIELDS)}")
    try:
        receipt = _receipt_from_json(value["receipt"])
    except SignatureError:
        raise
    except (PrivacyError, TypeError, ValueError, AttributeError) as error:
        raise SignatureError("this is not a receipt; ask the hospital for it again") from error
    return SignedReceipt(
        receipt=receipt,
        public_hex=cast("str", value["key"]),
        signature_hex=cast("str", value["signature"]),
    )


def _receipt_from_json(value: JsonValue) -> Receipt:
    names = {*Receipt.__dataclass_fields__, "format", "ledger", "relation"} - {"checkpoint"}
    if not isinstance(value, Mapping) or set(value) != names or value["format"] != FORMAT:
        raise SignatureError(f"a receipt is {FORMAT} with exactly the fields {sorted(names)}")
    fields = cast("dict[str, Any]", dict(value))
    del fields["format"]
    if fields.pop("relation") != ADD_OR_REMOVE_ONE:
        raise SignatureError(f"a receipt's relation is {ADD_OR_REMOVE_ONE}")
    ledger = fields.pop("ledger")
    epsilon = fields.pop("epsilon_total")
    return Receipt(
        checkpoint=Checkpoint(**ledger),
        epsilon_total=math.inf if epsilon == _INFINITE else epsilon,
        unit=Unit(fields.pop("unit")),
        **fields,
    )


def _check_disclosed(disclosed: Mapping[str, int]) -> None:
    for kind, count in disclosed.items():
        if kind not in set(DisclosureKind) or isinstance(count, bool) or not isinstance(count, int):
            raise LedgerError(f"disclosures are counted by kind, got {kind!r}: {count!r}"[:200])
        if count < 1:
            raise LedgerError(f"a kind of disclosure that is named happened, got {kind}: {count}")

"""Countersignatures: what a researcher signs to say "this is the ledger that I was shown".

A receipt names the ledger's last entry (its `Checkpoint`) and is signed by the hospital. The
researcher who checked it signs the same checkpoint with the key that both sides compared when they
paired, and sends that back; the hospital writes it into its ledger. From then on

- the hospital cannot cut or rewrite what came before without the researcher's receipt, which it
  signed itself, saying so; nor without losing the countersignature, which it cannot make;
- the researcher cannot bring forward another state of the ledger: a receipt that the hospital did
  not sign is none, and the one that they countersigned stands in the hospital's ledger.

It is signed for its own purpose (`privacy.signing.envelope`), so it never passes for another
document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from privacy.errors import LedgerError, SignatureError
from privacy.ledger.chain import Checkpoint
from privacy.signing import (
    PUBLIC_HEX_DIGITS,
    SIGNATURE_HEX_DIGITS,
    JsonValue,
    Purpose,
    SigningKey,
    is_lower_hex,
    sign_document,
    verify_document,
)
from privacy.spending import Entry, EntryKind, check_identifier

FORMAT = "dura.countersignature/2"
_FIELDS = frozenset({"format", "site", "request", "receipt", "ledger", "key", "signature"})


@dataclass(frozen=True, kw_only=True)
class Countersignature:
    """A researcher's signature over a hospital's checkpoint.

    Attributes:
        site: the hospital.
        request: the request whose receipt stated the checkpoint.
        receipt_sha256: hash of that signed receipt's text.
        checkpoint: the ledger's entry that it names.
        public_hex: the researcher's key.
        signature_hex: over all of the above.

    Raises:
        LedgerError: a field is malformed.
    """

    site: str
    request: str
    receipt_sha256: str
    checkpoint: Checkpoint
    public_hex: str
    signature_hex: str

    def __post_init__(self) -> None:
        check_identifier(self.site, "a countersignature's site")
        check_identifier(self.request, "a countersignature's request")
        if not is_lower_hex(self.receipt_sha256, 64):
            raise LedgerError("a countersignature names a receipt by 64 hex digits of SHA-256")


def countersign(
    *, site: str, request: str, receipt_sha256: str, checkpoint: Checkpoint, key: SigningKey
) -> Countersignature:
    """Sign a checkpoint that a receipt stated; the receipt was verified before."""
    unsigned = Countersignature(
        site=site,
        request=request,
        receipt_sha256=receipt_sha256,
        checkpoint=checkpoint,
        public_hex=key.public_hex,
        signature_hex="",
    )
    signature = sign_document(_body(unsigned), purpose=Purpose.COUNTERSIGNATURE, key=key)
    return Countersignature(**{**unsigned.__dict__, "signature_hex": signature})


def verify_countersignature(signed: Countersignature) -> None:
    """Check that the key it names signed exactly this; whose key that is must be known elsewhere.

    Raises:
        SignatureError: it did not.
    """
    verify_document(
        _body(signed),
        purpose=Purpose.COUNTERSIGNATURE,
        public_hex=signed.public_hex,
        signature_hex=signed.signature_hex,
    )


def countersignature_to_json(signed: Countersignature) -> dict[str, JsonValue]:
    """The countersignature as a JSON object; also the detail of its ledger entry."""
    return {
        "format": FORMAT,
        "site": signed.site,
        "request": signed.request,
        "receipt": signed.receipt_sha256,
        "ledger": {
            "sequence": signed.checkpoint.sequence,
            "entry_hash": signed.checkpoint.entry_hash,
        },
        "key": signed.public_hex,
        "signature": signed.signature_hex,
    }


def countersignature_from_json(value: JsonValue) -> Countersignature:
    """Rebuild a countersignature; `verify_countersignature` still has to be called.

    Raises:
        SignatureError: a field is missing, extra or malformed, whatever JSON value it is.
    """
    if not isinstance(value, Mapping) or value.keys() != _FIELDS or value["format"] != FORMAT:
        raise SignatureError(f"a countersignature is {FORMAT} with the fields {sorted(_FIELDS)}")
    fields = cast("dict[str, str]", dict(value))
    digits = {"key": PUBLIC_HEX_DIGITS, "signature": SIGNATURE_HEX_DIGITS}
    for name, count in digits.items():
        if not is_lower_hex(fields[name], count):
            raise SignatureError(f"a countersignature's {name} is {count} lower-case hex digits")
    try:
        ledger = dict(cast("Mapping[str, JsonValue]", value["ledger"]))
        return Countersignature(
            site=fields["site"],
            request=fields["request"],
            receipt_sha256=fields["receipt"],
            checkpoint=Checkpoint(**ledger),  # type: ignore[arg-type]
            public_hex=fields["key"],
            signature_hex=fields["signature"],
        )
    except (LedgerError, TypeError, ValueError) as error:
        raise SignatureError("this is not a countersignature") from error


def countersignature_entry(signed: Countersignature, *, actor: str, time: str) -> Entry:
    """The ledger entry that keeps a researcher's countersignature."""
    return Entry(
        kind=EntryKind.RECEIPT_COUNTERSIGNED,
        actor=actor,
        action="countersign",
        resource=signed.request,
        reason="",
        time=time,
        detail=countersignature_to_json(signed),
    )


def _body(signed: Countersignature) -> dict[str, JsonValue]:
    value = countersignature_to_json(signed)
    del value["signature"]
    return value

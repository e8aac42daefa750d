"""The one envelope: what a signature of Dura is over, whatever kind of document it signs.

One key signs several kinds of documents. So that a signature made for one kind never passes for
another, all of them are signed and checked here and nowhere else, over the bytes

    DOMAIN || canonical JSON of {"body": BODY, "purpose": PURPOSE}

with a purpose from a closed list. DOMAIN is not JSON, so nothing else that the same key may sign
(a researcher's key signs messages as well) can ever be these bytes. The signature travels beside
the body; purpose and domain do not travel: who checks knows what kind it must be.

    purpose             body                                        signed by
    ledger seal         format, head, key, sequence                 hospital
    receipt             what left after a run (`privacy.ledger.receipts`)  hospital
    countersignature    the receipt and its ledger entry            researcher
    approval            a decision on a plan                        hospital
    release rule        which reports may go without a look         hospital
    released report     text, facts, how it was changed             hospital
    image decision      which synthetic images may be used          hospital
"""

from enum import StrEnum

from privacy.errors import CanonicalError, SignatureError
from privacy.signing.canonical import JsonValue, canonical_bytes
from privacy.signing.keys import SigningKey, verify

DOMAIN = b"dura signed document 1\n"


class Purpose(StrEnum):
    """Every kind of document that is signed."""

    LEDGER_SEAL = "ledger seal"
    RECEIPT = "receipt"
    COUNTERSIGNATURE = "countersignature"
    APPROVAL = "approval"
    RELEASE_RULE = "release rule"
    RELEASED_REPORT = "released report"
    IMAGE_DECISION = "image decision"


def sign_document(body: JsonValue, *, purpose: Purpose, key: SigningKey) -> str:
    """Sign a document.

    Args:
        body: the document without its signature, as JSON.
        purpose: what kind it is.
        key: the signer's.

    Returns:
        The signature: 128 lower-case hex digits.

    Raises:
        CanonicalError: the body has no canonical form.
        SignatureError: the purpose is none.
    """
    return sign_canonical(canonical_bytes(body), purpose=purpose, key=key)


def verify_document(
    body: JsonValue, *, purpose: Purpose, public_hex: str, signature_hex: str
) -> None:
    """Check that the holder of a key signed exactly this, as a document of this kind.

    Args:
        body: the document without its signature, as JSON.
        purpose: what kind it must be.
        public_hex: the key that must have signed; whose it is must be known elsewhere.
        signature_hex: the signature.

    Raises:
        SignatureError: another key, another content or another kind of document.
    """
    try:
        data = canonical_bytes(body)
    except CanonicalError as error:
        raise SignatureError(f"what was signed cannot be this {purpose}: {error}") from error
    verify_canonical(data, purpose=purpose, public_hex=public_hex, signature_hex=signature_hex)


def sign_canonical(body: bytes, *, purpose: Purpose, key: SigningKey) -> str:
    """`sign_document` of a body that is in canonical bytes already."""
    return key.sign(_payload(body, purpose))


def verify_canonical(body: bytes, *, purpose: Purpose, public_hex: str, signature_hex: str) -> None:
    """`verify_document` of a body that was found to be canonical bytes.

    Raises:
        SignatureError: another key, another content or another kind of document.
    """
    payload = _payload(body, purpose)
    verify(public_hex=public_hex, signature_hex=signature_hex, payload=payload)


def _payload(body: bytes, purpose: Purpose) -> bytes:
    if not isinstance(purpose, Purpose):
        raise SignatureError(f"a document is signed for a purpose of the list, not {purpose!r}")
    return b'%b{"body":%b,"purpose":"%b"}' % (DOMAIN, body, purpose.value.encode())

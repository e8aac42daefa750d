"""Receipts as the researcher keeps them: JSON text, read back and checked."""

from __future__ import annotations

from orchestrator.errors import VerificationError
from privacy import (
    PrivacyError,
    SignedReceipt,
    parse_json,
    signed_receipt_from_json,
    verify_receipt,
)


def read_receipt(text: str) -> SignedReceipt:
    """A signed receipt from its text; `check_receipt` still has to be called.

    Raises:
        VerificationError: the text is not a receipt.
    """
    try:
        return signed_receipt_from_json(parse_json(text.encode(errors="surrogatepass")))
    except PrivacyError as error:
        raise VerificationError(f"not a receipt: {error}") from error


def check_receipt(text: str, *, public_hex: str) -> SignedReceipt:
    """A receipt that the holder of `public_hex` signed.

    Raises:
        VerificationError: the text is not a receipt, or somebody else signed it.
    """
    signed = read_receipt(text)
    try:
        verify_receipt(signed, public_hex=public_hex)
    except PrivacyError as error:
        raise VerificationError(f"the receipt does not hold: {error}") from error
    return signed

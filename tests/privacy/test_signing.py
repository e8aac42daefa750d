import pytest

from privacy.errors import SignatureError
from privacy.signing.keys import SigningKey, fingerprint, verify


def test_a_signature_verifies(key: SigningKey) -> None:
    verify(public_hex=key.public_hex, signature_hex=key.sign(b"payload"), payload=b"payload")


def test_rfc_8032_vector() -> None:
    # RFC 8032, section 7.1, test 2
    verify(
        public_hex="3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        signature_hex="92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        payload=b"\x72",
    )


def test_other_payload_other_key_other_signature(key: SigningKey) -> None:
    signature = key.sign(b"payload")
    other = SigningKey.generate()
    flipped = ("1" if signature[0] == "0" else "0") + signature[1:]
    for public, signed, payload in (
        (key.public_hex, signature, b"Payload"),
        (other.public_hex, signature, b"payload"),
        (key.public_hex, flipped, b"payload"),
    ):
        with pytest.raises(SignatureError, match="do not act"):
            verify(public_hex=public, signature_hex=signed, payload=payload)


@pytest.mark.parametrize("signature", ["", "00", "g" * 128, "A" * 128, None])
def test_malformed_signatures(key: SigningKey, signature: str) -> None:
    with pytest.raises(SignatureError, match="128 lower-case"):
        verify(public_hex=key.public_hex, signature_hex=signature, payload=b"")


@pytest.mark.parametrize("public", ["", "ab", "Z" * 64])
def test_malformed_keys(public: str) -> None:
    with pytest.raises(SignatureError, match="64 lower-case"):
        verify(public_hex=public, signature_hex="0" * 128, payload=b"")


def test_fingerprint_is_short_and_distinguishes(key: SigningKey) -> None:
    groups = fingerprint(key.public_hex).split(" ")
    assert [len(group) for group in groups] == [4] * 8
    assert fingerprint(SigningKey.generate().public_hex) != fingerprint(key.public_hex)
    with pytest.raises(SignatureError):
        fingerprint("not a key")


def test_repr_shows_the_public_fingerprint_only(key: SigningKey) -> None:
    assert repr(key) == f"SigningKey(public {fingerprint(key.public_hex)})"

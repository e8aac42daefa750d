"""Ed25519 signatures (RFC 8032) and the short fingerprint that two people compare.

Guarantees:
- `verify` returns nothing: a bad signature cannot be ignored by not looking at a result;
- a private key never shows in `repr`, in a message or in a pickle of ours;
- documents are signed and verified by `privacy.signing.envelope` alone, each for its purpose,
because one
  key signs several kinds of them.
"""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.errors import SignatureError
from privacy.signing.canonical import sha256_hex

PUBLIC_HEX_DIGITS = 64
SIGNATURE_HEX_DIGITS = 128
_LOWER_HEX = frozenset("0123456789abcdef")


class SigningKey:
    """A hospital's or a person's Ed25519 signing key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public_hex = private.public_key().public_bytes_raw().hex()

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """The key with this private part.

        Args:
            seed: 32 secret bytes (RFC 8032, section 5.1.5).

        Raises:
            SignatureError: another number of bytes.
        """
        if len(seed) != 32:
            raise SignatureError(f"an Ed25519 key is made from 32 bytes, got {len(seed)}")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public_hex(self) -> str:
        """The public key: 32 bytes as 64 lower-case hex digits."""
        return self._public_hex

    def sign(self, payload: bytes) -> str:
        """Sign `payload`.

        Args:
            payload: the exact bytes to sign.

        Returns:
            The signature: 64 bytes as 128 lower-case hex digits.
        """
        return self._private.sign(payload).hex()

    def private_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM, for `privacy.signing.key_file` only."""
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def __repr__(self) -> str:
        return f"SigningKey(public {fingerprint(self._public_hex)})"


def _public_key(public_hex: object) -> Ed25519PublicKey:
    # Looked at before the cache is: what comes from a peer may be of any type.
    if not isinstance(public_hex, str) or not is_lower_hex(public_hex, PUBLIC_HEX_DIGITS):
        raise SignatureError(
            f"a public key is {PUBLIC_HEX_DIGITS} lower-case hex digits, got {public_hex!r:.80}"
        )
    return _loaded(public_hex)


@lru_cache(maxsize=64)
def _loaded(public_hex: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))


def is_lower_hex(text: object, digits: int) -> bool:
    """Whether `text` is a string of exactly `digits` lower-case hex digits."""
    return isinstance(text, str) and len(text) == digits and _LOWER_HEX.issuperset(text)


def verify(*, public_hex: str, signature_hex: str, payload: bytes) -> None:
    """Check that the holder of `public_hex` signed exactly `payload`.

    Args:
        public_hex: public key, 64 lower-case hex digits.
        signature_hex: signature, 128 lower-case hex digits.
        payload: the signed bytes.

    Raises:
        SignatureError: key or signature is malformed, or they do not belong together.
    """
    key = _public_key(public_hex)
    if not is_lower_hex(signature_hex, SIGNATURE_HEX_DIGITS):
        raise SignatureError(f"a signature is {SIGNATURE_HEX_DIGITS} lower-case hex digits")
    try:
        key.verify(bytes.fromhex(signature_hex), payload)
    except InvalidSignature as error:
        raise SignatureError(
            f"the signature was not made by {fingerprint(public_hex)} over these bytes; "
            "do not act on them"
        ) from error


def fingerprint(public_hex: str) -> str:
    """The fingerprint that two people read to each other.

    The first 128 bits of the SHA-256 of the raw public key, which is what a second pre-image
    attack has to match.

    Args:
        public_hex: public key, 64 lower-case hex digits.

    Returns:
        Eight groups of four hex digits, e.g. ``"9f86 d081 884c 7d65 9a2f eaa0 c55a d015"``.

    Raises:
        SignatureError: the key is malformed.
    """
    _public_key(public_hex)
    hexed = sha256_hex(bytes.fromhex(public_hex))
    return " ".join(hexed[i : i + 4] for i in range(0, 32, 4))

"""One envelope: a signature made for one kind of document never verifies as another."""

import ast
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import SignatureError
from privacy.signing.canonical import canonical_bytes, parse_json
from privacy.signing.envelope import (
    DOMAIN,
    Purpose,
    sign_canonical,
    sign_document,
    verify_canonical,
    verify_document,
)
from privacy.signing.keys import SigningKey, verify

KEY = SigningKey.from_seed(b"k" * 32)
ROOT = Path(__file__).parents[2]
_LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5)
BODIES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(body=BODIES)
def test_a_signature_is_of_its_own_kind_only(body: object) -> None:
    """Over all pairs of kinds, whatever the body."""
    signed = {one: sign_document(body, purpose=one, key=KEY) for one in Purpose}
    for made, asked in itertools.product(Purpose, Purpose):
        words = {"public_hex": KEY.public_hex, "signature_hex": signed[made]}
        if made is asked:
            verify_document(body, purpose=asked, **words)
        else:
            with pytest.raises(SignatureError):
                verify_document(body, purpose=asked, **words)


@settings(max_examples=50, deadline=None)
@given(body=BODIES, other=BODIES)
def test_only_the_same_body_holds(body: object, other: object) -> None:
    signed = sign_document(body, purpose=Purpose.RECEIPT, key=KEY)
    words = {"public_hex": KEY.public_hex, "signature_hex": signed}
    if canonical_bytes(body) == canonical_bytes(other):
        verify_document(other, purpose=Purpose.RECEIPT, **words)
    else:
        with pytest.raises(SignatureError):
            verify_document(other, purpose=Purpose.RECEIPT, **words)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_body_cannot_bring_a_purpose_of_its_own(purpose: Purpose) -> None:
    """A body that closes its braces early is another body: what is signed has one reading."""
    inner = f'1,"purpose":"{purpose.value}"'
    signed = sign_document(inner, purpose=Purpose.RELEASED_REPORT, key=KEY)
    if purpose is not Purpose.RELEASED_REPORT:
        with pytest.raises(SignatureError):
            verify_document(1, purpose=purpose, public_hex=KEY.public_hex, signature_hex=signed)


def test_nothing_that_is_json_is_ever_the_signed_bytes() -> None:
    body = canonical_bytes({"a": 1})
    signed = sign_canonical(body, purpose=Purpose.APPROVAL, key=KEY)
    words = {"public_hex": KEY.public_hex, "signature_hex": signed}
    verify_canonical(body, purpose=Purpose.APPROVAL, **words)
    for naked in (body, b'{"body":%b,"purpose":"approval"}' % body):
        assert parse_json(naked)
        with pytest.raises(SignatureError):
            verify(payload=naked, **words)
    verify(payload=DOMAIN + b'{"body":{"a":1},"purpose":"approval"}', **words)


def test_a_purpose_that_is_none_is_refused() -> None:
    with pytest.raises(SignatureError, match="of the list"):
        sign_document(1, purpose="receipt", key=KEY)  # type: ignore[arg-type]
    with pytest.raises(SignatureError, match="cannot be this receipt"):
        verify_document(
            2**60, purpose=Purpose.RECEIPT, public_hex=KEY.public_hex, signature_hex="0" * 128
        )


def test_nobody_else_signs_or_verifies() -> None:
    """The raw signature is used by the envelope alone, so no document can go round it."""
    others = []
    for package in ("datasites", "models", "orchestrator", "privacy"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                raw = isinstance(node, ast.Attribute) and node.attr == "sign"
                keyed = raw and "key" in ast.unparse(node)
                taken = (
                    isinstance(node, ast.ImportFrom)
                    and node.module in ("privacy.signing.keys", "privacy")
                    and any(name.name == "verify" for name in node.names)
                )
                if keyed or taken:
                    others.append(path.relative_to(ROOT).as_posix())
    assert set(others) == {"privacy/signing/envelope.py"}

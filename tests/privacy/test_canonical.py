import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from privacy.errors import CanonicalError
from privacy.signing.canonical import canonical_bytes, digest, normalise, parse_json, sha256_hex
from tests.privacy.ledgerkit import json_values


def _largest(value: object) -> float:
    if isinstance(value, dict):
        return max((_largest(v) for v in value.values()), default=0.0)
    if isinstance(value, list):
        return max((_largest(v) for v in value), default=0.0)
    return abs(value) if isinstance(value, int | float) else 0.0


def test_the_example_of_the_rfc() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\u000aA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert (
        canonical_bytes(value)
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


@given(json_values)
def test_normalised_values_survive_the_round_trip(value: object) -> None:
    assume(_largest(value) < 2**53)
    normal = normalise(value)
    assert parse_json(canonical_bytes(normal)) == normal
    assert canonical_bytes(normal) == canonical_bytes(value)
    assert normalise(normal) == normal


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=6))
def test_key_order_does_not_matter(value: dict[str, int]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert digest(value) == digest(backwards)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), "\ud800", {1: 2}, {"\ud800": 1}, {1}]
)
def test_doubtful_values_are_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical_bytes({"value": value})
    with pytest.raises(CanonicalError):
        normalise({"value": value})


@pytest.mark.parametrize("value", [1e16, -(2.0**60)])
def test_whole_floats_that_would_come_back_as_huge_integers_are_refused(value: float) -> None:
    with pytest.raises(CanonicalError, match=r"2\*\*53"):
        normalise(value)


def test_nesting_without_end_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CanonicalError, match="nest"):
        canonical_bytes(value)
    with pytest.raises(CanonicalError, match="nest"):
        normalise(value)
    with pytest.raises(CanonicalError):
        parse_json(b"[" * 100_000)


def test_normalise_copies() -> None:
    inner = [1.0, 2.5]
    normal = normalise({"a": inner})
    inner.append(3)
    assert normal == {"a": [1, 2.5]}
    assert isinstance(normal["a"][0], int)  # type: ignore[index, call-overload]


def test_not_json() -> None:
    with pytest.raises(CanonicalError, match="3 bytes"):
        parse_json(b"{,}")


def test_sha256() -> None:
    # FIPS 180-2, appendix B.1
    assert sha256_hex(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert digest("abc") == sha256_hex(b'"abc"')

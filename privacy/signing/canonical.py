"""The one byte form of a value: canonical JSON (RFC 8785), and SHA-256 over it.

Guarantees:
- equal values give equal bytes, on every machine and Python;
- what is hashed or signed can be read back: `normalise` refuses values that change on a round trip
  (NaN, infinities, integers and integer-looking floats beyond 2**53, lone surrogates, tuples of
  sets, keys that are not strings);
- nothing here guesses: every doubtful value raises `CanonicalError`.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import rfc8785

from privacy.errors import CanonicalError

JsonValue: TypeAlias = (
    bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
)

MAX_INTEGER = 2**53 - 1
"""Beyond it JSON's numbers stop being exact."""
_EXPONENT_FORM = 1e21  # from here on canonical JSON writes an exponent, and a float is read back


def canonical_bytes(value: JsonValue) -> bytes:
    """Render `value` as canonical JSON.

    Args:
        value: JSON value; floats must be finite, integers within +-(2**53 - 1).

    Returns:
        UTF-8 bytes as RFC 8785 defines them, without a trailing newline.

    Raises:
        CanonicalError: the value has no canonical form.
    """
    try:
        return rfc8785.dumps(cast("str", value))
    except rfc8785.CanonicalizationError as error:
        raise CanonicalError(
            f"this value has no canonical JSON form ({error}); "
            "use finite numbers, plain strings, lists and string-keyed objects"
        ) from error
    except (UnicodeEncodeError, RecursionError) as error:
        raise CanonicalError(
            "this value has no canonical JSON form (broken text or too deep a nesting)"
        ) from error


def parse_json(data: bytes) -> JsonValue:
    """Parse JSON bytes.

    Args:
        data: UTF-8 JSON.

    Returns:
        The parsed value.

    Raises:
        CanonicalError: the bytes are not JSON, or hold an integer beyond 2**53.
    """
    try:
        return cast("JsonValue", _decode(data.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise CanonicalError(f"these {len(data)} bytes are not JSON") from error


def _whole(digits: str) -> int:
    if len(digits) > 15 and abs(int(digits[:18])) > MAX_INTEGER:
        raise ValueError("an integer beyond 2**53")
    return int(digits)


# json.loads would build a decoder anew for every value.
_decode = json.JSONDecoder(parse_int=_whole).decode


def normalise(value: JsonValue) -> JsonValue:
    """Return `value` as it will be after being written and read back.

    The result shares no mutable part with the argument; whole floats become integers, as canonical
    JSON writes them.

    Args:
        value: JSON value.

    Returns:
        An equal value built of plain dicts, lists, strings and numbers.

    Raises:
        CanonicalError: the value has no canonical form, or would change on the way.
    """
    try:
        return _normalise(value)
    except RecursionError as error:
        raise CanonicalError("this value is nested too deeply") from error


def _normalise(value: Any) -> JsonValue:
    kind = type(value)  # asked first: an entry's detail has a hundred values, nearly all exact
    if kind is str or isinstance(value, str):
        return value if kind is str and value.isascii() else _text(value)
    if kind is dict or isinstance(value, Mapping):
        return {
            key if type(key) is str and key.isascii() else _key(key): _normalise(item)
            for key, item in value.items()
        }
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return [_normalise(item) for item in value]
    raise CanonicalError(f"a {kind.__name__} has no JSON form; convert it first")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise CanonicalError(f"an object's keys must be strings, got {type(key).__name__}")
    return _text(key)


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CanonicalError("this text holds lone surrogates; decode it properly") from error
    return str(text)


def _number(number: int | float) -> int | float:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise CanonicalError(f"{number} has no JSON form; use a finite number")
        if not number.is_integer() or abs(number) >= _EXPONENT_FORM:
            return float(number)
    whole = int(number)
    if abs(whole) > MAX_INTEGER:
        raise CanonicalError(
            f"an integer beyond 2**53 ({str(number)[:40]}) would change on the way; use a string"
        )
    return whole


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: JsonValue) -> str:
    """SHA-256 over the canonical bytes of `value`, as 64 lower-case hex digits.

    Raises:
        CanonicalError: the value has no canonical form.
    """
    return sha256_hex(canonical_bytes(value))

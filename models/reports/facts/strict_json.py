"""JSON in and out for facts and reports: canonical out, strict in. Pure.

Out is RFC 8785, so that equal documents have equal bytes. In refuses what a lenient reader would
guess at: repeated keys, NaN and infinities, unknown or missing keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from models.reports.errors import FactsError


def canonical_json(document: Any) -> bytes:
    """A dataclass as canonical JSON, mappings and nested dataclasses included."""
    return rfc8785.dumps(_plain(document))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def parse_object(text: str) -> dict[str, Any]:
    """Parse JSON text that must be one object.

    Raises:
        FactsError: not JSON, not an object, a key twice, or NaN or an infinity.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise FactsError(f"not JSON: {error.msg} in line {error.lineno}") from error
    except RecursionError as error:
        raise FactsError("not facts: JSON nested too deeply") from error
    if not isinstance(parsed, dict):
        raise FactsError(f"the document is a {type(parsed).__name__}; it must be a JSON object")
    return parsed


def field_values(row: Any, kind: type) -> dict[str, Any]:
    """Check an object's keys against a dataclass's fields.

    Raises:
        FactsError: not an object, an unknown key, or a field without a value.
    """
    if not isinstance(row, dict):
        raise FactsError(f"{kind.__name__} is {row!r}; it must be a JSON object")
    fields = dataclasses.fields(kind)
    known = {field.name for field in fields}
    none = dataclasses.MISSING
    required = {f.name for f in fields if f.default is none and f.default_factory is none}
    # A document without its version cannot be told from a later one.
    required |= known & {"kind", "version"}
    if unknown := sorted(set(row) - known):
        raise FactsError(f"{kind.__name__} does not know {unknown}; it knows {sorted(known)}")
    if missing := sorted(required - set(row)):
        raise FactsError(f"{kind.__name__} lacks {missing}; add them")
    return dict(row)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise FactsError(f"JSON repeats the keys {twice}; name each once")
    return result


def _refuse_constant(name: str) -> Any:
    raise FactsError(f"JSON holds {name}; figures must be finite")

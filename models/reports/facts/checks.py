"""What a value in a facts document may be. Each check returns nothing or raises `FactsError`.

Names of people's institutions may use any script; identifiers, units and class names are ASCII,
because references and the report vocabulary are. Nothing may hold a brace (it would look like a
reference) or a line break (it would look like a new line of the report).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from models.reports.errors import FactsError

MAX_CLASSES: Final = 64
ADD_OR_REMOVE_ONE: Final = "add_or_remove_one"
"""Two data sets are neighbours where one has one unit more; no other relation is accounted for."""

_NAME = re.compile(r"(?=.*[^\W\d_])[^\W_](?:[\w .,'&()/-]{0,78}[\w).])?")
_IDENTIFIER = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.:-]{0,78}[A-Za-z0-9])")
_CLASS = re.compile(r"[A-Za-z](?:[A-Za-z0-9_ -]{0,38}[A-Za-z0-9])?")
_UNIT = re.compile(r"[a-z](?:[a-z -]{0,38}[a-z])?")
_HASH = re.compile(r"[0-9a-f]{64}")
# Names that would read as a judgement, a count or a section of the report.
_RESERVED: Final = frozenset(
    [
        "high",
        "moderate",
        "low",
        "wide",
        "fair",
        "narrow",
        "tied",
        "runner-up",
        "not",
        "no",
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "result",
        "probabilities",
        "confidence",
        "limits",
        "recommendation",
        "scores",
    ]
)


def check_version(kind: object, version: object, *, kinds: Sequence[str], known: int) -> None:
    """Refuse a document of another kind or of a version this release does not read."""
    if kind not in kinds:
        raise FactsError(f"kind is {kind!r}; it must be one of {list(kinds)}")
    if isinstance(version, bool) or version != known:
        raise FactsError(f"version is {version!r}; this release reads version {known}")


def check_name(field: str, value: object) -> None:
    """Refuse what is not a plain name of 1 to 80 characters with a letter in it."""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or "  " in value:
        raise FactsError(
            f"{field} is {value!r}; a name has 1 to 80 letters, digits, single spaces or .,'&()/-, "
            f"at least one of them a letter, and ends with a letter, digit, dot or bracket"
        )


def check_identifier(field: str, value: object) -> None:
    """Refuse what is not an ASCII identifier that starts with a letter (so never a bare number)."""
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise FactsError(
            f"{field} is {value!r}; an identifier has 2 to 80 ASCII letters, digits or _.:-, "
            f"starts with a letter and ends with a letter or digit"
        )


def is_hash(value: object) -> bool:
    """Whether this is a SHA-256 in lower-case hexadecimal."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def check_dataset(field: str, value: object) -> None:
    """Refuse what is neither a SHA-256 nor an identifier."""
    if not is_hash(value):
        check_identifier(field, value)


def check_hash(field: str, value: object) -> None:
    """Refuse what is not a SHA-256 in lower-case hexadecimal."""
    if not is_hash(value):
        raise FactsError(f"{field} is {value!r}; it must be 64 lower-case hexadecimal digits")


def check_number(field: str, value: object, *, low: float = 0.0, high: float = 1.0) -> None:
    """Refuse what is not a finite number between `low` and `high`, ends included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FactsError(f"{field} is {value!r}; it must be a number")
    if not math.isfinite(value) or not low <= value <= high:
        raise FactsError(f"{field} is {value!r}; it must be finite and within {low:g}..{high:g}")


def check_whole(field: str, value: object, *, least: int) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise FactsError(f"{field} is {value!r}; it must be a whole number of at least {least}")


def check_privacy(*, epsilon: object, delta: object, unit: object) -> None:
    """Refuse an epsilon, delta and unit that do not make a privacy statement."""
    if epsilon is not None:
        check_number("epsilon", epsilon, high=1e9)
    check_number("delta", delta)
    if not isinstance(unit, str) or not _UNIT.fullmatch(unit) or "  " in unit:
        raise FactsError(
            f"privacy_unit is {unit!r}; it names what is protected in small letters, "
            f"for example 'patient' or 'near-duplicate group'"
        )


def check_relation(relation: object) -> None:
    """Refuse another neighbouring relation than the one that is accounted for."""
    if relation != ADD_OR_REMOVE_ONE:
        raise FactsError(
            f"privacy_relation is {relation!r}; epsilon is accounted for {ADD_OR_REMOVE_ONE!r} only"
        )


def check_class_names(names: Sequence[object]) -> None:
    """Refuse class names that are malformed, too few, too many, or alike but for their spelling."""
    if not 2 <= len(names) <= MAX_CLASSES:
        raise FactsError(f"there are {len(names)} classes; give 2 to {MAX_CLASSES}")
    seen: dict[str, object] = {}
    for name in names:
        if not isinstance(name, str) or not _CLASS.fullmatch(name):
            raise FactsError(
                f"class name {name!r} is not usable; it has 1 to 40 ASCII letters, digits, "
                f"spaces, _ or -, starts with a letter and ends with a letter or digit"
            )
        folded = re.sub(r"[ _-]+", "", name.casefold())
        if folded in seen:
            raise FactsError(f"classes {seen[folded]!r} and {name!r} would read alike; rename one")
        if folded in _RESERVED:
            raise FactsError(f"class name {name!r} has a meaning of its own in reports; rename it")
        seen[folded] = name


def check_labels(labels: Mapping[str, str], *, classes: Sequence[str]) -> None:
    """Refuse names that a reader could take for a class, a judgement or a section.

    Args:
        labels: field name to label.
        classes: class names of the document.
    """
    folded = {re.sub(r"[ _-]+", "", name.casefold()): name for name in classes}
    for field, label in labels.items():
        plain = label.casefold()
        if plain in _RESERVED or re.sub(r"[ _-]+", "", plain) in folded:
            raise FactsError(
                f"{field} is {label!r}, which reads as a class or a judgement in a report; "
                f"use another name"
            )

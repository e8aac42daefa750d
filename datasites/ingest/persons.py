"""What the owner decided about patients' numbers: a table, read before any image is looked at.

A CSV file with the columns ``patient``, ``other`` and ``decision``, one decision a line:

    one person    both numbers are one person's: one unit
    two people    they are two, although images look the same; the pair is not named again
    leave out     images under the number ``patient`` are not used (``other`` may be empty)

A decision holds for the numbers in it, whoever is in the data: what becomes of one number's images
does not depend on whether the other number has any. That is why images are left out by this table
only, never because the program finds that they resemble somebody's.

Refused: a table that cannot be read, lacks a column, names no number or no known decision, or says
of two numbers that they are one person's and two people's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasites.ingest.errors import UnitRuleError
from datasites.ingest.patients import MAX_TABLE_BYTES, Pseudonyms, pseudonym

ONE_PERSON, TWO_PEOPLE, LEAVE_OUT = "one person", "two people", "leave out"
_COLUMNS = ("patient", "other", "decision")


@dataclass(frozen=True)
class Persons:
    """The owner's decisions, on pseudonyms.

    Attributes:
        one: pseudonym to that under which the person is known, where they have several.
        two: pairs of persons that are two people, each in order.
        left_out: persons whose images are not used.
    """

    one: Mapping[str, str] = field(default_factory=dict)
    two: frozenset[tuple[str, str]] = frozenset()
    left_out: frozenset[str] = frozenset()

    def of(self, numbers: Pseudonyms) -> Pseudonyms:
        """The persons behind some numbers."""
        return tuple(sorted({self.one.get(number, number) for number in numbers}))


def read_persons(path: Path, *, key: bytes) -> Persons:
    """Read the owner's table.

    Args:
        path: of the CSV file.
        key: of the site, under which numbers become pseudonyms.

    Raises:
        UnitRuleError: it cannot be used; nothing of it is.
    """
    rows = list(_rows(path))
    one = _joined([pair for pair, decision in _keyed(rows, key) if decision == ONE_PERSON])
    two, left_out = set(), set()
    for (number, other), decision in _keyed(rows, key):
        first, second = (one.get(each, each) for each in (number, other))
        if decision == LEAVE_OUT:
            left_out.add(first)
        elif decision == TWO_PEOPLE:
            two.add((min(first, second), max(first, second)))
    if any(first == second for first, second in two):
        raise UnitRuleError(
            f"{path} says of two numbers both {ONE_PERSON!r} and {TWO_PEOPLE!r}, perhaps by way of "
            "a third; keep one"
        )
    return Persons(one, frozenset(two), frozenset(left_out))


def _keyed(rows: list[tuple[str, str, str]], key: bytes) -> Iterator[tuple[tuple[str, str], str]]:
    for number, other, decision in rows:
        yield (pseudonym(number, key), pseudonym(other, key) if other else ""), decision


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Each pseudonym to the smallest of those it is one person with."""
    person: dict[str, str] = {}
    for first, second in pairs:
        ends = {person.get(first, first), person.get(second, second)}
        everybody = {one for one, known in person.items() if known in ends} | ends | {first, second}
        person |= dict.fromkeys(everybody, min(everybody))
    return person


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise UnitRuleError(f"{path} is larger than {MAX_TABLE_BYTES} bytes; is it the table?")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                raise UnitRuleError(
                    f"{path} needs the columns {', '.join(_COLUMNS)}, named in its first line"
                )
            for row in reader:
                number, other, decision = ((row[name] or "").strip() for name in _COLUMNS)
                decision = " ".join(decision.casefold().split())
                if decision not in (ONE_PERSON, TWO_PEOPLE, LEAVE_OUT):
                    raise UnitRuleError(
                        f"{path}, line {reader.line_num}: {decision!r} is no decision; write "
                        f"{ONE_PERSON!r}, {TWO_PEOPLE!r} or {LEAVE_OUT!r}"
                    )
                if not number or not (other or decision == LEAVE_OUT):
                    raise UnitRuleError(
                        f"{path}, line {reader.line_num}: a patient's number is missing"
                    )
                yield number, other, decision
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnitRuleError(f"the table {path} cannot be read: {error}") from error

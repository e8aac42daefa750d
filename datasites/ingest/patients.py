"""Whose image is it: patients' numbers, made into pseudonyms at once.

The owner says what one unit of privacy is and where the numbers are (`UnitRule`): in DICOM files
themselves (PatientID), in the files' names (a regular expression with the group ``patient``), in a
CSV table with the columns ``file`` and ``patient``. An image may have a number from each; they are
taken for numbers of one patient, and the units of both are one.

Numbers that differ only in case, in width or composition of their characters, or in spaces, as
they do between a scanner, a file's name and a spreadsheet, are the same number: two patients taken
for one cost accuracy, one taken for two would cost them their privacy.

A number leaves this module only as its HMAC-SHA256 under the site's key, and even that is kept in
memory only: neither a shard nor a report nor the ledger holds one.

Refused: a pattern that is no regular expression or lacks the group, a table that cannot be read,
lacks a column, or gives one file two patients.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasites.ingest.errors import UnitRuleError
from datasites.ingest.shard import UNIT_KINDS

MAX_TABLE_BYTES = 256 * 1024 * 1024

Pseudonyms = tuple[str, ...]
"""Of one image's patient: none, one, or one for each number the patient goes by."""


@dataclass(frozen=True, kw_only=True)
class UnitRule:
    """What one unit of privacy is, and where patients' numbers are.

    Attributes:
        kind: one of `shard.UNIT_KINDS` where the owner asked for it by name. Empty: the patient if
            a pattern or a table is given or a DICOM file is among the images, else the
            near-duplicate group.
        patient_pattern: regular expression searched in a file's name; its group ``patient`` is the
            number. Empty: no such numbers.
        patient_csv: table with the columns ``file`` (name, or path below the data folder) and
            ``patient``. None: no such table.

    Raises:
        UnitRuleError: an unknown unit, a contradiction, or a pattern that cannot name a patient.
    """

    kind: str = ""
    patient_pattern: str = ""
    patient_csv: Path | None = None

    def __post_init__(self) -> None:
        if self.kind and self.kind not in UNIT_KINDS:
            raise UnitRuleError(f"{self.kind!r} is no unit; choose one of {', '.join(UNIT_KINDS)}")
        if self.patient_pattern:
            _compiled(self.patient_pattern)

    def chosen(self, *, any_dicom: bool) -> str:
        """The kind of unit for a folder.

        Args:
            any_dicom: whether a DICOM file is among its images.
        """
        if self.kind:
            return self.kind
        known = any_dicom or bool(self.patient_pattern) or self.patient_csv is not None
        return UNIT_KINDS[0] if known else UNIT_KINDS[1]


def pseudonyms(
    paths: Sequence[Path], numbers: Sequence[str | None], rule: UnitRule, *, key: bytes
) -> tuple[Pseudonyms, ...]:
    """The pseudonyms of each image's patient.

    Args:
        paths: relative to the data folder.
        numbers: the number in each DICOM file, None elsewhere.
        rule: where other numbers are.
        key: of the site; a patient has the same pseudonym only under the same key.

    Returns:
        64 hex digits each; none where nothing says whose image it is.

    Raises:
        UnitRuleError: the table cannot be used.
    """
    table = {} if rule.patient_csv is None else _table(rule.patient_csv)
    pattern = _compiled(rule.patient_pattern) if rule.patient_pattern else None
    return tuple(
        tuple(sorted({_pseudonym(one, key) for one in _numbers(path, number, table, pattern)}))
        for path, number in zip(paths, numbers, strict=True)
    )


def _numbers(
    path: Path, number: str | None, table: Mapping[str, str], pattern: re.Pattern[str] | None
) -> Iterator[str]:
    found = None if pattern is None else pattern.search(path.name)
    listed = table.get(path.as_posix()) or table.get(path.name)
    for one in (number, None if found is None else found["patient"], listed):
        if one is not None and one.strip():
            yield one.strip()


def _pseudonym(number: str, key: bytes) -> str:
    """One for all ways of writing a number: two units of one patient would void the guarantee."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", number).casefold())
    plain = " ".join(folded.split()).encode(errors="surrogatepass")
    return hmac.new(key, b"dura.patient/1\0" + plain, hashlib.sha256).hexdigest()


def _compiled(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UnitRuleError(f"{text!r} is no regular expression: {error}") from error
    if "patient" not in pattern.groupindex:
        raise UnitRuleError(
            f"{text!r} has no group named patient; write (?P<patient>...) around the part of the "
            "file's name that is the patient's number"
        )
    return pattern


def _table(path: Path) -> dict[str, str]:
    patients: dict[str, str] = {}
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise UnitRuleError(f"{path} is larger than {MAX_TABLE_BYTES} bytes; is it the table?")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"file", "patient"} <= set(reader.fieldnames or ()):
                raise UnitRuleError(
                    f"{path} needs the columns 'file' and 'patient', named in its first line"
                )
            for row in reader:
                name, patient = (row["file"] or "").strip(), (row["patient"] or "").strip()
                if name and patient and patients.setdefault(name, patient) != patient:
                    raise UnitRuleError(
                        f"{path}, line {reader.line_num}: a file is given two patients; keep one"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnitRuleError(f"the table {path} cannot be read: {error}") from error
    return patients

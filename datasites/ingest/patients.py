"""Whose image is it: patients' numbers, made into pseudonyms at once.

The owner says what one unit of privacy is and where the numbers are (`UnitRule`): in DICOM files
themselves (PatientID), in the files' names (a regular expression with the group ``patient``), in a
CSV table with the columns ``file`` and ``patient``. An image may have a number from each. Where the
unit is the patient they must be one person's, by being equal or by the owner's word
(`datasites.ingest.persons`). An image that has two persons' numbers would join two patients who are
there whether or not it is, so it is left out.

What the unit is, is the owner's word as well, or follows from it: a pattern or a table makes it the
patient. Only where nothing at all was said do the files decide, and then only if they agree: a
folder of DICOM files is taken by patients, one of pictures by near-duplicate groups, and a mixed
one is refused until the owner says which, since a single file could tip it.

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
from datasites.ingest.shard import PATIENT, UNIT_KIND, UNIT_KINDS

MAX_TABLE_BYTES = 256 * 1024 * 1024

Pseudonyms = tuple[str, ...]
"""Of one image's patient: none, one, or one for each number the patient goes by."""


@dataclass(frozen=True, kw_only=True)
class UnitRule:
    """What one unit of privacy is, and where patients' numbers are.

    Attributes:
        kind: one of `shard.UNIT_KINDS` where the owner asked for it by name. Empty: the patient if
            a pattern or a table is given; else as all files agree, see the module.
        patient_pattern: regular expression searched in a file's name; its group ``patient`` is the
            number. Empty: no such numbers.
        patient_csv: table with the columns ``file`` (name, or path below the data folder) and
            ``patient``. None: no such table.
        persons_csv: the owner's decisions on numbers, see `datasites.ingest.persons`. None: there
            are none.

    Raises:
        UnitRuleError: an unknown unit, a contradiction, or a pattern that cannot name a patient.
    """

    kind: str = ""
    patient_pattern: str = ""
    patient_csv: Path | None = None
    persons_csv: Path | None = None

    def __post_init__(self) -> None:
        if self.kind and self.kind not in UNIT_KINDS:
            raise UnitRuleError(f"{self.kind!r} is no unit; choose one of {', '.join(UNIT_KINDS)}")
        if self.patient_pattern:
            _compiled(self.patient_pattern)

    @property
    def is_said(self) -> bool:
        """Whether the kind of unit follows from what the owner said, whatever the files are."""
        return bool(self.kind or self.patient_pattern) or self.patient_csv is not None

    def chosen(self, *, any_dicom: bool, any_picture: bool) -> str:
        """The kind of unit for a folder.

        Args:
            any_dicom: whether a DICOM file is among its images.
            any_picture: whether another file is.

        Raises:
            UnitRuleError: nothing was said and the files disagree, or decisions on patients'
                numbers are given for units that are no patients.
        """
        if not self.is_said and any_dicom and any_picture:
            raise UnitRuleError(
                "DICOM files and pictures lie side by side, and nothing says what one unit of "
                "privacy is: say --unit patient (pictures without a patient's number are left "
                "out, see --patient-csv), or --unit group; nothing was changed"
            )
        patients = any_dicom or self.is_said
        kind = self.kind or (PATIENT if patients else UNIT_KIND)
        if self.persons_csv is not None and kind != PATIENT:
            raise UnitRuleError(
                f"decisions on patients' numbers ({self.persons_csv}) need the unit patient, and "
                f"here it is {kind}; say --unit patient or leave the table out"
            )
        return kind


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
        tuple(sorted({pseudonym(one, key) for one in _numbers(path, number, table, pattern)}))
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


def pseudonym(number: str, key: bytes) -> str:
    """The pseudonym of a number: 64 hex digits.

    One for all ways of writing it: two units of one patient would void the guarantee.
    """
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

"""From a data folder to a shard, and a report of what became of every file.

In this order: list the folder, decode each image, leave out images whose patient must be known and
is not, group images into privacy units (`datasites.ingest.units`), and then within each unit alone:
leave out equal pixels under two classes, drop further equal pixels, leave out of a test folder what
has its unit in training. Name the result by its hash. A bad image is a line in the report, never an
error; an error is raised only if nothing usable is left or the folder or a setting is wrong.
Nothing is written here.

What the privacy proof needs of this module: take away the files of one unit, and the rows of every
other unit stay as they are, each image with its pixels and its label, in the same order. Where the
unit is the patient that is so for all files of one person. So every rule looks at one file, at the
owner's settings, or at one unit. What looks further (images that resemble another patient's, a
patient with most of the images) is said to the owner and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import DEFAULT_CLASSES, ClassNames
from datasites.ingest.doubts import Doubts, across, doubts
from datasites.ingest.errors import EmptyDatasetError, RefusalReason
from datasites.ingest.groups import ExactDuplicates, exact_duplicates, in_order
from datasites.ingest.patients import Pseudonyms, UnitRule, pseudonyms
from datasites.ingest.persons import Persons, read_persons
from datasites.ingest.pixels import WORKERS
from datasites.ingest.reading import (
    INGEST_RULES,
    Reading,
    conflict_refusals,
    read_folder,
    without,
)
from datasites.ingest.report import ClassCount, Duplicate, IngestReport, LookAlike, UnitSize
from datasites.ingest.scan import Refusal
from datasites.ingest.shard import IMAGE, PATIENT, Shard, make_shard
from datasites.ingest.units import UNIT_RULES, Straddling, straddling, units_of
from datasites.ingest.unitwords import unit_notes

AS_FOUND = UnitRule()
"""Patients where all files are DICOM, near-duplicate groups where none is."""


@dataclass(frozen=True, eq=False)
class IngestResult:
    """A shard and the report on how it came about."""

    shard: Shard
    report: IngestReport


@dataclass(frozen=True, eq=False)
class _Images:
    """What can be used of a folder.

    Attributes:
        folder: where it lies.
        reading: everything that could be read, and whose patient is known where that is needed.
        patients: pseudonyms of each image's patient.
    """

    folder: Path
    reading: Reading
    patients: tuple[Pseudonyms, ...]


@dataclass(frozen=True, eq=False)
class _Grouped:
    """A folder's images with their units, and what of them is kept.

    Attributes:
        images: of the folder.
        kind: what a unit is.
        units: int64 [N], of each image that was read; numbered over both folders.
        same: equal pixels within one unit.
        kept: int64, indices of what is no copy and has one class, ascending.
    """

    images: _Images
    kind: str
    units: NDArray[np.int64]
    same: ExactDuplicates
    kept: NDArray[np.int64]


@dataclass(frozen=True)
class _Found:
    """What is in doubt, by file, and how many pairs of units are merely alike."""

    named: tuple[LookAlike, ...] = ()
    alike: int = 0


NOTHING_FOUND = _Found()


def ingest(
    folder: Path,
    *,
    classes: Sequence[str] = DEFAULT_CLASSES,
    image_size: int = 64,
    workers: int = WORKERS,
    rule: UnitRule = AS_FOUND,
    key: bytes = b"",
) -> IngestResult:
    """Read a data folder into a shard.

    Args:
        folder: holds one folder per class, each holding JPEG, PNG or DICOM images.
        classes: class names in label order.
        image_size: S, side of the stored images in pixels, 16 to 1024.
        workers: decoding threads.
        rule: what a unit of privacy is, and where patients' numbers are.
        key: of the site, for patients' pseudonyms.

    Raises:
        ClassListError: the class list contradicts itself.
        UnitRuleError: a table of the owner's cannot be used, or nothing says what a unit is.
        FolderError: the folder is missing or holds no class folder.
        EmptyDatasetError: no image can be used.
        IngestError: the image size is out of range.
    """
    classnames = ClassNames(tuple(classes))
    reading = read_folder(folder, classnames, image_size=image_size, workers=workers)
    kind = _kind(rule, reading)
    images = _usable(folder, reading, rule, kind=kind, key=key)
    (units,) = _units(kind, images)
    grouped = _grouped(images, kind, units)
    return _result(grouped, classnames, _doubts(rule, key, grouped))


def ingest_both(
    train: Path,
    test: Path,
    *,
    classes: Sequence[str] = DEFAULT_CLASSES,
    image_size: int = 64,
    workers: int = WORKERS,
    rule: UnitRule = AS_FOUND,
    key: bytes = b"",
) -> tuple[IngestResult, IngestResult]:
    """Read a training folder and the test folder that belongs to it.

    The training folder decides on the kind of unit. No unit stands on both sides: what does, stays
    in training only.

    Args:
        train: as `folder` of `ingest`.
        test: as well.
        classes: see `ingest`, as all that follows.
        image_size: see there.
        workers: see there.
        rule: see there.
        key: see there.

    Raises:
        IngestError: as `ingest`; or no test image is left.
    """
    classnames = ClassNames(tuple(classes))
    first, second = (
        read_folder(folder, classnames, image_size=image_size, workers=workers)
        for folder in (train, test)
    )
    kind = _kind(rule, first)
    both = [
        _usable(folder, reading, rule, kind=kind, key=key)
        for folder, reading in ((train, first), (test, second))
    ]
    here, there = (
        _grouped(images, kind, units)
        for images, units in zip(both, _units(kind, *both), strict=True)
    )
    shared = straddling(here.units[here.kept], there.units[there.kept])
    found = _doubts(rule, key, here, there)
    return _result(here, classnames), _result(there, classnames, found, shared)


def _kind(rule: UnitRule, reading: Reading) -> str:
    dicom = reading.dicom
    return rule.chosen(any_dicom=bool(dicom.any()), any_picture=not bool(dicom.all()))


def _persons(rule: UnitRule, key: bytes) -> Persons:
    return Persons() if rule.persons_csv is None else read_persons(rule.persons_csv, key=key)


def _usable(folder: Path, reading: Reading, rule: UnitRule, *, kind: str, key: bytes) -> _Images:
    patients = pseudonyms(reading.paths, reading.patients, rule, key=key)
    if kind != PATIENT:
        return _Images(folder, reading, patients)
    decided = _persons(rule, key)
    persons = tuple(decided.of(numbers) for numbers in patients)
    refused = [
        _refusal(path, numbers, decided, is_dicom=is_dicom)
        for path, numbers, is_dicom in zip(
            reading.paths, persons, reading.dicom.tolist(), strict=True
        )
    ]
    if all(refused):
        first = next(each for each in refused if each is not None)
        raise EmptyDatasetError(
            f"no image in {folder} has a patient's number that can be used: the first, "
            f"{first.path}, {first.message}"
        )
    known = tuple(one for one, out in zip(persons, refused, strict=True) if out is None)
    return _Images(folder, without(reading, refused), known)


def _units(kind: str, *folders: _Images) -> list[NDArray[np.int64]]:
    """The unit of each image of each folder, numbered over all of them."""
    units = units_of(
        np.concatenate([one.reading.images for one in folders]),
        np.concatenate([one.reading.thumbs for one in folders]),
        [digest for one in folders for digest in one.reading.digests],
        [numbers for one in folders for numbers in one.patients],
        kind=kind,
    )
    ends = np.cumsum([len(one.patients) for one in folders])
    return np.split(units, ends[:-1])


def _grouped(images: _Images, kind: str, units: NDArray[np.int64]) -> _Grouped:
    """Copies and contradictions are looked for within each unit, never across."""
    names = [
        f"{unit} {digest}"
        for unit, digest in zip(units.tolist(), images.reading.digests, strict=True)
    ]
    same = exact_duplicates(names, images.reading.labels.tolist())
    if not same.kept:
        raise EmptyDatasetError(
            f"every image in {images.folder} lies in two class folders at once; sort them again"
        )
    return _Grouped(images, kind, units, same, np.array(same.kept))


def _doubts(rule: UnitRule, key: bytes, *folders: _Grouped) -> _Found:
    """What the owner should look at; nothing follows from it here."""
    kind, images = folders[0].kind, [folder.images for folder in folders]
    thumbs = np.concatenate([one.reading.thumbs for one in images])
    digests = [digest for one in images for digest in one.reading.digests]
    units = np.concatenate([folder.units for folder in folders])
    if kind == PATIENT:
        numbers = [number for one in images for (number,) in one.patients]
        unit = dict(zip(numbers, units.tolist(), strict=True))
        two = [pair for pair in _persons(rule, key).two if unit.keys() >= set(pair)]
        settled = frozenset((min(a, b), max(a, b)) for a, b in ((unit[x], unit[y]) for x, y in two))
        found = doubts(thumbs, digests, units, settled=settled)
    elif kind == IMAGE and len(folders) > 1:
        found = across(thumbs, digests, units, train=len(folders[0].units))
    else:
        found = Doubts()
    shown = [
        path if len(images) == 1 else Path(one.folder.name) / path
        for one in images
        for path in one.reading.paths
    ]
    named = [LookAlike(shown[d.image], shown[d.other], d.same_pixels) for d in found.pairs]
    return _Found(tuple(named), found.alike)


def _result(
    grouped: _Grouped,
    classnames: ClassNames,
    found: _Found = NOTHING_FOUND,
    shared: Straddling | None = None,
) -> IngestResult:
    """The shard of one folder without copies and without what its test images share.

    Args:
        grouped: the folder's images.
        classnames: the class list.
        found: what is in doubt, for the report.
        shared: of a test folder, which of its kept images are left out.
    """
    kept = grouped.kept if shared is None else grouped.kept[~shared.images]
    reading = grouped.images.reading
    if not len(kept):
        raise EmptyDatasetError(
            f"every image in {grouped.images.folder} has its {grouped.kind} in training too; give "
            "test cases of others"
        )
    shard = make_shard(
        images=reading.images[kept],
        labels=reading.labels[kept],
        units=in_order(grouped.units[kept]),
        classes=classnames.classes,
        unit_kind=grouped.kind,
        rules=f"{INGEST_RULES};{UNIT_RULES[grouped.kind]}",
    )
    return IngestResult(shard, _report(grouped, shard, found, shared))


def _refusal(
    path: Path, persons: Pseudonyms, decided: Persons, *, is_dicom: bool
) -> Refusal | None:
    """Why an image cannot be in a patient's unit, by itself and the owner's word alone."""
    if not persons:
        return Refusal(path, RefusalReason.NO_PATIENT, _no_patient(is_dicom))
    if decided.left_out & set(persons):
        return Refusal(
            path,
            RefusalReason.OWNERS_DECISION,
            "left out by the table of decisions (--persons-csv)",
        )
    if len(persons) > 1:
        return Refusal(
            path,
            RefusalReason.TWO_PATIENTS,
            "has different patients' numbers in itself, its name or the table; correct one, or say "
            "that they are one person's (--persons-csv)",
        )
    return None


def _no_patient(is_dicom: bool) -> str:
    where = (
        "has no PatientID; fill in the tag (0010,0020), or name its patient"
        if is_dicom
        else "has no patient's number; name it"
    )
    return (
        f"{where} in a table (--patient-csv); or ask for --unit group, which protects groups of "
        "near-duplicates only"
    )


def _report(
    grouped: _Grouped, shard: Shard, found: _Found, shared: Straddling | None
) -> IngestReport:
    reading, same = grouped.images.reading, grouped.same
    paths = reading.paths
    per_class = np.bincount(shard.labels, minlength=len(shard.classes)).tolist()
    sizes = np.bincount(np.bincount(shard.units)).tolist()
    accepted = tuple(ClassCount(*each) for each in zip(shard.classes, per_class, strict=True))
    left_out = () if shared is None else _left_out(grouped, shared)
    return IngestReport(
        version=shard.version,
        image_size=shard.image_size,
        unit_kind=shard.unit_kind,
        accepted=accepted,
        unit_sizes=tuple(UnitSize(size, count) for size, count in enumerate(sizes) if count),
        mixed_units=_mixed_units(shard.labels, shard.units),
        in_doubt=found.named,
        alike_units=found.alike,
        straddling_images=len(left_out),
        straddling_units=None if shared is None else shared.units,
        duplicates=tuple(Duplicate(paths[a], paths[b]) for a, b in same.dropped),
        refused=reading.refused + conflict_refusals(reading, same) + left_out,
        warnings=unit_notes(shard)
        + tuple(
            f"the class {each.class_name!r} has no usable image; a model trained here cannot "
            "learn it. Is its folder missing, empty or misnamed?"
            for each in accepted
            if not each.images
        ),
    )


def _left_out(grouped: _Grouped, shared: Straddling) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(
            grouped.images.reading.paths[index],
            RefusalReason.STRADDLES,
            f"its {grouped.kind} is in training, and stays there only",
        )
        for index in grouped.kept[shared.images].tolist()
    )


def _mixed_units(labels: NDArray[np.int64], units: NDArray[np.int64]) -> int:
    pairs = np.unique(np.stack([units, labels]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum())

"""From a data folder to a shard, and a report of what became of every file.

In this order: list the folder, decode each image, refuse images whose patient must be known and is
not, refuse equal pixels under two classes, group images into privacy units
(`datasites.ingest.units`), drop equal pixels within a class, leave out of a test folder what has
its unit in training, name the result by its hash. A bad image is a line in the report, never an
error; an error is raised only if nothing usable is left or the folder or a setting is wrong.
Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import DEFAULT_CLASSES, ClassNames
from datasites.ingest.errors import EmptyDatasetError, RefusalReason
from datasites.ingest.groups import ExactDuplicates, exact_duplicates
from datasites.ingest.patients import Pseudonyms, UnitRule, pseudonyms
from datasites.ingest.pixels import WORKERS
from datasites.ingest.reading import Reading, conflict_refusals, read_folder, without
from datasites.ingest.report import ClassCount, Duplicate, IngestReport, UnitSize
from datasites.ingest.scan import Refusal
from datasites.ingest.shard import PATIENT, Shard, make_shard
from datasites.ingest.units import Straddling, Units, straddling, units_of
from datasites.ingest.unitwords import unit_notes

AS_FOUND = UnitRule()
"""Patients where DICOM files are, near-duplicate groups elsewhere."""


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
        same: equal pixels among them.
        good: indices of what has one class, copies included, ascending.
    """

    folder: Path
    reading: Reading
    patients: tuple[Pseudonyms, ...]
    same: ExactDuplicates
    good: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.int64]:
        """Which of the good ones are no copies; indices into those."""
        return np.searchsorted(self.good, np.array(self.same.kept))


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
        UnitRuleError: the table of patients cannot be used.
        FolderError: the folder is missing or holds no class folder.
        EmptyDatasetError: no image can be used.
        IngestError: the image size is out of range.
    """
    classnames = ClassNames(tuple(classes))
    reading = read_folder(folder, classnames, image_size=image_size, workers=workers)
    kind = rule.chosen(any_dicom=bool(reading.dicom.any()))
    images = _usable(folder, reading, rule, kind=kind, key=key)
    return _result(images, _units(kind, images), classnames)


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
    kind = rule.chosen(any_dicom=bool(first.dicom.any()))
    here = _usable(train, first, rule, kind=kind, key=key)
    there = _usable(test, second, rule, kind=kind, key=key)
    units = _units(kind, here, there)
    shared = straddling(units, train=len(here.good))
    return (
        _result(here, units.of(np.arange(len(here.good))), classnames),
        _result(there, units.of(len(here.good) + np.arange(len(there.good))), classnames, shared),
    )


def _usable(folder: Path, reading: Reading, rule: UnitRule, *, kind: str, key: bytes) -> _Images:
    patients = pseudonyms(reading.paths, reading.patients, rule, key=key)
    if kind == PATIENT:
        reading, patients = _identified(folder, reading, patients)
    same = exact_duplicates(reading.digests, reading.labels.tolist())
    if not same.kept:
        raise EmptyDatasetError(
            f"every image in {folder} lies in two class folders at once; sort them again"
        )
    good = np.array(sorted((*same.kept, *(copy for copy, _ in same.dropped))))
    return _Images(folder, reading, patients, same, good)


def _units(kind: str, *folders: _Images) -> Units:
    """Units before copies are dropped: a copy may say that two numbers are one person."""
    thumbs = np.concatenate([one.reading.thumbs[one.good] for one in folders])
    patients = [one.patients[index] for one in folders for index in one.good.tolist()]
    return units_of(thumbs, patients, kind=kind)


def _result(
    images: _Images, units: Units, classnames: ClassNames, shared: Straddling | None = None
) -> IngestResult:
    """The shard of one folder without copies and without what its test images share.

    Args:
        images: of the folder.
        units: of its good images.
        classnames: the class list.
        shared: of a test folder, which of its good images are left out.
    """
    stays = images.kept if shared is None else images.kept[~shared.images[images.kept]]
    if not len(stays):
        raise EmptyDatasetError(
            f"every image in {images.folder} has its {units.kind} in training too; give test cases "
            "of others"
        )
    kept = images.good[stays]
    rules = (images.reading.rules, units.rules)
    shard = make_shard(
        images=images.reading.images[kept],
        labels=images.reading.labels[kept],
        units=units.of(stays).units,
        classes=classnames.classes,
        unit_kind=units.kind,
        rules=";".join(part for part in rules if part),
    )
    return IngestResult(shard, _report(images, units, shard, shared))


def _identified(
    folder: Path, reading: Reading, patients: tuple[Pseudonyms, ...]
) -> tuple[Reading, tuple[Pseudonyms, ...]]:
    """Without the images whose patient nobody names: they could be anybody's."""
    refused = [
        None if numbers else Refusal(path, RefusalReason.NO_PATIENT, _no_patient(is_dicom))
        for path, numbers, is_dicom in zip(
            reading.paths, patients, reading.dicom.tolist(), strict=True
        )
    ]
    if all(refused):
        raise EmptyDatasetError(
            f"no image in {folder} has a patient's number: the first, {reading.paths[0]}, "
            f"{_no_patient(bool(reading.dicom[0]))}"
        )
    return without(reading, refused), tuple(numbers for numbers in patients if numbers)


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


def _report(images: _Images, units: Units, shard: Shard, shared: Straddling | None) -> IngestReport:
    paths, same = images.reading.paths, images.same
    per_class = np.bincount(shard.labels, minlength=len(shard.classes)).tolist()
    sizes = np.bincount(np.bincount(shard.units)).tolist()
    accepted = tuple(ClassCount(*each) for each in zip(shard.classes, per_class, strict=True))
    left_out = () if shared is None else _left_out(images, units.kind, shared)
    return IngestReport(
        version=shard.version,
        image_size=shard.image_size,
        unit_kind=shard.unit_kind,
        accepted=accepted,
        unit_sizes=tuple(UnitSize(size, count) for size, count in enumerate(sizes) if count),
        mixed_units=_mixed_units(shard.labels, shard.units),
        joined_units=units.joined,
        alike_units=units.alike,
        straddling_images=len(left_out),
        straddling_units=None if shared is None else shared.units,
        duplicates=tuple(Duplicate(paths[a], paths[b]) for a, b in same.dropped),
        refused=images.reading.refused + conflict_refusals(images.reading, same) + left_out,
        warnings=unit_notes(shard)
        + tuple(
            f"the class {each.class_name!r} has no usable image; a model trained here cannot "
            "learn it. Is its folder missing, empty or misnamed?"
            for each in accepted
            if not each.images
        ),
    )


def _left_out(images: _Images, kind: str, shared: Straddling) -> tuple[Refusal, ...]:
    out = images.good[images.kept[shared.images[images.kept]]]
    return tuple(
        Refusal(
            images.reading.paths[index],
            RefusalReason.STRADDLES,
            f"its {kind} is in training, and stays there only",
        )
        for index in out.tolist()
    )


def _mixed_units(labels: NDArray[np.int64], units: NDArray[np.int64]) -> int:
    pairs = np.unique(np.stack([units, labels]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum())

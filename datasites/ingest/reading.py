"""From a data folder to decoded images in memory, with everything left out named.

Scan, then decode, in the scan's order; nothing is dropped without an entry in `refused`. Ingest and
split both start here, so they agree on what counts as an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import ClassNames
from datasites.ingest.dicom import DICOM_RULES
from datasites.ingest.errors import EmptyDatasetError, IngestError, RefusalReason
from datasites.ingest.groups import GROUP_RULES, ExactDuplicates
from datasites.ingest.pixels import PIXEL_RULES, THUMB_SIDE, WORKERS, ReadImage, read_all
from datasites.ingest.scan import Refusal, scan

MIN_SIZE, MAX_SIZE = 16, 1024

INGEST_RULES = f"{PIXEL_RULES};{DICOM_RULES};{GROUP_RULES}"
"""How images and privacy units are made; part of every version, whatever files there are."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The usable images of a folder.

    Attributes:
        paths: relative to the folder, one per image.
        labels: int64 [N].
        images: uint8 [N, S, S].
        thumbs: uint8 [N, 64, 64].
        digests: of the pixels at their own size, one per image.
        refused: everything else, scan first.
        dicom: bool [N], which are DICOM files.
        patients: the number in each DICOM file, None where there is none; in memory only.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    images: NDArray[np.uint8]
    thumbs: NDArray[np.uint8]
    digests: tuple[str, ...]
    refused: tuple[Refusal, ...]
    dicom: NDArray[np.bool_]
    patients: tuple[str | None, ...] = field(repr=False)


def read_folder(
    folder: Path, classnames: ClassNames, *, image_size: int, workers: int = WORKERS
) -> Reading:
    """Read every image of a data folder.

    Args:
        folder: holds one folder per class.
        classnames: the class list.
        image_size: S, 16 to 1024 pixels.
        workers: decoding threads.

    Raises:
        FolderError: the folder is missing or holds no class folder.
        EmptyDatasetError: no image in it can be used.
        IngestError: the image size is out of range.
    """
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        raise IngestError(f"the image size is {image_size}; give {MIN_SIZE} to {MAX_SIZE} pixels")
    listing = scan(folder, classnames)
    count = len(listing.found)
    images = np.empty((count, image_size, image_size), np.uint8)
    thumbs = images if image_size == THUMB_SIDE else np.empty((count, THUMB_SIDE, THUMB_SIDE), "u1")
    paths: list[Path] = []
    labels: list[int] = []
    digests: list[str] = []
    dicom: list[bool] = []
    patients: list[str | None] = []
    refused = list(listing.refused)
    results = read_all([folder / each.path for each in listing.found], image_size, workers=workers)
    for found, result in zip(listing.found, results, strict=True):
        if isinstance(result, ReadImage):
            images[len(paths)], thumbs[len(paths)] = result.pixels, result.thumb
            paths.append(found.path)
            labels.append(classnames.label(found.class_name))
            digests.append(result.digest)
            dicom.append(result.is_dicom)
            patients.append(result.patient)
        else:
            refused.append(Refusal(found.path, result.reason, str(result)))
    if not paths:
        raise EmptyDatasetError(_nothing_usable(folder, refused))
    return Reading(
        paths=tuple(paths),
        labels=np.array(labels, np.int64),
        images=images[: len(paths)],
        thumbs=thumbs[: len(paths)],
        digests=tuple(digests),
        refused=tuple(refused),
        dicom=np.array(dicom, np.bool_),
        patients=tuple(patients),
    )


def without(reading: Reading, refused: Sequence[Refusal | None]) -> Reading:
    """A reading without some images, which are named among what was refused.

    Args:
        reading: of N images.
        refused: for each image why it is left out; None where it stays.
    """
    stays = np.array([each is None for each in refused], np.bool_)
    kept = np.flatnonzero(stays).tolist()
    return replace(
        reading,
        paths=tuple(reading.paths[index] for index in kept),
        labels=reading.labels[stays],
        images=reading.images[stays],
        thumbs=reading.thumbs[stays],
        digests=tuple(reading.digests[index] for index in kept),
        refused=reading.refused + tuple(each for each in refused if each is not None),
        dicom=reading.dicom[stays],
        patients=tuple(reading.patients[index] for index in kept),
    )


def conflict_refusals(reading: Reading, same: ExactDuplicates) -> tuple[Refusal, ...]:
    """One refusal for each image whose pixels also lie in another class."""
    by_digest: dict[str, list[int]] = {}
    for index in same.conflicting:
        by_digest.setdefault(reading.digests[index], []).append(index)
    return tuple(
        Refusal(
            reading.paths[index],
            RefusalReason.CONFLICTING_LABEL,
            f"the same pixels as {_other(reading, index, by_digest[reading.digests[index]])}, "
            "another class; keep the right one",
        )
        for index in same.conflicting
    )


def _other(reading: Reading, index: int, alike: list[int]) -> Path:
    label = reading.labels[index]
    return next(reading.paths[each] for each in alike if reading.labels[each] != label)


def _nothing_usable(folder: Path, refused: list[Refusal]) -> str:
    if not refused:
        return f"every class folder in {folder} is empty; put JPEG, PNG or DICOM images into them"
    first = refused[0]
    return (
        f"no image in {folder} can be used: {len(refused)} files or folders were refused, "
        f"the first being {first.path} ({first.reason}): {first.message}"
    )

"""From a data folder to a shard, and a report of what became of every file.

In this order: list the folder, decode each image, refuse equal pixels under two classes, drop equal
pixels within a class, group near-duplicates into privacy units, name the result by its hash. A bad
image is a line in the report, never an error; an error is raised only if nothing usable is left or
the folder or a setting is wrong. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import DEFAULT_CLASSES, ClassNames
from datasites.ingest.errors import EmptyDatasetError
from datasites.ingest.groups import ExactDuplicates, exact_duplicates, near_duplicate_units
from datasites.ingest.pixels import WORKERS
from datasites.ingest.reading import INGEST_RULES, Reading, conflict_refusals, read_folder
from datasites.ingest.report import ClassCount, Duplicate, IngestReport, UnitSize
from datasites.ingest.shard import Shard, make_shard


@dataclass(frozen=True, eq=False)
class IngestResult:
    """A shard and the report on how it came about."""

    shard: Shard
    report: IngestReport


def ingest(
    folder: Path,
    *,
    classes: Sequence[str] = DEFAULT_CLASSES,
    image_size: int = 64,
    workers: int = WORKERS,
) -> IngestResult:
    """Read a data folder into a shard.

    Args:
        folder: holds one folder per class, each holding JPEG or PNG images.
        classes: class names in label order.
        image_size: S, side of the stored images in pixels, 16 to 1024.
        workers: decoding threads.

    Raises:
        ClassListError: the class list contradicts itself.
        FolderError: the folder is missing or holds no class folder.
        EmptyDatasetError: no image can be used.
        IngestError: the image size is out of range.
    """
    classnames = ClassNames(tuple(classes))
    reading = read_folder(folder, classnames, image_size=image_size, workers=workers)
    same = exact_duplicates(reading.digests, reading.labels.tolist())
    if not same.kept:
        raise EmptyDatasetError(
            f"every image in {folder} lies in two class folders at once; sort them again"
        )
    kept = np.array(same.kept)
    shard = make_shard(
        images=reading.images[kept],
        labels=reading.labels[kept],
        units=near_duplicate_units(reading.thumbs[kept]),
        classes=classnames.classes,
        rules=INGEST_RULES,
    )
    return IngestResult(shard, _report(reading, same, shard))


def _report(reading: Reading, same: ExactDuplicates, shard: Shard) -> IngestReport:
    per_class = np.bincount(shard.labels, minlength=len(shard.classes)).tolist()
    sizes = np.bincount(np.bincount(shard.units)).tolist()
    accepted = tuple(ClassCount(*each) for each in zip(shard.classes, per_class, strict=True))
    return IngestReport(
        version=shard.version,
        image_size=shard.image_size,
        unit_kind=shard.unit_kind,
        accepted=accepted,
        unit_sizes=tuple(UnitSize(size, count) for size, count in enumerate(sizes) if count),
        mixed_units=_mixed_units(shard.labels, shard.units),
        duplicates=tuple(Duplicate(reading.paths[a], reading.paths[b]) for a, b in same.dropped),
        refused=reading.refused + conflict_refusals(reading, same),
        warnings=tuple(
            f"the class {each.class_name!r} has no usable image; a model trained here cannot "
            "learn it. Is its folder missing, empty or misnamed?"
            for each in accepted
            if not each.images
        ),
    )


def _mixed_units(labels: NDArray[np.int64], units: NDArray[np.int64]) -> int:
    pairs = np.unique(np.stack([units, labels]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum())

"""Writes the clients' folders that a split plan describes.

`OUT/client_A_train/<class>/...`, `OUT/client_A_test/<class>/...`, optionally
`OUT/researcher_test/<class>/...`, and `OUT/split.json`: the settings, the rules, the counts, and
for each part the SHA-256 over its list of files (lines `<sha256 of the file>  <class>/<name>`,
sorted, as sha256sum prints them). The files are plain copies of the originals, unchanged. Files
that ingest would refuse are left out and reported.

Near-duplicates are found exactly as in ingest, and what DICOM files say of their patient is kept
together as well, so that no group and no patient straddles clients, or train and test.

Everything is written to a folder beside OUT and renamed at the end: OUT is complete or absent. An
OUT that exists and is not empty is refused, and so is one inside the source.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import DEFAULT_CLASSES, ClassNames
from datasites.ingest.errors import SplitError
from datasites.ingest.groups import exact_duplicates
from datasites.ingest.patients import UnitRule, pseudonyms
from datasites.ingest.pixels import THUMB_SIDE
from datasites.ingest.reading import INGEST_RULES, Reading, conflict_refusals, read_folder
from datasites.ingest.scan import Refusal
from datasites.ingest.shard import UNIT_KIND
from datasites.ingest.split import SPLIT_RULES, SplitPlan, SplitSettings, plan_split
from datasites.ingest.units import units_of

FORMAT = "dura-split/1"


@dataclass(frozen=True)
class PartReport:
    """One folder that was written.

    Attributes:
        name: such as `client_A_train`.
        per_class: images per class, in label order.
        units: groups of near-duplicates.
        files_sha256: over its list of files.
    """

    name: str
    per_class: tuple[int, ...]
    units: int
    files_sha256: str


@dataclass(frozen=True)
class SplitReport:
    """What a split wrote.

    Attributes:
        classes: in label order.
        parts: the folders.
        refused: files that were left out.
    """

    classes: tuple[str, ...]
    parts: tuple[PartReport, ...]
    refused: tuple[Refusal, ...]

    def to_text(self) -> str:
        """A table for a terminal."""
        head = f"{'':<18}" + "".join(f"{name:>12}" for name in self.classes) + f"{'groups':>10}"
        rows = [
            f"{part.name:<18}"
            + "".join(f"{count:>12,}" for count in part.per_class)
            + f"{part.units:>10,}"
            for part in self.parts
        ]
        left_out = [f"left out {len(self.refused):,} files or folders"] if self.refused else []
        return "\n".join([head, *rows, *left_out])


def split_dataset(
    src: Path, out: Path, settings: SplitSettings, *, classes: Sequence[str] = DEFAULT_CLASSES
) -> SplitReport:
    """Divide a data folder into the clients' folders.

    Args:
        src: holds one folder per class.
        out: is created, for this user only; its parent must exist.
        settings: clients, shares and seed.
        classes: class names in label order.

    Raises:
        SplitError: OUT is in the way or cannot be written, or there are too few images.
        IngestError: the source cannot be used, see `ingest`.
    """
    _check_out(src, out)
    classnames = ClassNames(tuple(classes))
    reading = read_folder(src, classnames, image_size=THUMB_SIDE)
    used, units, refused = _group(reading)
    labels = reading.labels[used]
    plan = plan_split(labels, units, **asdict(settings))
    sources = [src / reading.paths[index] for index in used]
    contents = _Contents(sources, labels, units, classnames.classes)
    try:
        parts = _write_all(out, plan, contents, settings)
    except OSError as error:
        raise SplitError(
            f"the split could not be written: {error.strerror} ({error.filename}); "
            "nothing was left behind"
        ) from error
    return SplitReport(classnames.classes, parts, refused)


@dataclass(frozen=True, eq=False)
class _Contents:
    """The files to copy, with label and unit of each."""

    sources: list[Path]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    classes: tuple[str, ...]


def _check_out(src: Path, out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise SplitError(f"{out} is not a folder; give one that does not exist yet")
    if out.is_dir() and any(out.iterdir()):
        raise SplitError(f"{out} is not empty; give a folder that is empty or does not exist yet")
    if out.resolve().is_relative_to(src.resolve()):
        raise SplitError(f"{out} lies inside {src}; give a folder outside the source")
    if not out.parent.is_dir():
        raise SplitError(f"there is no folder {out.parent} to put {out.name} into; make it first")


def _group(
    reading: Reading,
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Refusal, ...]]:
    """Images to use (ascending), the unit of each, and everything left out.

    Exact duplicates stay, in the unit of the image they equal: the split divides files, and it is
    ingest that drops them.
    """
    same = exact_duplicates(reading.digests, reading.labels.tolist())
    if not same.kept:
        raise SplitError("every image lies in two class folders at once; sort them again")
    used = np.array(sorted((*same.kept, *(copy for copy, _ in same.dropped))))
    # Only equality counts here, so the pseudonyms' key is thrown away at once.
    known = pseudonyms(reading.paths, reading.patients, UnitRule(), key=secrets.token_bytes(32))
    numbers = [known[index] for index in used.tolist()]
    digests = [reading.digests[index] for index in used.tolist()]
    units = units_of(reading.thumbs[used], reading.thumbs[used], digests, numbers, kind=UNIT_KIND)
    return used, units, reading.refused + conflict_refusals(reading, same)


def _write_all(
    out: Path, plan: SplitPlan, contents: _Contents, settings: SplitSettings
) -> tuple[PartReport, ...]:
    """Write beside OUT, then rename; on any failure nothing stays."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        new = scratch / "new"
        new.mkdir(mode=0o700)
        parts = tuple(
            _write_part(new, name, np.flatnonzero(plan.part_of == index), contents)
            for index, name in enumerate(plan.parts)
        )
        text = _as_json(parts, contents.classes, settings)
        (new / "split.json").write_text(text + "\n", encoding="utf-8")
        new.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return parts


def _write_part(
    root: Path, name: str, members: NDArray[np.int64], contents: _Contents
) -> PartReport:
    """Copy one part; every class gets its folder, even an empty one."""
    for class_name in contents.classes:
        (root / name / class_name).mkdir(parents=True)
    lines = []
    for index in members.tolist():
        source = contents.sources[index]
        folder = root / name / contents.classes[contents.labels[index]]
        target = _free_name(folder, source.name)
        data = source.read_bytes()
        target.write_bytes(data)
        shown = target.relative_to(root / name).as_posix()
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {shown}\n")
    listing = "".join(sorted(lines)).encode("utf-8", "surrogateescape")
    counts = Counter(contents.labels[members].tolist())
    return PartReport(
        name=name,
        per_class=tuple(counts[label] for label in range(len(contents.classes))),
        units=len(np.unique(contents.units[members])),
        files_sha256=hashlib.sha256(listing).hexdigest(),
    )


def _free_name(folder: Path, name: str) -> Path:
    """Two source folders may mean one class and hold the same file name."""
    target, number = folder / name, 2
    while target.exists():
        target = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return target


def _as_json(
    parts: tuple[PartReport, ...], classes: tuple[str, ...], settings: SplitSettings
) -> str:
    listed = [
        {
            "name": part.name,
            "images": dict(zip(classes, part.per_class, strict=True)),
            "units": part.units,
            "files_sha256": part.files_sha256,
        }
        for part in parts
    ]
    data = {
        "format": FORMAT,
        "rules": f"{INGEST_RULES};{SPLIT_RULES}",
        **asdict(settings),
        "parts": listed,
    }
    return json.dumps(data, indent=2, ensure_ascii=False)

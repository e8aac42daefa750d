"""What an ingest accepted, dropped and refused, for the data owner.

Exact counts and file names: the report stays in the hospital. What the world sees is the data card
with its noised counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from datasites.ingest.errors import RefusalReason
from datasites.ingest.scan import Refusal
from datasites.ingest.shard import PATIENT

FORMAT = "dura-ingest-report/1"
_SHOWN = 10
"""Files named per reason in the text; the JSON names all."""


@dataclass(frozen=True)
class ClassCount:
    """How many images of a class were accepted."""

    class_name: str
    images: int


@dataclass(frozen=True)
class Duplicate:
    """An image dropped because another has the same pixels."""

    path: Path
    same_as: Path


@dataclass(frozen=True)
class LookAlike:
    """Two images that look nearly the same and are in two units, for the owner to decide on."""

    path: Path
    other: Path
    same_pixels: bool


@dataclass(frozen=True)
class UnitSize:
    """How many privacy units have so many images."""

    images: int
    units: int


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """The whole outcome of an ingest.

    Attributes:
        version: of the shard; it is not shown, and never published.
        image_size: side in pixels.
        unit_kind: what a privacy unit is.
        accepted: per class, in label order.
        unit_sizes: distribution of the units' sizes, ascending.
        mixed_units: units with images of more than one class: look-alikes, or wrong labels.
        in_doubt: nearly identical images of two patients, one pair for each two patients; where
            units are single images, test images that look like training images.
        alike_units: further pairs of patients whose images resemble each other, if less.
        straddling_images: of a test folder, images left out because their unit is in training.
        straddling_units: units with images on both sides; None without a test folder.
        duplicates: dropped for equal pixels.
        refused: left out, with reasons.
        warnings: what the data owner should know about the whole.
    """

    version: str
    image_size: int
    unit_kind: str
    accepted: tuple[ClassCount, ...]
    unit_sizes: tuple[UnitSize, ...]
    mixed_units: int
    in_doubt: tuple[LookAlike, ...] = ()
    alike_units: int = 0
    straddling_images: int = 0
    straddling_units: int | None = None
    duplicates: tuple[Duplicate, ...]
    refused: tuple[Refusal, ...]
    warnings: tuple[str, ...]

    @property
    def images(self) -> int:
        """Accepted images."""
        return sum(each.images for each in self.accepted)

    @property
    def units(self) -> int:
        """Privacy units."""
        return sum(each.units for each in self.unit_sizes)

    def to_json(self) -> str:
        """The report as JSON, complete."""
        data = {
            "format": FORMAT,
            "version": self.version,
            "image_size": self.image_size,
            "images": self.images,
            "accepted": {each.class_name: each.images for each in self.accepted},
            "unit_kind": self.unit_kind,
            "units": self.units,
            "unit_sizes": [[each.images, each.units] for each in self.unit_sizes],
            "mixed_units": self.mixed_units,
            "in_doubt": [
                {
                    "path": shown(each.path),
                    "other": shown(each.other),
                    "same_pixels": each.same_pixels,
                }
                for each in self.in_doubt
            ],
            "alike_units": self.alike_units,
            "straddling_images": self.straddling_images,
            "straddling_units": self.straddling_units,
            "duplicates": [
                {"path": shown(each.path), "same_as": shown(each.same_as)}
                for each in self.duplicates
            ],
            "refused": [
                {"path": shown(each.path), "reason": each.reason, "message": each.message}
                for each in self.refused
            ],
            "warnings": list(self.warnings),
        }
        return json.dumps(data, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The report for a terminal; long lists of files are cut and say so."""
        largest = self.unit_sizes[-1].images
        lines = [
            f"accepted {self.images:,} images of {self.image_size} x {self.image_size} pixels",
            *(f"  {each.class_name:<16} {each.images:>7,}" for each in self.accepted),
            f"in {self.units:,} privacy units ({self.unit_kind}), the largest of {largest}",
        ]
        if self.mixed_units:
            lines.append(f"  {self.mixed_units} of them hold more than one class; check the labels")
        lines += self._unit_lines()
        if self.duplicates:
            lines.append(f"dropped {len(self.duplicates):,} images with the pixels of another")
        lines += _refused_lines(self.refused)
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    def _unit_lines(self) -> list[str]:
        lines = []
        if self.in_doubt:
            lines += self._doubt_lines()
        if self.alike_units:
            lines.append(
                f"  {self.alike_units:,} further pairs of patients have images that look alike; "
                "they are two people each, as their numbers say"
            )
        if self.straddling_images:
            lines.append(
                f"  {self.straddling_images:,} test images of {self.straddling_units or 0:,} units "
                f"were left out: their {self.unit_kind} is in training, and none may stand on both "
                "sides"
            )
        return lines

    def _doubt_lines(self) -> list[str]:
        count = len(self.in_doubt)
        if self.unit_kind == PATIENT:
            what = (
                f"in doubt: {count:,} pairs of patients have images that are nearly the same. Both "
                "stay, each in the unit of its own number. Are they one person, or is a file in "
                "the wrong place? Decide in a table (--persons-csv, docs/units.md)"
            )
        else:
            what = (
                f"in doubt: {count:,} test images look like training images. They stay; a test "
                "score on them may be too good. Take out by hand what should not be there"
            )
        lines = [f"  {what}"]
        for each in self.in_doubt[:_SHOWN]:
            how = "the same pixels as" if each.same_pixels else "looks like"
            lines.append(f"    {shown(each.path)} {how} {shown(each.other)}")
        if count > _SHOWN:
            lines.append(f"    and {count - _SHOWN:,} more, all named in the JSON report")
        return lines


def shown(path: Path) -> str:
    """A path as text that can neither break a line, steer a terminal, nor fail to encode."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in path.as_posix()
    )


def _refused_lines(refused: Iterable[Refusal]) -> list[str]:
    lines: list[str] = []
    in_order = sorted(refused, key=lambda each: list(RefusalReason).index(each.reason))
    for reason, group in groupby(in_order, key=lambda each: each.reason):
        entries = list(group)
        lines.append(f"left out {len(entries):,}: {reason}")
        lines += [f"  {shown(each.path)}: {each.message}" for each in entries[:_SHOWN]]
        if len(entries) > _SHOWN:
            lines.append(f"  and {len(entries) - _SHOWN:,} more, all named in the JSON report")
    return lines

"""What a new version of a data set changed, counted over units so that it may be published. Pure.

Two versions are compared by fingerprints: a unit's is the hash of its images and their labels,
whatever its number or place. Nothing else of a former version is known, as no patient's number is
ever stored.

- **gone**: units of the former version whose like is not in the new one, and **came**: units of the
  new one whose like was not in the former. A unit that an image joined or left is in both.
- **regrouped**, of near-duplicate groups only: groups in which two or more former groups were
  joined, and former groups that fell into two or more. A group is followed by its first image, so
  that each counts once; the count is of what this finds, not of every image that moved.

How much one unit can change, taken away from both versions (the privacy of a noised release of
these counts rests on it): removing one fingerprint from one of the two multisets changes one of
gone and came by 1 and leaves the other as it is; so both together change by at most the square root
of 2 in L2 norm. Regrouped changes by at most 2 with a former group and by at most 2 with a new one:
each of these groups counts once itself, and its first image counts towards one group.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from datasites.ingest.shard import UNIT_KIND, Shard

CAME_AND_GONE_L2 = 2**0.5
REGROUPED_L2 = 4.0


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Exact counts: for the owner's eyes, or to be noised.

    Attributes:
        gone: units of the former version that the new one has not.
        came: units of the new version that the former had not.
        regrouped: groups joined or fallen apart; None unless units of both versions are groups by
            the same rules.
    """

    gone: int
    came: int
    regrouped: int | None

    def to_text(self) -> str:
        """For the owner's terminal."""
        lines = [
            f"against the version before: {self.came:,} units are new or changed, {self.gone:,} "
            "are gone or changed"
        ]
        if self.regrouped:
            lines.append(
                f"  {self.regrouped:,} groups were made of several earlier ones, or are what is "
                "left of one that fell apart: images that were here before changed their group"
            )
        return "\n".join(lines)


def compare_versions(before: Shard, now: Shard) -> Changes:
    """Compare two versions of one site's data set.

    Args:
        before: the former version.
        now: the new one.
    """
    old, new = _images(before), _images(now)
    gone = Counter(map(_fingerprint, old))
    came = Counter(map(_fingerprint, new))
    groups = before.unit_kind == now.unit_kind == UNIT_KIND and before.rules == now.rules
    return Changes(
        gone=(gone - came).total(),
        came=(came - gone).total(),
        regrouped=_several(old, new) + _several(new, old) if groups else None,
    )


def _images(shard: Shard) -> list[list[bytes]]:
    """The hashes of each unit's images with their labels, in the shard's order."""
    units: list[list[bytes]] = [[] for _ in range(shard.unit_count)]
    for image, label, unit in zip(
        shard.images, shard.labels.tolist(), shard.units.tolist(), strict=True
    ):
        units[unit].append(hashlib.sha256(f"{label} ".encode() + image.tobytes()).digest())
    return units


def _fingerprint(images: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(sorted(images))).digest()


def _several(followed: list[list[bytes]], among: list[list[bytes]]) -> int:
    """Units of one version that hold the first images of two or more units of the other.

    Images that are equal as stored are in one group, so an image is in one only.
    """
    where = {image: index for index, images in enumerate(among) for image in images}
    found = Counter(where[images[0]] for images in followed if images[0] in where)
    return sum(count > 1 for count in found.values())

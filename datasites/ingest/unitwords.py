"""What people are told about the units of a shard: whom a claim is for, and what to look at. Pure.

A near-duplicate group is not a person, so nothing that is said of groups speaks of patients.
"""

from __future__ import annotations

import numpy as np

from datasites.ingest.shard import IMAGE, PATIENT, UNIT_KIND, Shard

_FEW = 20
_SHARE = 0.5
_MEANING = {
    PATIENT: "all images of one patient of this hospital, by their numbers, are one unit",
    UNIT_KIND: (
        "nobody knows here who is behind a group. One person may be in several groups, may change "
        "a group that is there without them (a replacement, which counts as two changes), and may "
        "join two into one (three changes). So the claim for one group is not a claim for a "
        "person: for a person in two or three groups those for two and three changes hold, and "
        "nothing bounds how many it can be"
    ),
    IMAGE: (
        "asked for by name: one picture is one unit, somebody with k images is k units, and the "
        "claim for one is not a claim for a person"
    ),
}


def unit_meaning(kind: str) -> str:
    """What a claim per unit of this kind protects; for a kind that is not known, the least."""
    return _MEANING.get(kind, _MEANING[IMAGE])


def unit_notes(shard: Shard) -> tuple[str, ...]:
    """Warnings on the kind and the sizes of a shard's units."""
    if shard.unit_kind == IMAGE:
        return (
            "the unit of privacy is the single image, because it was asked for by name: somebody "
            "with k images is protected for one of them at a time, not for all of them together; "
            "it is shown beside every epsilon",
        )
    largest = int(np.bincount(shard.units).max())
    if shard.unit_kind == PATIENT and len(shard) >= _FEW and largest > _SHARE * len(shard):
        return (
            f"one patient has {largest:,} of {len(shard):,} images; is that number a placeholder "
            "which many patients share? They all count as one unit",
        )
    return ()

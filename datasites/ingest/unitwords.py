"""What a data owner is told about the units of a shard beyond their number. Pure."""

from __future__ import annotations

import numpy as np

from datasites.ingest.shard import IMAGE, PATIENT, Shard

_FEW = 20
_SHARE = 0.5


def unit_notes(shard: Shard) -> tuple[str, ...]:
    """Warnings on the kind and the sizes of a shard's units."""
    if shard.unit_kind == IMAGE:
        return (
            "the unit of privacy is the single image, because it was asked for by name: somebody "
            "with k images is protected for one of them at a time, and their epsilons add up; it "
            "is shown beside every epsilon",
        )
    largest = int(np.bincount(shard.units).max())
    if shard.unit_kind == PATIENT and len(shard) >= _FEW and largest > _SHARE * len(shard):
        return (
            f"one patient has {largest:,} of {len(shard):,} images; is that number a placeholder "
            "which many patients share? They all count as one unit",
        )
    return ()

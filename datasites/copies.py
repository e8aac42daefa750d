"""The copy check of a plan's synthetic images, on the hospital's own machine, for its owner.

What it finds is computed from private images without noise and is neither stored nor sent. Single
images are never dropped because of it: a selection that depends on private data would be one more
release through whatever trains on it. All are accepted or discarded (`datasites.synthetic`), of
which the researcher learns a coded reason only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasites.errors import PlanError
from datasites.ingest import load_shard
from datasites.plans.store import PlanStore
from datasites.site import TRAIN, Site
from datasites.worker.protocol import POOLED_IMAGES, SYNTHETIC_IMAGES

if TYPE_CHECKING:
    from models import CopyCheck


def check_copies(site: Site, plan: str) -> CopyCheck:
    """Compare a plan's synthetic images, a pool's after its own, with the training shard.

    Raises:
        PlanError: no such plan, or its generator has made no images yet.
    """
    from models import copy_check

    sha = PlanStore(site).get(plan).bundle.sha256
    folder = site.synthetic(sha)
    if not (folder / SYNTHETIC_IMAGES).exists():
        raise PlanError(f"plan {sha[:12]} has no synthetic images here yet")
    shard = load_shard(site.shard(TRAIN))
    paths = [folder / name for name in (SYNTHETIC_IMAGES, POOLED_IMAGES)]
    made = np.concatenate([np.load(p, allow_pickle=False) for p in paths if p.exists()])
    return copy_check(made, np.asarray(shard.images), np.asarray(shard.units))

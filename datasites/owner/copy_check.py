"""The copy check of a plan's synthetic images, on the hospital's own machine, for its owner.

What it finds is computed from private images without noise and is neither stored nor sent. Single
images are never dropped because of it: a selection that depends on private data would be one more
release through whatever trains on it. All are accepted or discarded
(`datasites.owner.synthetic_images`), of which the researcher learns a coded reason only.

Images of a pool are not compared. Their generators never saw this shard, so they cannot have
memorised a patient of it; and their weights come from outside. Whoever may send what is compared,
and sees whether the plan goes on, could ask of any image they have whether its patient is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasites.errors import PlanError
from datasites.ingest import load_shard
from datasites.site import TRAIN, PlanStore, Site
from datasites.worker import SYNTHETIC_IMAGES

if TYPE_CHECKING:
    from models import CopyCheck


def check_copies(site: Site, plan: str) -> CopyCheck:
    """Compare the images of a plan's own generator with the training shard.

    Raises:
        PlanError: no such plan, or its generator has made no images yet.
    """
    from models import copy_check

    sha = PlanStore(site).get(plan).bundle.sha256
    folder = site.synthetic(sha)
    if not (folder / SYNTHETIC_IMAGES).exists():
        raise PlanError(f"plan {sha[:12]} has no synthetic images here yet")
    shard = load_shard(site.shard(TRAIN))
    made = np.load(folder / SYNTHETIC_IMAGES, allow_pickle=False)
    return copy_check(made, np.asarray(shard.images), np.asarray(shard.units))

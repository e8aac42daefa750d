"""Images drawn from other hospitals' released generators; no shard is there to be read.

Post-processing: each generator was adapted with DP and released by its owner, so drawing from it
costs nobody's epsilon. What came along is not trusted: each generator must be the very file that
its hospital released (by the hash in that hospital's receipt), of exactly the plan's make, finite.
"""

from __future__ import annotations

import numpy as np

from datasites.plans import PoolTask
from datasites.worker.files import JobFiles
from datasites.worker.generators import draw_images, open_generator
from datasites.worker.protocol import POOLED_IMAGES, POOLED_LABELS, POOLED_SOURCES
from models import fresh_generator, unpack_generators, weights_from_bytes, weights_sha256


def warm_up() -> None:
    """Import what the first image would otherwise wait for."""
    fresh_generator(classes=("a", "b"), image_size=16)


def run(files: JobFiles) -> int:
    """Draw from each generator, leave the images; no noised step is taken."""
    job = files.job
    part, task = job.plan.generator, job.task
    if not isinstance(task, PoolTask) or part is None:
        raise TypeError("a pool job needs a pool task and a plan with a generator")
    packed = unpack_generators(files.weights)
    if len(packed) != len(task.sources):
        raise ValueError(f"{len(packed)} generators came along, {len(task.sources)} are named")
    images, labels, sources = [], [], []
    for number, (source, data) in enumerate(zip(task.sources, packed, strict=True)):
        if weights_sha256(data) != source.sha256:
            raise ValueError(f"generator {number} is not the file that was released")
        generator = open_generator(part, classes=job.plan.classes, checkpoint=files.checkpoint)
        generator.adopt(weights_from_bytes(data, like=generator.adapted()))
        drawn, truth = draw_images(generator, part, classes=len(job.plan.classes))
        images.append(drawn)
        labels.append(truth)
        sources.append(np.full(len(truth), number, np.int64))
    files.write_array(POOLED_IMAGES, np.concatenate(images))
    files.write_array(POOLED_LABELS, np.concatenate(labels))
    files.write_array(POOLED_SOURCES, np.concatenate(sources))
    return 0

"""DP adaptation of the plan's generator on the shard, and sampling; the images stay here.

Where the plan declares a generator among its outputs, what training changed is left as well; it
waits on the release desk for its owner.
"""

from __future__ import annotations

from datasites.plans import GenerateTask
from datasites.worker.files import JobFiles
from datasites.worker.generators import adapt_generator, draw_images, open_generator
from datasites.worker.protocol import GENERATOR_FILE, SYNTHETIC_IMAGES, SYNTHETIC_LABELS
from models import fresh_generator, weights_to_bytes


def warm_up() -> None:
    """Import what the first step would otherwise wait for."""
    fresh_generator(classes=("a", "b"), image_size=16)


def run(files: JobFiles) -> int:
    """Adapt, sample, leave the images; returns the steps taken."""
    job = files.job
    part = job.plan.generator
    if not isinstance(job.task, GenerateTask) or part is None:
        raise TypeError("a generate job needs a generate task and a plan with a generator")
    shard = files.training_shard()
    generator = open_generator(part, classes=job.plan.classes, checkpoint=files.checkpoint)
    result = adapt_generator(
        generator,
        part,
        images=shard.images,
        labels=shard.labels,
        units=shard.units,
        published_units=job.published_units,
    )
    images, labels = draw_images(generator, part, classes=len(job.plan.classes))
    files.write_array(SYNTHETIC_IMAGES, images)
    files.write_array(SYNTHETIC_LABELS, labels)
    if job.plan.pools:
        files.write(GENERATOR_FILE, weights_to_bytes(generator.adapted()))
    return result.steps_taken

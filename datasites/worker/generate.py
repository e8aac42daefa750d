"""DP adaptation of the plan's generator on the shard, and sampling; the images stay here.

Where the plan declares a generator among its outputs, what training changed is left as well; it
waits on the release desk for its owner.
"""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from datasites.plans import DpPart, GenerateTask
from datasites.worker.files import JobFiles
from datasites.worker.generators import adapt_generator, draw_images, open_generator
from datasites.worker.protocol import GENERATOR_FILE, SYNTHETIC_IMAGES, SYNTHETIC_LABELS
from models import Generator, fresh_generator, weights_from_bytes, weights_to_bytes


def warm_up() -> None:
    """Import what the first step would otherwise wait for."""
    fresh_generator(classes=("a", "b"), image_size=16)


def run(files: JobFiles) -> int:
    """Adapt, sample, leave the images; returns the steps taken.

    Without data the images are random dots: what noise alone makes of a generator is worth no
    sampling, and their hash must not say that they are not the real ones.
    """
    job = files.job
    part = job.plan.generator
    if not isinstance(job.task, GenerateTask) or part is None:
        raise TypeError("a generate job needs a generate task and a plan with a generator")
    shard = files.training_shard()
    generator, start = files.once(_opened)
    generator.adopt(weights_from_bytes(start, like=generator.adapted()))
    result = adapt_generator(
        generator,
        part,
        images=shard.images,
        labels=shard.labels,
        units=shard.units,
        published_units=job.published_units,
    )
    classes = len(job.plan.classes)
    draw = _dots if files.noise_only else draw_images
    images, labels = draw(generator, part, classes=classes)
    files.write_array(SYNTHETIC_IMAGES, images)
    files.write_array(SYNTHETIC_LABELS, labels)
    if job.plan.pools:
        files.write(GENERATOR_FILE, weights_to_bytes(generator.adapted()))
    return result.steps_taken


def _opened(files: JobFiles) -> tuple[Generator, bytes]:
    """The generator, and what it starts from of all that training changes."""
    part = files.job.plan.generator
    if part is None:
        raise TypeError("the plan has no generator")
    made = open_generator(part, classes=files.job.plan.classes, checkpoint=files.checkpoint)
    return made, weights_to_bytes(made.adapted())


def _dots(
    generator: Generator, part: DpPart, *, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(classes).repeat(part.images_per_class)
    shape = (len(labels), generator.image_size, generator.image_size)
    dots = np.frombuffer(os.urandom(math.prod(shape)), np.uint8)
    return dots.reshape(shape), labels

"""A plan's generator: made, adapted on a shard with DP-SGD, and sampled.

The one place where a generator meets private images. Noise, sampling of units, timesteps and
starting noise are seeded from the operating system, never from a plan. Nothing that depends on the
shard is kept but what noised steps made of the trained parameters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datasites.plans import DpPart, GeneratorPart, StableDiffusionPart
from models import (
    Generator,
    WeightsError,
    fresh_generator,
    pretrained_generator,
    stable_generator,
)
from privacy import DpSgdResult, DpSgdSettings, KeyStream, os_generator, os_noise, train_dp


def open_generator(
    part: GeneratorPart | StableDiffusionPart,
    *,
    classes: tuple[str, ...],
    checkpoint: Path | None = None,
) -> Generator:
    """The generator a plan names, before anything private was seen.

    Args:
        part: of the plan.
        classes: class names, in label order.
        checkpoint: folder of the site's Stable Diffusion checkpoint.

    Raises:
        ModelsError: the weights it starts from are not here, or its sizes do not fit.
    """
    if isinstance(part, StableDiffusionPart):
        if checkpoint is None:
            raise WeightsError("no checkpoint is mounted; set generator_checkpoint in site.toml")
        return stable_generator(
            checkpoint,
            sha256=part.checkpoint_sha256,
            classes=classes,
            prompt=part.prompt,
            image_size=part.image_size,
            rank=part.rank,
            guidance=part.guidance,
        )
    if part.start_sha256 is None:
        return fresh_generator(classes=classes, image_size=part.image_size)
    return pretrained_generator(
        classes=classes,
        image_size=part.image_size,
        sha256=part.start_sha256,
        trains=part.trains,
        rank=part.rank,
    )


def adapt_generator(
    generator: Generator,
    part: DpPart,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    published_units: float,
) -> DpSgdResult:
    """Adapt a generator in place, with differential privacy for units.

    Args:
        generator: from `open_generator`.
        part: steps, rate, noise, clip and draws.
        images: uint8 [N, S, S]; there may be none, then every step is noise alone.
        labels: class of each image, [N].
        units: unit of privacy of each image, [N].
        published_units: the published, noised number of units; steps are divided by the rate times
            this, never by how many came.

    Returns:
        Steps taken and their event.

    Raises:
        GradientError: a per-unit gradient is or would be wrong.
    """
    prepared = generator.prepare(images)
    truth = torch.from_numpy(np.array(labels))
    draws = os_generator()

    def losses(network: nn.Module, index: Tensor) -> Tensor:
        return generator.losses(
            network, prepared[index], truth[index], generator=draws, draws=part.draws
        )

    settings = DpSgdSettings(
        sampling_rate=part.sampling_rate,
        noise_multiplier=part.noise_multiplier,
        clipping_norm=part.clipping_norm,
        expected_units=part.sampling_rate * published_units,
        steps=part.steps,
        chunk_images=generator.images_at_once,
    )
    return train_dp(
        generator.network,
        losses=losses,
        units=torch.from_numpy(np.array(units)),
        settings=settings,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=part.learning_rate),
        sampling=KeyStream(),
        noise=os_noise(),
        public_rows=generator.public_losses(rows=settings.rows),
    )


def draw_images(
    generator: Generator, part: DpPart, *, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """As many images of each class as the plan says: [N, S, S], and their labels [N]."""
    labels = torch.arange(classes).repeat_interleave(part.images_per_class)
    images = generator.sample(labels, steps=part.sampling_steps, generator=os_generator())
    return images, labels.numpy()

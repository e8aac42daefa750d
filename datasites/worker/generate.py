"""DP training of the diffusion generator on the shard, and sampling; the images stay here."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from datasites.plans import GenerateTask, GeneratorPart
from datasites.worker.files import JobFiles
from datasites.worker.protocol import SYNTHETIC_IMAGES, SYNTHETIC_LABELS
from datasites.worker.train import as_tensor
from models import GeneratorSettings, build_generator, diffusion_losses, sample_images
from privacy import DpSgdSettings, os_generator, train_dp


def warm_up() -> None:
    """Import what the first step would otherwise wait for."""
    build_generator(GeneratorSettings(), classes=2)


def run(files: JobFiles) -> int:
    """Train, sample, leave the images; returns the steps taken."""
    job = files.job
    part = job.plan.generator
    if not isinstance(job.task, GenerateTask) or part is None:
        raise TypeError("a generate job needs a generate task and a plan with a generator")
    shard = files.shard("train")
    images = _scaled(shard.images, part.image_size)
    labels = as_tensor(shard.labels)
    settings = GeneratorSettings(image_size=part.image_size)
    model = build_generator(settings, classes=len(job.plan.classes))
    draws = os_generator()

    def losses(network: nn.Module, index: Tensor) -> Tensor:
        return diffusion_losses(network, images[index], labels[index], generator=draws)

    result = train_dp(
        model,
        losses=losses,
        units=as_tensor(shard.units),
        settings=DpSgdSettings(
            sampling_rate=part.sampling_rate,
            noise_multiplier=part.noise_multiplier,
            clipping_norm=part.clipping_norm,
            expected_units=part.sampling_rate * job.published_units,
            steps=part.steps,
        ),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=part.learning_rate),
        sampling=os_generator(),
        noise=os_generator(),
    )
    _sample(files, model, settings, part)
    return result.steps_taken


def _sample(
    files: JobFiles, model: nn.Module, settings: GeneratorSettings, part: GeneratorPart
) -> None:
    classes = len(files.job.plan.classes)
    labels = torch.arange(classes).repeat_interleave(part.images_per_class)
    images = sample_images(
        model, settings, labels=labels, steps=part.sampling_steps, generator=os_generator()
    )
    files.write(SYNTHETIC_IMAGES, _npy(np.asarray(images)))
    files.write(SYNTHETIC_LABELS, _npy(labels.numpy()))


def _scaled(images: NDArray[np.uint8], size: int) -> Tensor:
    """uint8 [N, S, S] to float [N, 1, size, size] in [-1, 1]."""
    tensor = as_tensor(images).float()[:, None] / 127.5 - 1
    return functional.interpolate(tensor, size=(size, size), mode="area")


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

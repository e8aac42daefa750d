"""A small class-conditional diffusion model: diffusers' UNet, its training loss, DDIM sampling.

Noise prediction on a cosine schedule (Ho et al. 2020, arXiv 2006.11239; Nichol & Dhariwal 2021,
arXiv 2102.09672), sampled by DDIM (Song et al. 2020, arXiv 2010.02502).

Made for DP-SGD: the loss is one number per image, and averages several timesteps of one image
before its gradient is clipped (noise multiplicity, Dockhorn et al. 2022, arXiv 2210.09929), which
lowers the gradient's variance at no privacy cost. GroupNorm only. No attention: it makes
activations channels-last, for which Opacus 1.6 computes wrong per-sample gradients of convolutions
in silence. Works under Opacus' GradSampleModule: each draw is a forward pass of its own over the
same rows, and Opacus adds up what the passes leave for one row.

This module says nothing about privacy by itself: a generator trained without DP on patients passes
those patients on to whoever sees its images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import GeneratorError
from models.generators.settings import GeneratorSettings

__all__ = [
    "GeneratorSettings",
    "averaged_losses",
    "build_generator",
    "denoise",
    "diffusion_losses",
    "predicted",
    "sample_images",
]

Predict = Callable[[Tensor, Tensor], Tensor]
SAMPLE_BATCH = 64
"""Images that are denoised at once."""


def build_generator(settings: GeneratorSettings, *, classes: int) -> UNet2DModel:
    """Build a generator with fresh weights from torch's global generator.

    Args:
        settings: its size.
        classes: number of class labels.

    Returns:
        A UNet from noised images float32 [B, 1, S, S], timesteps int64 [B] and, by keyword,
        `class_labels` int64 [B] to the predicted noise [B, 1, S, S].

    Raises:
        GeneratorError: fewer than one or more than 256 classes.
    """
    if not 1 <= classes <= 256:
        raise GeneratorError(f"{classes} classes; have 1 to 256")
    levels = len(settings.channels)
    return UNet2DModel(
        sample_size=settings.image_size,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=settings.channels,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        add_attention=False,
        attention_head_dim=None,
        norm_num_groups=settings.groups,
        num_class_embeds=classes,
        num_train_timesteps=settings.timesteps,
    )


def diffusion_losses(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator,
    draws: int = 1,
) -> Tensor:
    """The denoising loss of each image.

    Args:
        model: from `build_generator`, or that wrapped by Opacus.
        images: float32 [B, 1, S, S] in [-1, 1].
        labels: int64 [B].
        generator: CPU generator of timesteps and noise.
        draws: K, timesteps per image; each costs one pass.

    Returns:
        float32 [B]: mean over K draws and all pixels of (noise - predicted noise)^2.

    Raises:
        GeneratorError: shapes, types or K are wrong.
    """
    _check_images(images)
    _check_labels(model, labels, count=len(images))
    schedule = _schedule(int(_config(model).num_train_timesteps))

    def predict(noised: Tensor, steps: Tensor) -> Tensor:
        return predicted(model, noised, labels, steps)

    return averaged_losses(predict, images, schedule=schedule, generator=generator, draws=draws)


def predicted(model: nn.Module, noised: Tensor, labels: Tensor, steps: Tensor) -> Tensor:
    """What a network from `build_generator` predicts of noised images [B, 1, S, S]."""
    noise: Tensor = model(noised, steps, class_labels=labels, return_dict=False)[0]
    return noise


def averaged_losses(
    predict: Predict, clean: Tensor, *, schedule: Any, generator: torch.Generator, draws: int
) -> Tensor:
    """The denoising loss of each row, averaged over its draws; row i depends on row i alone.

    Args:
        predict: noised rows [B, ...] and timesteps int64 [B] to the predicted target [B, ...].
        clean: float32 [B, ...].
        schedule: of the noise; its `prediction_type` says what the target is.
        generator: CPU generator of timesteps and noise.
        draws: K, timesteps of each row.

    Returns:
        float32 [B].

    Raises:
        GeneratorError: there is no draw.
    """
    if draws < 1:
        raise GeneratorError(f"{draws} draws per image; have at least 1")
    total = torch.zeros(len(clean), device=clean.device)
    for _ in range(draws):
        steps = torch.randint(
            schedule.config.num_train_timesteps, (len(clean),), generator=generator
        )
        steps = steps.to(clean.device)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noised = schedule.add_noise(clean, noise, steps)
        target = noise
        if schedule.config.prediction_type == "v_prediction":
            target = schedule.get_velocity(clean, noise, steps)
        total = total + (predict(noised, steps) - target).square().flatten(1).mean(dim=1)
    return total / draws


def denoise(predict: Predict, start: Tensor, *, schedule: Any, steps: int) -> Tensor:
    """From noise to clean rows by DDIM, without noise on the way.

    Args:
        predict: as for `averaged_losses`, with one timestep for all rows.
        start: noise, [B, ...].
        schedule: whose settings are used; it is not changed.
        steps: DDIM steps.
    """
    fresh = DDIMScheduler.from_config(schedule.config)
    fresh.set_timesteps(steps)
    rows = start
    for step in fresh.timesteps:
        rows = fresh.step(predict(rows, step), step, rows, return_dict=False)[0]
    return rows


def sample_images(
    model: nn.Module,
    settings: GeneratorSettings,
    *,
    labels: Tensor,
    steps: int,
    generator: torch.Generator,
) -> NDArray[np.uint8]:
    """Draw images of given classes.

    Args:
        model: from `build_generator` with these settings, trained.
        settings: its size.
        labels: int64 [N], the class of each image.
        steps: DDIM steps, 1 to `settings.timesteps`.
        generator: CPU generator of the starting noise; with it the images are determined.

    Returns:
        uint8 [N, S, S].

    Raises:
        GeneratorError: labels or steps are wrong, or the model predicts NaN.
    """
    _check_labels(model, labels, count=labels.numel())
    if not 1 <= steps <= settings.timesteps:
        raise GeneratorError(f"{steps} DDIM steps; choose 1 to {settings.timesteps}")
    images = np.empty((len(labels), settings.image_size, settings.image_size), np.uint8)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for at in range(0, len(labels), SAMPLE_BATCH):
            part = labels[at : at + SAMPLE_BATCH]
            grey = _denoise(model, settings, part, steps=steps, generator=generator)
            images[at : at + SAMPLE_BATCH] = grey.cpu().numpy()
    finally:
        for module, mode in modes:
            module.training = mode
    return images


@torch.no_grad()
def _denoise(
    model: nn.Module,
    settings: GeneratorSettings,
    labels: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    size = settings.image_size
    noise = torch.randn((len(labels), 1, size, size), generator=generator).to(labels.device)

    def predict(images: Tensor, step: Tensor) -> Tensor:
        predicted: Tensor = model(images, step, class_labels=labels, return_dict=False)[0]
        return predicted

    images = denoise(predict, noise, schedule=_schedule(settings.timesteps), steps=steps)
    if not bool(torch.isfinite(images).all()):
        raise GeneratorError("the generator makes NaN; its training diverged, use smaller steps")
    grey = (images[:, 0].clamp(-1, 1) + 1) * 127.5
    return grey.round().to(torch.uint8)


@lru_cache(maxsize=8)
def _schedule(timesteps: int) -> Any:
    """A schedule that is only asked to add noise, or copied, and so can be shared."""
    return DDIMScheduler(
        num_train_timesteps=timesteps, beta_schedule="squaredcos_cap_v2", clip_sample=True
    )


def _config(model: nn.Module) -> Any:
    """What `build_generator` left in the model, wrapped by Opacus or not."""
    inner: Any = getattr(model, "_module", model)
    return inner.config


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 1 or images.dtype != torch.float32:
        raise GeneratorError(
            f"images are {images.dtype} {list(images.shape)}; give float32 [B, 1, S, S] in [-1, 1]"
        )


def _check_labels(model: nn.Module, labels: Tensor, *, count: int) -> None:
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise GeneratorError(
            f"labels are {labels.dtype} {list(labels.shape)}; give int64 [{count}]"
        )
    classes = int(_config(model).num_class_embeds)
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise GeneratorError(
            f"labels run from {int(labels.min())} to {int(labels.max())}; "
            f"this generator knows 0 to {classes - 1}"
        )

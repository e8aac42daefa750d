"""The small UNet as a generator: from scratch, or adapted from the weights that ship with Dura."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from diffusers import UNet2DModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.errors import GeneratorError
from models.generators.diffusion import build_generator, diffusion_losses, predicted, sample_images
from models.generators.generator import Generator
from models.generators.lora import Trains, choose_trained
from models.generators.pretrained import load_start
from models.generators.settings import GeneratorSettings
from models.images import each_alone


@final
class SmallGenerator(Generator):
    """`models.generators.diffusion`'s UNet with its loss and its sampling."""

    def __init__(self, network: UNet2DModel, settings: GeneratorSettings) -> None:
        super().__init__(network, image_size=settings.image_size)
        self._settings = settings

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 [N, R, R] to float32 [N, 1, S, S] in [-1, 1]."""
        size = (self.image_size,) * 2
        return each_alone(
            lambda image: functional.interpolate(
                image.float()[:, None] / 127.5 - 1, size, mode="area"
            ),
            images,
        )

    def losses(
        self,
        network: nn.Module,
        prepared: Tensor,
        labels: Tensor,
        *,
        generator: torch.Generator,
        draws: int,
    ) -> Tensor:
        """See `models.generators.diffusion.diffusion_losses`."""
        return diffusion_losses(network, prepared, labels, generator=generator, draws=draws)

    def predict(self, network: nn.Module, noised: Tensor, labels: Tensor, steps: Tensor) -> Tensor:
        """The noise in noised images [B, 1, S, S]."""
        return predicted(network, noised, labels, steps)

    def sample(
        self, labels: Tensor, *, steps: int, generator: torch.Generator
    ) -> NDArray[np.uint8]:
        """See `models.generators.diffusion.sample_images`."""
        return sample_images(
            self.network, self._settings, labels=labels, steps=steps, generator=generator
        )


def fresh_generator(*, classes: tuple[str, ...], image_size: int) -> SmallGenerator:
    """A generator with random weights, all of which are trained.

    Raises:
        GeneratorError: no generator has that size or as many classes.
    """
    settings = GeneratorSettings(image_size=image_size)
    return SmallGenerator(build_generator(settings, classes=len(classes)).train(), settings)


def pretrained_generator(
    *, classes: tuple[str, ...], image_size: int, sha256: str, trains: Trains, rank: int = 4
) -> SmallGenerator:
    """A generator that has seen phantoms, with what is to be trained marked.

    Args:
        classes: class names, in label order.
        image_size: S, as the plan has it.
        sha256: of the weights it starts from, as the plan pins it.
        trains: which parameters are trained.
        rank: of low-rank additions.

    Raises:
        WeightsError: the weights here are not those.
        GeneratorError: they make images of another size, or `trains` or `rank` are out of range.
    """
    network, settings = load_start(classes=classes, sha256=sha256)
    if settings.image_size != image_size:
        raise GeneratorError(
            f"the pretrained generator makes images of {settings.image_size} px, not {image_size}; "
            f"set image_size = {settings.image_size}"
        )
    choose_trained(network, trains=trains, rank=rank)
    return SmallGenerator(network, settings)

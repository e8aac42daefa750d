"""What a hospital adapts and samples from, whatever network it is.

A generator has a network, of which some parameters are trained and the rest never change. What
training changed (`adapted`) is all that an adapted generator is, beside the public weights it
started from: it can be taken over by another one of the same make (`adopt`).

This module says nothing about privacy by itself: a generator adapted without DP on patients passes
those patients on to whoever sees its weights or its images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import GeneratorError

_LEAST_TIMESTEPS = 10  # every schedule has as many


class Generator(ABC):
    """A class-conditional generator of grey images.

    Attributes:
        network: what is trained; in training mode, frozen parameters marked as such.
        image_size: S, pixels of the images it makes.
        images_at_once: rows whose gradients may be held in memory at once.
    """

    images_at_once: ClassVar[int] = 64

    def __init__(self, network: nn.Module, *, image_size: int) -> None:
        self.network = network
        self.image_size = image_size

    @abstractmethod
    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Images uint8 [N, R, R] as `losses` takes them: [N, ...].

        Row i is the same to the last bit whatever the other images are.
        """

    @abstractmethod
    def losses(
        self,
        network: nn.Module,
        prepared: Tensor,
        labels: Tensor,
        *,
        generator: torch.Generator,
        draws: int,
    ) -> Tensor:
        """The denoising loss of each row, averaged over `draws` timesteps of that row: [B].

        Row i depends on nothing of the other rows, so that the gradient of a unit's mean loss is
        what one clip bounds, however many timesteps went into it (Dockhorn et al. 2022).

        Raises:
            GeneratorError: shapes, types or draws are wrong.
        """

    @abstractmethod
    def predict(self, network: nn.Module, noised: Tensor, labels: Tensor, steps: Tensor) -> Tensor:
        """What `network` predicts of each noised row at its timestep: as `noised`, [B, ...]."""

    @final
    def public_losses(self, *, rows: int) -> Callable[[nn.Module, Tensor], Tensor]:
        """Losses of drawn rows, the same at every call: for a rehearsal that sees no patient.

        Args:
            rows: how many rows there are; an index is of [0, rows).
        """
        draws = torch.Generator().manual_seed(0)
        shape = self.prepare(np.zeros((1, 16, 16), np.uint8)).shape[1:]
        noised, target = torch.randn((2, rows, *shape), generator=draws)
        steps = torch.randint(_LEAST_TIMESTEPS, (rows,), generator=draws)
        labels = torch.zeros(rows, dtype=torch.int64)

        def losses(network: nn.Module, index: Tensor) -> Tensor:
            found = self.predict(network, noised[index], labels[index], steps[index])
            return (found - target[index]).square().flatten(1).mean(1)

        return losses

    @abstractmethod
    def sample(
        self, labels: Tensor, *, steps: int, generator: torch.Generator
    ) -> NDArray[np.uint8]:
        """Draw images of given classes: uint8 [N, S, S].

        Raises:
            GeneratorError: labels or steps are wrong, or the network predicts NaN.
        """

    @final
    def adapted(self) -> dict[str, Tensor]:
        """The trained parameters, by name: copies."""
        return {
            name: parameter.detach().clone()
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }

    @final
    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Take over what another generator of the same make learnt.

        Raises:
            GeneratorError: it is of another make; names a parameter.
        """
        own = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        odd = sorted(set(own) ^ set(state))
        odd += [n for n in set(own) & set(state) if own[n].shape != state[n].shape]
        if odd:
            raise GeneratorError(
                f"these weights are of another generator: {odd[0]!r} is missing here or there, or "
                "has another shape"
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])

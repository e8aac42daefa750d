"""Synthetic images for one hospital, by kind: what an ablation of augmentation compares.

    none         nothing is added
    classical    nothing is added; real images are varied (flips, shifts, brightness)
    local_dp     images of the hospital's own generator, adapted with DP
    pooled_dp    those, and images of the other hospitals' DP generators (post-processing)
    non_private  images of a generator adapted without clipping or noise; only where owners waive DP

For benchmarks over shards that lie in one process. Adaptation and drawing are those of the
hospitals' jobs (`datasites.worker.generators`), so a benchmark measures what a study does. A
generator is adapted once, however many kinds and hospitals use its images. As in a job, noise,
sampling and starting noise come from the operating system: a benchmark's seeds do not fix them,
repetitions show their spread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datasites import (
    GeneratorPart,
    StableDiffusionPart,
    adapt_generator,
    draw_images,
    open_generator,
)
from models import Generator
from orchestrator.errors import StudyError
from privacy import DpEvent, compose, non_private, os_generator, os_rng

log = logging.getLogger("dura.ablation")


class Synthetic(StrEnum):
    """What is added to a hospital's real images."""

    NONE = "none"
    CLASSICAL = "classical"
    LOCAL_DP = "local_dp"
    POOLED_DP = "pooled_dp"
    NON_PRIVATE = "non_private"


@dataclass(frozen=True, kw_only=True)
class HospitalImages:
    """A hospital's training half.

    Attributes:
        images: uint8 [N, S, S].
        labels: int64 [N].
        units: unit of privacy of each image, int64 [N].
        published_units: the published, noised number of units.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    published_units: float


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What one hospital gets.

    Attributes:
        augment: whether its real images are varied.
        images: uint8 [M, S, S], perhaps none; every one is synthetic.
        labels: int64 [M].
        sources: index of the hospital whose generator drew each, int64 [M].
        event: what its patients pay for all of it, to be composed with the classifier's events.
    """

    augment: bool
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sources: NDArray[np.int64]
    event: DpEvent


class Ablation:
    """The hospitals of a benchmark, and generators that are adapted when first asked for."""

    def __init__(
        self,
        hospitals: Sequence[HospitalImages],
        part: GeneratorPart | StableDiffusionPart,
        *,
        classes: tuple[str, ...],
        checkpoint: Path | None = None,
    ) -> None:
        self._hospitals = hospitals
        self._part = part
        self._classes = classes
        self._checkpoint = checkpoint
        self._drawn: dict[tuple[int, bool], Extra] = {}

    def added(self, hospital: int, kind: Synthetic) -> Extra:
        """What a hospital gets.

        Args:
            hospital: its index.
            kind: of what is added.

        Raises:
            StudyError: there is no such hospital.
            GradientError, ModelsError: the generator cannot be adapted.
        """
        if not 0 <= hospital < len(self._hospitals):
            raise StudyError(f"hospital {hospital} of {len(self._hospitals)}; count from 0")
        match kind:
            case Synthetic.NONE | Synthetic.CLASSICAL:
                return self._nothing(augment=kind is Synthetic.CLASSICAL)
            case Synthetic.LOCAL_DP:
                return self._own(hospital, private=True)
            case Synthetic.NON_PRIVATE:
                return self._own(hospital, private=False)
            case Synthetic.POOLED_DP:
                own = self._own(hospital, private=True)
                all_of = [self._own(n, private=True) for n in range(len(self._hospitals))]
                return Extra(
                    augment=False,
                    images=np.concatenate([one.images for one in all_of]),
                    labels=np.concatenate([one.labels for one in all_of]),
                    sources=np.concatenate([one.sources for one in all_of]),
                    event=own.event,
                )

    def _nothing(self, *, augment: bool) -> Extra:
        size = self._part.image_size
        none = np.empty(0, np.int64)
        return Extra(
            augment=augment,
            images=np.empty((0, size, size), np.uint8),
            labels=none,
            sources=none,
            event=compose([]),
        )

    def _own(self, hospital: int, *, private: bool) -> Extra:
        """Images of one hospital's own generator, drawn once."""
        key = (hospital, private)
        if key not in self._drawn:
            self._drawn[key] = self._adapted(hospital, private=private)
        return self._drawn[key]

    def _adapted(self, hospital: int, *, private: bool) -> Extra:
        shard = self._hospitals[hospital]
        generator = open_generator(self._part, classes=self._classes, checkpoint=self._checkpoint)
        if private:
            event = adapt_generator(
                generator,
                self._part,
                images=shard.images,
                labels=shard.labels,
                units=shard.units,
                published_units=shard.published_units,
            ).event
        else:
            event = unsafe_adapt_without_privacy(generator, self._part, shard)
        images, labels = draw_images(generator, self._part, classes=len(self._classes))
        return Extra(
            augment=False,
            images=images,
            labels=labels,
            sources=np.full(len(labels), hospital, np.int64),
            event=event,
        )


def unsafe_adapt_without_privacy(
    generator: Generator, part: GeneratorPart | StableDiffusionPart, shard: HospitalImages
) -> DpEvent:
    """Adapt a generator without any privacy: its images may be copies of patients.

    As many steps over as many units as with DP, without clipping or noise, so that only privacy
    differs. Returns the event, which is infinite.
    """
    log.warning("a generator is adapted WITHOUT privacy; its images may copy patients")
    prepared, truth = generator.prepare(shard.images), torch.from_numpy(shard.labels.copy())
    rng, draws = os_rng(), os_generator()
    parameters = [p for p in generator.network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=part.learning_rate)
    known = np.unique(shard.units)
    for _ in range(part.steps):
        joined = known[rng.random(len(known)) < part.sampling_rate]
        rows = torch.from_numpy(np.flatnonzero(np.isin(shard.units, joined)))
        if not len(rows):
            continue
        losses = generator.losses(
            generator.network, prepared[rows], truth[rows], generator=draws, draws=part.draws
        )
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizer.step()
    return non_private()

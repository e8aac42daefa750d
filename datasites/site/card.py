"""The data card: what the world may know about a shard. Pure.

Counts leave noised, in one Gaussian release: the class histogram (L2 sensitivity 1 per unit), and
beside it how many units stood on both sides of the split (changed by at most 1 by one unit) and,
where the shard replaces another, what that changed (`datasites.ingest.changes`). What is counted
depends on the owner's choices alone: on whether there is a test folder, a former version, and on
the kind of unit. The published number of units is what training divides by; the exact one never
leaves.

A card of an earlier release (version 1) named its data by a hash without a key, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasites.ingest import CAME_AND_GONE_L2, REGROUPED_L2, Changes, unit_meaning
from datasites.plans import MOST_UNITS, Hex64, NoisedCount, ShortText

NOISE_MULTIPLIER = 10.0
SIDE_NOISE = 20.0
CHANGE_NOISE = 40.0
REGROUPED_NOISE = 80.0
"""Standard deviations: of the histogram, of the units on both sides, of those gone and come, and of
those regrouped. Larger where one unit changes more, so that a card costs little more by them."""

UnitKind = Literal["patient", "near-duplicate group", "image"]


@dataclass(frozen=True, kw_only=True)
class SideCounts:
    """What is counted beside the histogram; None is not counted, by the owner's choices alone.

    Attributes:
        straddling: units with images in the training and in the test folder.
        changes: against the former version.
    """

    straddling: int | None = None
    changes: Changes | None = None

    @property
    def given(self) -> tuple[int, ...]:
        """The counts there are."""
        made = () if self.changes is None else (self.changes.gone, self.changes.came)
        more = None if self.changes is None else self.changes.regrouped
        return tuple(count for count in (self.straddling, *made, more) if count is not None)

    @property
    def noise_multiplier(self) -> float:
        """Of the whole release, by what one unit moves of each count against that count's noise."""
        moved = [1.0 / NOISE_MULTIPLIER]
        if self.straddling is not None:
            moved.append(1.0 / SIDE_NOISE)
        if self.changes is not None:
            moved.append(CAME_AND_GONE_L2 / CHANGE_NOISE)
            if self.changes.regrouped is not None:
                moved.append(REGROUPED_L2 / REGROUPED_NOISE)
        return float(np.linalg.norm(moved)) ** -1.0

    def with_histogram(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows that add up to all counts, scaled so that one unit moves the sums by at most 1.

        On the grid each 1 of a count is the same whole number of steps, rounded toward zero, so
        what one unit moves there is no more than it is here, whichever rows it is in.

        Args:
            weights: what each unit adds to the histogram, [n_units, C].

        Returns:
            [rows, C + counts], each row of at most 1 in L2 norm. Rows are as many as units, or as
            the largest count: a former version may have had more units than there are now.
        """
        rows = max(len(weights), *self.given, 0)
        scaled = np.zeros((rows, weights.shape[1] + len(self.given)))
        scaled[: len(weights), : weights.shape[1]] = weights
        for column, count in enumerate(self.given, start=weights.shape[1]):
            scaled[:count, column] = 1.0
        return scaled * self._scales(weights.shape[1])

    def split(self, noised: NDArray[np.float64]) -> tuple[NDArray[np.float64], NoisedSides]:
        """The noised histogram and the other counts, from the noised scaled counts."""
        length = len(noised) - len(self.given)
        plain = noised / self._scales(length)
        rest = iter(max(0.0, float(np.rint(count))) for count in plain[length:])
        straddling = None if self.straddling is None else next(rest)
        if self.changes is None:
            return plain[:length], NoisedSides(straddling=straddling)
        gone, came = next(rest), next(rest)
        regrouped = None if self.changes.regrouped is None else next(rest)
        sides = NoisedSides(straddling=straddling, gone=gone, came=came, regrouped=regrouped)
        return plain[:length], sides

    def _scales(self, length: int) -> NDArray[np.float64]:
        noises = [NOISE_MULTIPLIER] * length
        if self.straddling is not None:
            noises.append(SIDE_NOISE)
        if self.changes is not None:
            noises += [CHANGE_NOISE] * 2
            if self.changes.regrouped is not None:
                noises.append(REGROUPED_NOISE)
        return self.noise_multiplier / np.array(noises)


@dataclass(frozen=True, kw_only=True)
class NoisedSides:
    """The noised counts beside the histogram; None is what was not counted."""

    straddling: float | None = None
    gone: float | None = None
    came: float | None = None
    regrouped: float | None = None


Deviation = Annotated[float, Field(gt=0, le=1e6)]
Counted = Annotated[float, Field(ge=-MOST_UNITS, le=MOST_UNITS)]


class DataCard(BaseModel):
    """One shard, as published.

    Attributes:
        site: display name. email: syft identity.
        public_key: hex Ed25519 key that signs this site's ledger, approvals and receipts.
        dataset_version: keyed hash of the shard: equal for equal data, and to nobody without the
            hospital's key does it say anything about an image, a label or a unit.
        classes: class names. image_size: pixels a side.
        unit: the unit of privacy; the neighbouring relation is add or remove one.
        units: noised number of units, from 1 to a thousand million.
        units_per_class: noised histogram; a unit weighs 1, spread over its images' classes.
        noise_multiplier: standard deviation of the histogram's noise.
        straddling_units: noised number of units that had images in the training and in the test
            folder and were left out of the latter; None where there is no test folder.
        side_noise: standard deviation of that.
        gone_units: noised number of units of the former version that are not in this one as they
            were; None where there was no former version, as of the two that follow.
        new_units: noised number of units that were not in the former version as they are.
        change_noise: standard deviation of these two.
        regrouped_units: noised number of groups that were joined or fell apart; None also where
            units are no near-duplicate groups.
        regrouped_noise: standard deviation of that.
        mock: name of the published mock data set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[2] = 2
    site: ShortText
    email: Annotated[str, Field(max_length=200, pattern=r"^[!-~]*$")]
    public_key: Hex64
    dataset_version: Hex64
    classes: Annotated[tuple[ShortText, ...], Field(max_length=64)]
    image_size: Annotated[int, Field(ge=1, le=4096)]
    unit: UnitKind
    units: Annotated[float, Field(ge=1, le=MOST_UNITS)]
    units_per_class: tuple[Counted, ...]
    noise_multiplier: Deviation
    mock: ShortText
    straddling_units: NoisedCount | None = None
    side_noise: Deviation = SIDE_NOISE
    gone_units: NoisedCount | None = None
    new_units: NoisedCount | None = None
    change_noise: Deviation = CHANGE_NOISE
    regrouped_units: NoisedCount | None = None
    regrouped_noise: Deviation = REGROUPED_NOISE

    @model_validator(mode="after")
    def _fits_together(self) -> DataCard:
        if len(self.units_per_class) != len(self.classes):
            raise ValueError(
                f"units_per_class has {len(self.units_per_class)} counts of {len(self.classes)} "
                "classes"
            )
        return self

    @property
    def unit_meaning(self) -> str:
        """Whom a claim per unit is for, in words that stand beside it."""
        return unit_meaning(self.unit)

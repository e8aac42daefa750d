"""The data card: what the world may know about a shard. Pure.

Counts leave noised, in one Gaussian release: the class histogram (L2 sensitivity 1 per unit), and
beside it how many units were joined and how many stood on both sides of the split (each changed by
at most 1 by one unit, with more noise). The published number of units is what training divides by;
the exact one never leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

NOISE_MULTIPLIER = 10.0
SIDE_NOISE = 20.0

UnitKind = Literal["patient", "near-duplicate group", "image"]


@dataclass(frozen=True, kw_only=True)
class SideCounts:
    """What is counted beside the histogram; None is not counted, by the owner's settings alone.

    Attributes:
        joined: units that hold several patients' numbers.
        straddling: units with images in the training and in the test folder.
    """

    joined: int | None = None
    straddling: int | None = None

    @property
    def given(self) -> tuple[int, ...]:
        """The counts there are."""
        return tuple(count for count in (self.joined, self.straddling) if count is not None)

    @property
    def noise_multiplier(self) -> float:
        """Of the whole release: one unit moves the histogram and each count by 1 at most."""
        return (NOISE_MULTIPLIER**-2 + len(self.given) * SIDE_NOISE**-2) ** -0.5

    def with_histogram(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What units add to all counts, scaled to a row of at most 1 in L2 norm.

        Args:
            weights: what each adds to the histogram, [n_units, C].

        Returns:
            [n_units, C + counts]. Which rows a count's units are given is no matter for the sums.
        """
        beside = np.zeros((len(weights), len(self.given)))
        for column, count in enumerate(self.given):
            beside[:count, column] = 1.0
        return np.hstack([weights, beside]) * self._scales(weights.shape[1])

    def split(
        self, noised: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float | None, float | None]:
        """The noised histogram, joined and straddling units, from the noised scaled counts."""
        length = len(noised) - len(self.given)
        plain = noised / self._scales(length)
        rest = iter(max(0.0, float(np.rint(count))) for count in plain[length:])
        joined, straddling = (
            None if count is None else next(rest) for count in (self.joined, self.straddling)
        )
        return plain[:length], joined, straddling

    def _scales(self, length: int) -> NDArray[np.float64]:
        noises = [NOISE_MULTIPLIER] * length + [SIDE_NOISE] * len(self.given)
        return self.noise_multiplier / np.array(noises)


class DataCard(BaseModel):
    """One shard, as published.

    Attributes:
        site: display name. email: syft identity.
        public_key: hex Ed25519 key that signs this site's ledger, approvals and receipts.
        dataset_version: keyed hash of the shard: equal for equal data, and to nobody without the
            hospital's key does it say anything about an image, a label or a unit.
        classes: class names. image_size: pixels a side.
        unit: the unit of privacy; the neighbouring relation is add or remove one.
        units: noised number of units, at least 1.
        units_per_class: noised histogram; a unit weighs 1, spread over its images' classes.
        noise_multiplier: standard deviation of the histogram's noise.
        joined_units: noised number of units in which several patients' numbers were joined, because
            images are nearly identical; None where no numbers were looked for.
        straddling_units: noised number of units that had images in the training and in the test
            folder and were left out of the latter; None where there is no test folder.
        side_noise: standard deviation of these two.
        mock: name of the published mock data set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    site: str
    email: str
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    dataset_version: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    classes: tuple[str, ...]
    image_size: int
    unit: UnitKind
    units: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    units_per_class: tuple[float, ...]
    noise_multiplier: float
    mock: str
    joined_units: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    straddling_units: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    side_noise: float = SIDE_NOISE

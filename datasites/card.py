"""The data card: what the world may know about a shard. Pure.

Counts leave noised (one Gaussian release over the class histogram, L2 sensitivity 1 per unit).
The published number of units is what training divides by; the exact one never leaves.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NOISE_MULTIPLIER = 10.0


class DataCard(BaseModel):
    """One shard, as published.

    Attributes:
        site: display name. email: syft identity.
        public_key: hex Ed25519 key that signs this site's ledger, approvals and receipts.
        dataset_version: hash of the shard.
        classes: class names. image_size: pixels a side.
        unit: the unit of privacy.
        units: noised number of units, at least 1.
        units_per_class: noised histogram; a unit weighs 1, spread over its images' classes.
        noise_multiplier: standard deviation of the noise.
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
    unit: str
    units: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    units_per_class: tuple[float, ...]
    noise_multiplier: float
    mock: str

"""The card of the small CNN's start: what it saw, how it was made, and its hash.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from models.card_file import read_card_file

ASSETS: Final = Path(__file__).parent / "assets" / "phantom_cnn"
WEIGHTS_FILE: Final = "phantom_cnn.safetensors"
MAX_BYTES: Final = 2 * 1024 * 1024


class CnnCard(BaseModel):
    """What stands in `card.json`.

    Attributes:
        version: of the card's format.
        name: of the start.
        sha256: of the weights file.
        saw: everything the weights were fitted to.
        never_saw: what they were not.
        made_by: the command, its settings and seed.
        licence: of the weights.
        measured: figures on phantoms, by name.
        limits: what it should not be used for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    saw: tuple[str, ...]
    never_saw: str
    made_by: str
    licence: str
    measured: dict[str, float]
    limits: str


def read_cnn_card(folder: Path = ASSETS) -> CnnCard:
    """The card of a start; the shipped one by default.

    Raises:
        WeightsError: it is missing or not a card.
    """
    return read_card_file(folder, CnnCard, what="the small CNN")[0]

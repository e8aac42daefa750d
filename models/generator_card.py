"""The card of the generator that ships with Dura: what it saw, how it was made, and its hash.

Importing this module imports nothing heavy: a study is written without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from models.card_file import read_card_file
from models.settings import GeneratorSettings

ASSETS: Final = Path(__file__).parent / "assets" / "generator"
WEIGHTS_FILE = "generator.safetensors"


class GeneratorCard(BaseModel):
    """What stands in `card.json`.

    Attributes:
        version: of the card's format.
        name: of the generator.
        sha256: of the weights file.
        image_size, channels, groups, timesteps: its shape.
        classes: what it was taught to draw, in label order.
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
    image_size: int
    channels: tuple[int, ...]
    groups: int
    timesteps: int
    classes: tuple[str, ...]
    saw: tuple[str, ...]
    never_saw: str
    made_by: str
    licence: str
    measured: dict[str, float]
    limits: str

    @property
    def shape(self) -> GeneratorSettings:
        """Of the network.

        Raises:
            GeneratorError: no generator has that shape.
        """
        return GeneratorSettings(
            image_size=self.image_size,
            channels=self.channels,
            groups=self.groups,
            timesteps=self.timesteps,
        )


def read_generator_card(folder: Path = ASSETS) -> GeneratorCard:
    """The card of a pretrained generator; the shipped one by default.

    Raises:
        WeightsError: it is missing or not a card.
    """
    return read_card_file(folder, GeneratorCard, what="a generator")[0]

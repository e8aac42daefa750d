"""The card of the generator that ships with Dura: what it saw, how it was made, and its hash.

Importing this module imports nothing heavy: a study is written without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.generators.settings import GeneratorSettings
from models.weights import SHIPPED, WeightsCard, read_card_file

ASSETS: Final = SHIPPED / "generator"
WEIGHTS_FILE = "generator.safetensors"


class GeneratorCard(WeightsCard):
    """That of a generator.

    Attributes:
        image_size, channels, groups, timesteps: its shape.
        classes: what it was taught to draw, in label order.
    """

    image_size: int
    channels: tuple[int, ...]
    groups: int
    timesteps: int
    classes: tuple[str, ...]

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

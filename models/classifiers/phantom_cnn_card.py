"""The card of the small CNN's start: what it saw, how it was made, and its hash.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.weights import SHIPPED, WeightsCard, read_card_file

ASSETS: Final = SHIPPED / "phantom_cnn"
WEIGHTS_FILE: Final = "phantom_cnn.safetensors"
MAX_BYTES: Final = 2 * 1024 * 1024


def read_cnn_card(folder: Path = ASSETS) -> WeightsCard:
    """The card of a start; the shipped one by default.

    Raises:
        WeightsError: it is missing or not a card.
    """
    return read_card_file(folder, WeightsCard, what="the small CNN")[0]

"""Reading `card.json`, which stands beside weights and says what they are. IO, free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from models.errors import WeightsError

CARD_FILE = "card.json"
_MAX_BYTES = 64 * 1024

Card = TypeVar("Card", bound=BaseModel)


def read_card_file(folder: Path, kind: type[Card], *, what: str) -> tuple[Card, bytes]:
    """A card and its bytes.

    Args:
        folder: holds the card.
        kind: of card.
        what: whose card it is, for messages.

    Raises:
        WeightsError: it is missing, too large, or no such card.
    """
    path = folder / CARD_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        return kind.model_validate(json.loads(data)), data
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        raise WeightsError(f"{path} is not {what}'s card: {error}") from error

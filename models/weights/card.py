"""`card.json`, which stands beside weights and says what they are: its fields, and reading it.

IO, free of torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.errors import WeightsError

CARD_FILE = "card.json"
SHIPPED: Final = Path(__file__).parents[1] / "assets"
"""Where the weights that ship with Dura lie, each in a folder with its card."""
_MAX_BYTES = 64 * 1024

Card = TypeVar("Card", bound=BaseModel)


def _printable(text: str) -> str:
    """A card may come from outside and is shown to people: nothing in it moves a cursor."""
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return text


Text = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]


class WeightsCard(BaseModel):
    """What the card of any weights says.

    Attributes:
        version: of the card's format.
        name: of the weights.
        sha256: of the weights file.
        saw: everything the weights were fitted to.
        never_saw: what they were not.
        made_by: what made them, with its settings and seed.
        licence: of the weights and of what they started from.
        measured: figures on phantoms, by name.
        limits: what they should not be used for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    name: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    saw: tuple[Text, ...]
    never_saw: Text
    made_by: Text
    licence: Text
    measured: dict[Text, float]
    limits: Text


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

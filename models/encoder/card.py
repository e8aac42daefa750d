"""An encoder's card: what it is, what it has seen, and the folder it lies in. IO, free of torch.

An encoder is a folder of two files: `encoder.safetensors` and `card.json`, which names the former's
SHA-256. So the hash of the card alone (`encoder_sha256`) names everything an encoder is, what it
has seen included, and is what a plan pins. No code lies in such a folder: an architecture is a
name, out of the few in `Architecture`, and it is torchvision's or Dura's own code that is run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import WeightsError
from models.weights import CARD_FILE, SHIPPED, WeightsCard, read_card_file

ASSETS: Final = SHIPPED / "encoder"
WEIGHTS_FILE = "encoder.safetensors"
MAX_BYTES: Final = 20 * 1024 * 1024
"""Of an encoder on Dura's own trunk, such as the shipped one."""
MAX_BACKBONE_BYTES: Final = 512 * 1024 * 1024
"""Of an encoder on a torchvision backbone."""
_CHUNK = 1 << 20

Architecture = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
    "convnext_small",
    "vit_b_16",
]
"""torchvision's names of the backbones that may be used."""
Norm = Literal["frozen", "group"]


class BackbonePart(BaseModel):
    """What is built of torchvision's.

    Attributes:
        architecture: its name.
        norm: what stands where it has batch normalisation: the same with its statistics fixed
            (`frozen`), or group normalisation (`group`).
        side: side of the images it takes, pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Architecture
    norm: Norm = "frozen"
    side: Literal[224] = 224


class EncoderCard(WeightsCard):
    """That of an encoder.

    Attributes:
        dimension: length of a feature vector.
        side: of the images that Dura's own trunk takes, pixels; a backbone's stands in its part.
        backbone: the torchvision backbone; None for Dura's own trunk.
    """

    dimension: Annotated[int, Field(ge=1, le=1024)]
    side: Annotated[int, Field(ge=32, le=512)] | None = None
    backbone: BackbonePart | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.side is None) != (self.backbone is not None):
            raise ValueError("an encoder on Dura's own trunk tells its side, no other does")
        return self

    @property
    def max_bytes(self) -> int:
        """How large the weights file may be."""
        return MAX_BYTES if self.backbone is None else MAX_BACKBONE_BYTES


def read_card(folder: Path = ASSETS) -> EncoderCard:
    """The card of an encoder.

    Raises:
        WeightsError: it is missing or not a card.
    """
    return _parsed(folder)[0]


def encoder_sha256(folder: Path = ASSETS) -> str:
    """The hash by which a plan names an encoder, the shipped one by default: of its card's bytes.

    Raises:
        WeightsError: the card is missing or not a card.
    """
    return hashlib.sha256(_parsed(folder)[1]).hexdigest()


def check_encoder(folder: Path, *, sha256: str | None = None) -> EncoderCard:
    """The card of an encoder whose files are all there, unaltered.

    Args:
        folder: of the encoder.
        sha256: what `encoder_sha256` must give; None for anything.

    Raises:
        WeightsError: a file is missing, a link, too large or altered, or it is another encoder.
    """
    for name in (CARD_FILE, WEIGHTS_FILE):
        _must_lie_here(folder / name)
    card, data = _parsed(folder)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(f"encoder {sha256[:12]} is asked for, but {folder} holds {found[:12]}")
    path = folder / WEIGHTS_FILE
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        if size > card.max_bytes:
            raise WeightsError(f"{path} has {size} bytes; at most {card.max_bytes} are allowed")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    check_weights_hash(path, found=digest.hexdigest(), wanted=card.sha256)
    return card


def check_weights_hash(path: Path, *, found: str, wanted: str) -> None:
    """Refuse weights that are not those of their card.

    Raises:
        WeightsError: says both hashes.
    """
    if found != wanted:
        raise WeightsError(
            f"{path} has the SHA-256 {found}, but its card says {wanted}: these are not the "
            "weights that were reviewed; install Dura again, or take the encoder's folder anew"
        )


def _must_lie_here(path: Path) -> None:
    """Refuse what would be read here and not in a sandbox, which sees the folder alone."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise WeightsError(f"{path} is a link, or no file; put the file itself into the folder")


def _parsed(folder: Path) -> tuple[EncoderCard, bytes]:
    return read_card_file(folder, EncoderCard, what="an encoder")

"""The generator that adaptation starts from: pretrained on phantoms, shipped, checked by its hash.

What it has seen, how it was made and its licence stand in `card.json` beside the weights;
`models.training_scripts.pretrain_generator` makes both. A plan pins the weights by their SHA-256: a
hospital starts from exactly those, or not at all. No patient is in them, so they cost no epsilon.

Its classes are those of the phantoms. A plan's class that has another name starts from the mean of
all of them, and one that means "healthy" from the phantoms without a lesion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from diffusers import UNet2DModel
from torch import Tensor

from models.classes import HEALTHY_NAMES
from models.errors import WeightsError
from models.generators.card import ASSETS, WEIGHTS_FILE, GeneratorCard, read_generator_card
from models.generators.diffusion import build_generator
from models.generators.settings import GeneratorSettings
from models.weights import weights_from_bytes, weights_sha256

MAX_BYTES: Final = 6 * 1024 * 1024
CLASS_ROWS: Final = "class_embedding.weight"


def load_start(
    *, classes: tuple[str, ...], sha256: str, folder: Path = ASSETS
) -> tuple[UNet2DModel, GeneratorSettings]:
    """A generator with pretrained weights, for these classes.

    Args:
        classes: class names, in label order.
        sha256: of the weights file, as the plan pins it.
        folder: holds weights and card; the shipped one by default.

    Returns:
        The network in training mode, and its shape.

    Raises:
        WeightsError: a file is missing or damaged, or the weights are not those of plan and card.
        GeneratorError: the classes are too many, or none.
    """
    card = read_generator_card(folder)
    if sha256 != card.sha256:
        raise WeightsError(
            f"the plan starts from the generator {sha256[:12]}, but {card.name} here is "
            f"{card.sha256[:12]}; make the plan again with this release of Dura"
        )
    state = _stored(folder / WEIGHTS_FILE, card)
    rows = state.get(CLASS_ROWS)
    if rows is None or len(rows) != len(card.classes):
        raise WeightsError(f"the weights in {folder} do not have the classes of their card")
    state[CLASS_ROWS] = torch.stack([_class_row(rows, card.classes, name) for name in classes])
    model = build_generator(card.shape, classes=len(classes))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"the weights in {folder} are not those of their card") from error
    return model.train(), card.shape


def _stored(path: Path, card: GeneratorCard) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    found = weights_sha256(data)
    if found != card.sha256:
        raise WeightsError(
            f"{path} has the SHA-256 {found}, but its card says {card.sha256}: "
            "these are not the weights that were reviewed; install Dura again"
        )
    stored = weights_from_bytes(data, max_bytes=MAX_BYTES)
    return {name: tensor.float() for name, tensor in stored.items()}


def _class_row(rows: Tensor, known: tuple[str, ...], name: str) -> Tensor:
    """What the network knows about a class of this name."""
    plain = name.lower()
    for index, other in enumerate(known):
        if plain == other or (plain in HEALTHY_NAMES and other in HEALTHY_NAMES):
            return rows[index]
    return rows.mean(dim=0)

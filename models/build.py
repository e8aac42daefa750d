"""One way to a classifier, wherever its architecture comes from."""

from __future__ import annotations

import torch
from torch import nn

from models.classifiers import build_classifier, build_seeded
from models.errors import UnknownModelError

MODEL_FILE = "model.py"


def build_model(name: str, *, text: str | None, classes: int, image_size: int) -> nn.Module:
    """A freshly initialised classifier.

    Args:
        name: a registered name, or `model.py` for the architecture in `text`.
        text: the model file's text; only with `model.py`.
        classes: number of classes C.
        image_size: side S of the images; input is float32 [B, 1, S, S], output [B, C].

    Raises:
        UnknownModelError: the name is not registered, or text and name do not go together.
        ModelFileError: the text is not an allowed model file.
    """
    if (name == MODEL_FILE) != (text is not None):
        raise UnknownModelError(f"model {name!r} and the text of a {MODEL_FILE} do not go together")
    if text is not None:
        from models.modelfile import build_from_text

        return build_from_text(text, classes=classes, image_size=image_size)
    return build_classifier(name, classes=classes, image_size=image_size)


def initial_weights(
    name: str, *, text: str | None, classes: int, image_size: int, seed: int
) -> dict[str, torch.Tensor]:
    """The initial weights that a seed gives; the global random state is left alone."""
    model = build_seeded(
        lambda: build_model(name, text=text, classes=classes, image_size=image_size), seed=seed
    )
    return dict(model.state_dict())

"""One way to a classifier, wherever its architecture comes from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.classifiers.registry import ENCODER_HEAD, build_classifier, build_seeded
from models.errors import UnknownModelError
from models.images import check_sizes

MODEL_FILE = "model.py"


def build_model(
    name: str, *, text: str | None, classes: int, image_size: int, encoder: Path | None = None
) -> nn.Module:
    """A freshly initialised classifier.

    Args:
        name: a registered name, or `model.py` for the architecture in `text`.
        text: the model file's text; only with `model.py`.
        classes: number of classes C.
        image_size: side S of the images; input is float32 [B, 1, S, S], output [B, C].
        encoder: folder of the encoder that the classifier stands on; None for the shipped one.

    Raises:
        UnknownModelError: the name is not registered, or text, encoder and name do not go together.
        ModelFileError: the text is not an allowed model file.
        WeightsError: the encoder is missing or damaged.
    """
    if (name == MODEL_FILE) != (text is not None):
        raise UnknownModelError(f"model {name!r} and the text of a {MODEL_FILE} do not go together")
    if text is not None:
        from models.modelfile import build_from_text

        return build_from_text(text, classes=classes, image_size=image_size)
    if encoder is not None:
        return _on_encoder(encoder, name, classes=classes, image_size=image_size)
    return build_classifier(name, classes=classes, image_size=image_size)


def _on_encoder(folder: Path, name: str, *, classes: int, image_size: int) -> nn.Module:
    from models.classifiers.encoder_head import encoder_head

    if name != ENCODER_HEAD:
        raise UnknownModelError(
            f"only {ENCODER_HEAD} stands on an encoder of one's own, not {name!r}"
        )
    check_sizes(classes=classes, image_size=image_size)
    return encoder_head(classes, folder)


def initial_weights(
    name: str,
    *,
    text: str | None,
    classes: int,
    image_size: int,
    seed: int,
    encoder: Path | None = None,
) -> dict[str, torch.Tensor]:
    """The initial weights that a seed gives; the global random state is left alone."""
    model = build_seeded(
        lambda: build_model(
            name, text=text, classes=classes, image_size=image_size, encoder=encoder
        ),
        seed=seed,
    )
    return dict(model.state_dict())

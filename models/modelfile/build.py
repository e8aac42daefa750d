"""The researcher's `model.py`, built into a module without running a line of it.

Order, each step refusing before the next spends anything:

1. `models.modelfile.read` turns the text into a tree of allowed layers;
2. `models.modelfile.shapes` follows one image's shape through it and bounds parameters, memory and
   work; neither of these needs torch;
3. here the tree is built, and what was predicted is held against what came out.

Because nothing of the researcher's ever executes, a plan with an architecture of its own keeps the
trainer's privacy guarantee.
"""

from __future__ import annotations

import torch
from torch import nn

from models.errors import ModelFileError
from models.modelfile.layers import Layer
from models.modelfile.shapes import check_model_text

__all__ = ["build_from_text", "check_model_text"]


def build_from_text(text: str, *, classes: int, image_size: int) -> nn.Module:
    """Build the model that a model file describes.

    Args:
        text: the file; see `models.modelfile.read` for the language.
        classes: number of logits it must give.
        image_size: S of its input float32 [B, 1, S, S].

    Returns:
        The module on the CPU, in training mode, weights from torch's global generator.

    Raises:
        ModelFileError: the file is not allowed, too large or does not fit these sizes.
        UnknownModelError: `classes` or `image_size` is out of range for any classifier.
    """
    layer, cost = check_model_text(text, classes=classes, image_size=image_size)
    with torch.device("meta"):
        count = sum(p.numel() for p in _module(layer).parameters())
    if count != cost.parameters:  # a fault of ours, found before memory is spent on it
        raise ModelFileError(f"torch counts {count:,} parameters, not {cost.parameters:,}")
    with torch.device("cpu"):
        return _module(layer)


def _module(layer: Layer) -> nn.Module:
    if layer.name == "Sequential":
        return nn.Sequential(*(_module(child) for child in layer.children))
    try:
        module: nn.Module = getattr(nn, layer.name)(**dict(layer.arguments))
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelFileError(f"nn.{layer.name}: {first}", line=layer.line) from None
    return module

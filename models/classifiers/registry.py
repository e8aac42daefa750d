"""The registry of classifiers, and what every one of them promises.

Input: float32 [B, 1, S, S] from `normalise`. Output: logits [B, classes]. No layer mixes the rows
of a batch (GroupNorm, never BatchNorm), nothing works in place and no parameter is shared, so that
per-sample gradients, and with them DP-SGD, are well defined. Initial weights follow from torch's
global generator; `initial_weights` gives them for a seed and leaves that generator as it was.

Importing this module does not import torch: a plan's classifier name is checked in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from models.errors import UnknownModelError
from models.images import check_sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

ENCODER_HEAD = "encoder_head"
"""The classifier that stands on an encoder, the shipped one unless a plan names another."""


def classifier_names() -> tuple[str, ...]:
    """Names that `build_classifier` knows, in alphabetical order."""
    return tuple(sorted(_BUILDERS))


def build_classifier(name: str, *, classes: int, image_size: int) -> nn.Module:
    """Build a registered classifier with fresh weights from torch's global generator.

    Args:
        name: one of `classifier_names()`.
        classes: number of logits.
        image_size: S, pixels.

    Returns:
        The module, in training mode.

    Raises:
        UnknownModelError: the name is not registered or a size is out of range.
    """
    check_sizes(classes=classes, image_size=image_size)
    if name not in _BUILDERS:
        raise UnknownModelError(
            f"no classifier is called {name!r}; choose one of {', '.join(classifier_names())}"
        )
    return _BUILDERS[name](classes)


def initial_weights(name: str, *, classes: int, image_size: int, seed: int) -> dict[str, Tensor]:
    """The weights a registered classifier starts from for a seed.

    Args:
        name: one of `classifier_names()`.
        classes: number of logits.
        image_size: S, pixels.
        seed: any integer torch takes; the same seed gives the same weights.

    Returns:
        The module's state, parameter name to tensor.

    Raises:
        UnknownModelError: the name is not registered or a size is out of range.
    """
    return dict(
        build_seeded(
            lambda: build_classifier(name, classes=classes, image_size=image_size), seed=seed
        ).state_dict()
    )


def build_seeded(build: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """Call a builder under a seed, leaving torch's global generator as it was.

    Args:
        build: makes a module on the CPU.
        seed: for torch's CPU generator while `build` runs.

    Returns:
        What `build` returned.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def _small_cnn(classes: int) -> nn.Module:
    from models.classifiers.small_cnn import small_cnn

    return small_cnn(classes)


def _resnet18(classes: int) -> nn.Module:
    from models.classifiers.resnet import resnet18

    return resnet18(classes)


def _encoder_head(classes: int) -> nn.Module:
    from models.classifiers.encoder_head import encoder_head

    return encoder_head(classes)


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "small_cnn": _small_cnn,
    "resnet18": _resnet18,
    ENCODER_HEAD: _encoder_head,
}

"""Shapes, sizes and cost of a model file's layers, by arithmetic, before anything is allocated.

`check_model_text` is all that a reviewer's machine needs: it reads the file and follows the shape
of **one** image through every layer, so that each error is found at its line. A layer is accepted
only for shapes on which it works row by row, with the batch in front; a model that passes cannot
mix patients. Sums of parameters, values and multiplications are bounded on the way. No torch is
needed, which matters: torch's own shape-only (meta) forward imports a compiler, and takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from models.errors import ModelFileError
from models.images import check_sizes
from models.modelfile.layers import Layer
from models.modelfile.read import read_model_text

MAX_PARAMETERS = 30_000_000
MAX_VALUES = 16_000_000
"""Largest sum of all layers' outputs for one image, values."""
MAX_PRODUCTS = 10_000_000_000
"""Largest number of multiplications of one image's forward pass."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What a model takes.

    Attributes:
        parameters: trainable numbers.
        values: sum of the sizes of all layers' outputs for one image.
        products: multiplications of one image's forward pass in convolutions and linear layers.
    """

    parameters: int = 0
    values: int = 0
    products: int = 0


def check_model_text(text: str, *, classes: int, image_size: int) -> tuple[Layer, Cost]:
    """Everything about a model file that can be known without building it.

    Args:
        text: the file; see `models.modelfile.read` for the language.
        classes: number of logits it must give.
        image_size: S of its input [B, 1, S, S].

    Returns:
        The tree of layers and what it takes.

    Raises:
        ModelFileError: the file is not allowed, too large or does not fit these sizes.
        UnknownModelError: `classes` or `image_size` is out of range for any classifier.
    """
    check_sizes(classes=classes, image_size=image_size)
    layer = read_model_text(text, classes=classes, image_size=image_size)
    shape: Shape = (1, image_size, image_size)
    cost, used, last = Cost(), set[int](), layer
    for last in leaves(layer):
        effect = _effect(last, shape)
        if effect.parameters and id(last) in used:
            raise ModelFileError(
                f"this nn.{last.name} is used more than once; call nn.{last.name}(...) for each "
                "use, in a list comprehension for instance",
                line=last.line,
            )
        used.add(id(last))
        shape, cost = effect.shape, _added(cost, effect, line=last.line)
    if shape != (classes,):
        raise ModelFileError(
            f"an image comes out with shape {list(shape)}; it must be [{classes}], a logit a class",
            line=last.line,
        )
    if cost.parameters == 0:
        raise ModelFileError("the model has no parameters, so that there is nothing to train")
    return layer, cost


def leaves(layer: Layer) -> Iterator[Layer]:
    """The layers that are not a Sequential, in the order in which they are applied."""
    if layer.name != "Sequential":
        yield layer
    for child in layer.children:
        yield from leaves(child)


@dataclass(frozen=True)
class _Effect:
    """What one layer does to one image: the shape that comes out, and what it takes.

    `terms` is the number of multiplications for each value that comes out.
    """

    shape: Shape
    parameters: int = 0
    terms: int = 0


class _MisfitError(Exception):
    """A layer does not take a shape; the text says what it wants."""


def _effect(layer: Layer, shape: Shape) -> _Effect:
    try:
        return _EFFECTS.get(layer.name, _unchanged)(layer, shape)
    except _MisfitError as misfit:
        raise ModelFileError(
            f"nn.{layer.name} cannot take an image of shape {list(shape)}: {misfit}",
            line=layer.line,
        ) from None


def _added(cost: Cost, effect: _Effect, *, line: int) -> Cost:
    size = math.prod(effect.shape)
    cost = Cost(
        parameters=cost.parameters + effect.parameters,
        values=cost.values + size,
        products=cost.products + size * effect.terms,
    )
    for field, most in zip(fields(Cost), (MAX_PARAMETERS, MAX_VALUES, MAX_PRODUCTS), strict=True):
        if getattr(cost, field.name) > most:
            raise ModelFileError(
                f"{getattr(cost, field.name):,} {field.name} up to this layer; "
                f"at most {most:,} are allowed",
                line=line,
            )
    return cost


def _unchanged(layer: Layer, shape: Shape) -> _Effect:
    del layer
    return _Effect(shape)


def _check_image(shape: Shape) -> None:
    if len(shape) != 3:
        raise _MisfitError("it needs channels, height and width")


def _conv(layer: Layer, shape: Shape) -> _Effect:
    _check_image(shape)
    inputs, outputs = layer.number("in_channels"), layer.number("out_channels")
    groups = layer.number("groups", 1)
    if shape[0] != inputs:
        raise _MisfitError(f"in_channels is {inputs}")
    if inputs % groups or outputs % groups:
        raise _MisfitError(f"groups={groups} must divide in_channels and out_channels")
    padding = dict(layer.arguments).get("padding", 0)
    if padding == "same":
        if layer.pair("stride") != (1, 1):
            raise _MisfitError("padding='same' needs stride 1")
        area = shape[1:]
    else:
        area = _slide(layer, shape, stride=1, pads=layer.pair("padding", 0))
    terms = inputs // groups * math.prod(layer.pair("kernel_size"))
    parameters = outputs * (terms + layer.flag("bias"))
    return _Effect((outputs, *area), parameters, terms)


def _slide(layer: Layer, shape: Shape, *, stride: int | Shape, pads: Shape) -> Shape:
    """Height and width after a sliding window: floor((n + 2 pad - reach) / stride) + 1."""
    axes = zip(layer.pair("kernel_size"), layer.pair("dilation"), strict=True)
    reach = [dilation * (kernel - 1) + 1 for kernel, dilation in axes]
    room = [n + 2 * pad - r for n, pad, r in zip(shape[1:], pads, reach, strict=True)]
    if min(room) < 0:
        raise _MisfitError(f"a window of {reach} does not fit")
    return tuple(n // s + 1 for n, s in zip(room, layer.pair("stride", stride), strict=True))


def _pool(layer: Layer, shape: Shape) -> _Effect:
    _check_image(shape)
    kernel, pads = layer.pair("kernel_size"), layer.pair("padding", 0)
    if any(pad > k // 2 for pad, k in zip(pads, kernel, strict=True)):
        raise _MisfitError("padding must be at most half of kernel_size")
    return _Effect((shape[0], *_slide(layer, shape, stride=kernel, pads=pads)))


def _adaptive(layer: Layer, shape: Shape) -> _Effect:
    _check_image(shape)
    return _Effect((shape[0], *layer.pair("output_size")))


def _channel_dropout(layer: Layer, shape: Shape) -> _Effect:
    del layer
    _check_image(shape)
    return _Effect(shape)


def _linear(layer: Layer, shape: Shape) -> _Effect:
    inputs, outputs = layer.number("in_features"), layer.number("out_features")
    if shape[-1] != inputs:
        raise _MisfitError(f"in_features is {inputs}")
    return _Effect((*shape[:-1], outputs), outputs * (inputs + layer.flag("bias")), inputs)


def _group_norm(layer: Layer, shape: Shape) -> _Effect:
    groups, channels = layer.number("num_groups"), layer.number("num_channels")
    if shape[0] != channels or channels % groups:
        raise _MisfitError(f"num_channels is {channels}, which {groups} groups must divide")
    if math.prod(shape) == groups:
        raise _MisfitError("a group of one value has no spread")
    return _Effect(shape, 2 * channels if layer.flag("affine") else 0)


def _layer_norm(layer: Layer, shape: Shape) -> _Effect:
    given = dict(layer.arguments)["normalized_shape"]
    wanted = layer.pair("normalized_shape") if isinstance(given, tuple) else (given,)
    if shape[-len(wanted) :] != wanted:
        raise _MisfitError(f"normalized_shape is {list(wanted)}")
    size = math.prod(shape[-len(wanted) :])
    return _Effect(shape, 2 * size if layer.flag("elementwise_affine") else 0)


def _flatten(layer: Layer, shape: Shape) -> _Effect:
    start, end = layer.number("start_dim", 1), layer.number("end_dim", -1)
    end = len(shape) if end == -1 else end
    if not 1 <= start <= end <= len(shape):
        raise _MisfitError(f"start_dim={start} and end_dim={end} are not two of its dimensions")
    return _Effect((*shape[: start - 1], math.prod(shape[start - 1 : end]), *shape[end:]))


_EFFECTS: dict[str, Callable[[Layer, Shape], _Effect]] = {
    "Conv2d": _conv,
    "Linear": _linear,
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "MaxPool2d": _pool,
    "AvgPool2d": _pool,
    "AdaptiveAvgPool2d": _adaptive,
    "AdaptiveMaxPool2d": _adaptive,
    "Flatten": _flatten,
    "Dropout2d": _channel_dropout,
}

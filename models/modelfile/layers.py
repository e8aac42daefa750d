"""The layers a researcher's model file may use, and the values their arguments may take.

A layer is on this list only if (1) it computes each row of a batch from that row alone, (2) its
per-sample gradient is exact under Opacus, (3) it works out of place and (4) torch's arguments left
off the list can do nothing surprising. So there is no BatchNorm, no `inplace`, no `padding_mode`,
no `dtype`, and `Flatten` cannot reach the batch dimension. Arguments stand in torch's order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias, Union

from models.errors import ModelFileError

MAX_WIDTH = 65_536
"""Largest number of channels or features of one layer."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One `nn.X(...)` of a model file, read but not built. Two calls are two layers.

    Attributes:
        name: X.
        arguments: checked arguments by torch's names.
        children: what a Sequential holds.
        line: line of the call.
        leaves: layers in here that are not a Sequential.
        depth: how deeply Sequentials are nested, 0 for a leaf.
    """

    name: str
    arguments: tuple[tuple[str, Value], ...]
    children: tuple[Layer, ...]
    line: int
    leaves: int = 1
    depth: int = 0

    def number(self, name: str, default: int = 0) -> int:
        """An integer argument, or the default where it was not given."""
        value = dict(self.arguments).get(name, default)
        return value if isinstance(value, int) else default

    def pair(self, name: str, default: int | tuple[int, ...] = 1) -> tuple[int, ...]:
        """An argument that is one integer for both axes, or one for each."""
        value = dict(self.arguments).get(name, default)
        if isinstance(value, tuple):
            return tuple(item for item in value if isinstance(item, int))
        return (value, value) if isinstance(value, int) else (0, 0)

    def flag(self, name: str) -> bool:
        """A switch that torch has on unless it is turned off."""
        return dict(self.arguments).get(name, True) is True


Value: TypeAlias = Union[int, float, bool, str, tuple["Value", ...], Layer, None]  # noqa: UP007  recursive
"""What an expression of a model file may be worth; lists are read as tuples."""


@dataclass(frozen=True)
class Argument:
    """One argument of a layer.

    Attributes:
        name: torch's name.
        low: smallest number.
        high: largest number.
        kind: `int`, `float`, `bool`, `pair` (one int or two), `ints` (one to three ints),
            `word` (only what `words` has).
        words: words that are allowed in place of a number.
        required: whether it must be given.
    """

    name: str
    low: float = 0
    high: float = MAX_WIDTH
    kind: str = "int"
    words: tuple[str, ...] = ()
    required: bool = False

    def check(self, value: Value, *, layer: str, line: int) -> Value:
        """The value, if this argument takes it.

        Raises:
            ModelFileError: it does not.
        """
        if not self._takes(value):
            raise ModelFileError(
                f"{self.name}={_shown(value)} of nn.{layer} is not allowed; give {self.expected()}",
                line=line,
            )
        return value

    def expected(self) -> str:
        """The rule in words, for messages."""
        if self.kind == "bool":
            return "True or False"
        if self.kind == "word":
            return " or ".join(repr(word) for word in self.words)
        numbers = {
            "pair": "one or two integers",
            "ints": "one to three integers",
            "float": "a number",
        }
        text = f"{numbers.get(self.kind, 'an integer')} from {self.low} to {self.high}"
        return " or ".join([text, *(repr(word) for word in self.words)])

    def _takes(self, value: Value) -> bool:
        if isinstance(value, str):
            return value in self.words
        if self.kind == "word":
            return False
        if self.kind == "bool" or isinstance(value, bool):
            return self.kind == "bool" and isinstance(value, bool)
        if isinstance(value, tuple):
            most = {"pair": (2, 2), "ints": (1, 3)}.get(self.kind, (1, 0))
            return most[0] <= len(value) <= most[1] and all(self._whole(v) for v in value)
        if self.kind == "float" and isinstance(value, float):
            return math.isfinite(value) and self.low <= value <= self.high
        return self._whole(value)

    def _whole(self, value: Value) -> bool:
        return type(value) is int and self.low <= value <= self.high


def _shown(value: Value) -> str:
    """A short text; never the repr of a list, which sharing can make exponentially long."""
    if isinstance(value, tuple):
        return f"<list of {len(value)}>"
    return f"nn.{value.name}(...)" if isinstance(value, Layer) else repr(value)


def _int(name: str, low: int = 1, high: int = MAX_WIDTH, *, required: bool = False) -> Argument:
    return Argument(name, low, high, required=required)


def _pair(name: str, low: int, high: int, *, required: bool = False) -> Argument:
    return Argument(name, low, high, kind="pair", required=required)


_KERNEL = _pair("kernel_size", 1, 64, required=True)
_STRIDE = _pair("stride", 1, 64)
_EPS = Argument("eps", 1e-8, 1.0, kind="float")
_RATE = Argument("p", 0.0, 0.95, kind="float")
_OUTPUT = _pair("output_size", 1, 256, required=True)


def _flag(name: str) -> Argument:
    return Argument(name, kind="bool")


LAYERS: dict[str, tuple[Argument, ...]] = {
    "Conv2d": (
        _int("in_channels", required=True),
        _int("out_channels", required=True),
        _KERNEL,
        _STRIDE,
        Argument("padding", 0, 64, kind="pair", words=("same", "valid")),
        _pair("dilation", 1, 16),
        _int("groups"),
        _flag("bias"),
    ),
    "Linear": (
        _int("in_features", required=True),
        _int("out_features", required=True),
        _flag("bias"),
    ),
    "GroupNorm": (
        _int("num_groups", required=True),
        _int("num_channels", required=True),
        _EPS,
        _flag("affine"),
    ),
    "LayerNorm": (
        Argument("normalized_shape", 1, MAX_WIDTH, kind="ints", required=True),
        _EPS,
        _flag("elementwise_affine"),  # no `bias`: Opacus fails on a LayerNorm without one
    ),
    "ReLU": (),
    "Tanh": (),
    "SiLU": (),
    "Sigmoid": (),
    "Identity": (),
    "GELU": (Argument("approximate", kind="word", words=("none", "tanh")),),
    "ELU": (Argument("alpha", 0.0, 10.0, kind="float"),),
    "LeakyReLU": (Argument("negative_slope", 0.0, 1.0, kind="float"),),
    "MaxPool2d": (_KERNEL, _STRIDE, _pair("padding", 0, 32), _pair("dilation", 1, 16)),
    "AvgPool2d": (_KERNEL, _STRIDE, _pair("padding", 0, 32)),
    "AdaptiveAvgPool2d": (_OUTPUT,),
    "AdaptiveMaxPool2d": (_OUTPUT,),
    "Flatten": (_int("start_dim", 1, 3), _int("end_dim", -1, 3)),
    "Dropout": (_RATE,),
    "Dropout2d": (_RATE,),
}
"""Allowed layers beside Sequential, with their allowed arguments in torch's order."""


def layer_names() -> tuple[str, ...]:
    """Every layer a model file may use, in alphabetical order."""
    return tuple(sorted([*LAYERS, "Sequential"]))


def bind(
    name: str, positional: tuple[Value, ...], named: tuple[tuple[str, Value], ...], *, line: int
) -> tuple[tuple[str, Value], ...]:
    """Match the arguments of a call with those the layer takes, and check each.

    Args:
        name: a key of `LAYERS`.
        positional: arguments by position.
        named: arguments by name; no name twice.
        line: line of the call, for messages.

    Returns:
        Arguments by torch's names.

    Raises:
        ModelFileError: one too many, unknown, given twice, missing or out of range.
    """
    rules = {argument.name: argument for argument in LAYERS[name]}
    takes = f"it takes {', '.join(rules) or 'none'}"
    if len(positional) > len(rules):
        raise ModelFileError(
            f"nn.{name} is given {len(positional)} arguments by position; {takes}", line=line
        )
    given = dict(zip(rules, positional, strict=False))
    for key, value in named:
        if key not in rules or key in given:
            what = "twice" if key in given else "which is not allowed"
            raise ModelFileError(f"nn.{name} is given {key!r}, {what}; {takes}", line=line)
        given[key] = value
    missing = [key for key, rule in rules.items() if rule.required and key not in given]
    if missing:
        raise ModelFileError(f"nn.{name} lacks {', '.join(missing)}; {takes}", line=line)
    return tuple((key, rules[key].check(v, layer=name, line=line)) for key, v in given.items())

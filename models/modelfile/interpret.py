"""The expressions of a model file, worked out by hand from the syntax tree.

`Interpreter` knows a fixed list of syntax nodes; anything else is refused with its line. It counts
its steps, and every number, list and layer it makes is checked against the limits below before it
is kept, so that hostile text costs no more than a long harmless one.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from models.errors import ModelFileError
from models.modelfile.layers import LAYERS, Layer, Value, bind, layer_names

MAX_STEPS = 20_000
MAX_NUMBER = 1_000_000
MAX_ITEMS = 256
MAX_LOOP = 64
MAX_LEAVES = 512
MAX_DEPTH = 12
MAX_POWER = 12
MAX_WORD = 16

_RESERVED = frozenset({"nn", "range", "build"})

Number = int | float

_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Number, Number], Number]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow),
}


class Interpreter:
    """Works out expressions over a set of names. Final."""

    def __init__(self, names: Mapping[str, Value]) -> None:
        self._names: dict[str, Value] = dict(names)
        self._steps = 0
        self._readers: dict[type[ast.expr], Callable[[Any], Value]] = {
            ast.Constant: _constant,
            ast.Name: self._name,
            ast.List: self._items_of,
            ast.Tuple: self._items_of,
            ast.UnaryOp: self._signed,
            ast.BinOp: self._arithmetic,
            ast.Subscript: self._item,
            ast.ListComp: self._loop,
            ast.Call: self._call,
        }

    def assign(self, target: ast.Name, value: Value) -> None:
        """Give a name a value.

        Raises:
            ModelFileError: the name is reserved.
        """
        if target.id in _RESERVED or target.id.startswith("__"):
            raise ModelFileError(
                f"{target.id!r} is reserved; choose another name", line=target.lineno
            )
        self._names[target.id] = value

    def value(self, node: ast.expr) -> Value:
        """What an expression is worth.

        Raises:
            ModelFileError: it is not allowed, or exceeds a limit.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ModelFileError(f"takes more than {MAX_STEPS} steps to read", line=node.lineno)
        reader = self._readers.get(type(node))
        if reader is None:
            raise ModelFileError(
                f"{type(node).__name__} is not allowed; use numbers, names, lists, arithmetic, "
                "nn layers and [... for i in range(n)]",
                line=node.lineno,
            )
        return reader(node)

    def _name(self, node: ast.Name) -> Value:
        if node.id not in self._names:
            raise ModelFileError(f"the name {node.id!r} is not known here", line=node.lineno)
        return self._names[node.id]

    def _items_of(self, node: ast.List | ast.Tuple) -> tuple[Value, ...]:
        return self._items(node.elts, node)

    def _signed(self, node: ast.UnaryOp) -> Number:
        number = _number(self.value(node.operand), node)
        if isinstance(node.op, ast.USub):
            return -number
        raise ModelFileError(f"{type(node.op).__name__} is not allowed", line=node.lineno)

    def _items(self, nodes: list[ast.expr], parent: ast.expr) -> tuple[Value, ...]:
        items: list[Value] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                inner = self.value(node.value)
                if not isinstance(inner, tuple):
                    raise ModelFileError("* needs a list", line=node.lineno)
                items.extend(inner)
            else:
                items.append(self.value(node))
            if len(items) > MAX_ITEMS:
                raise ModelFileError(f"more than {MAX_ITEMS} items", line=parent.lineno)
        return tuple(items)

    def _arithmetic(self, node: ast.BinOp) -> Value:
        if type(node.op) not in _OPERATORS:
            allowed = " ".join(sign for sign, _ in _OPERATORS.values())
            raise ModelFileError(
                f"{type(node.op).__name__} is not allowed; use {allowed}", line=node.lineno
            )
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, tuple) and isinstance(right, tuple):
            if len(left) + len(right) > MAX_ITEMS:
                raise ModelFileError(f"more than {MAX_ITEMS} items", line=node.lineno)
            return left + right
        a, b = _number(left, node), _number(right, node)
        if isinstance(node.op, ast.Pow) and not (type(b) is int and 0 <= b <= MAX_POWER):
            raise ModelFileError(f"** takes an exponent from 0 to {MAX_POWER}", line=node.lineno)
        if isinstance(node.op, ast.FloorDiv | ast.Mod) and b == 0:
            raise ModelFileError("division by zero", line=node.lineno)
        return _bounded(_OPERATORS[type(node.op)][1](a, b), node)

    def _item(self, node: ast.Subscript) -> Value:
        items, index = self.value(node.value), self.value(node.slice)
        if not isinstance(items, tuple) or type(index) is not int:
            raise ModelFileError("[...] takes an item of a list by an integer", line=node.lineno)
        if not -len(items) <= index < len(items):
            raise ModelFileError(f"item {index} of a list of {len(items)}", line=node.lineno)
        return items[index]

    def _loop(self, node: ast.ListComp) -> tuple[Value, ...]:
        first = node.generators[0]
        if len(node.generators) > 1 or first.ifs or first.is_async:
            raise ModelFileError("only '[... for name in range(n)]' is allowed", line=node.lineno)
        if not isinstance(first.target, ast.Name):
            raise ModelFileError("a loop takes one plain name", line=node.lineno)
        turns = self._range(first.iter)
        outside = dict(self._names)
        items = []
        for turn in turns:
            self.assign(first.target, turn)
            items.append(self.value(node.elt))
        self._names = outside
        return tuple(items)

    def _range(self, node: ast.expr) -> range:
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "range"
            and not node.keywords
        ):
            raise ModelFileError("a loop must go over range(...)", line=node.lineno)
        bounds = self._items(node.args, node)
        whole = [bound for bound in bounds if type(bound) is int]
        if not 1 <= len(whole) == len(bounds) <= 3 or (len(whole) == 3 and whole[2] == 0):
            raise ModelFileError("range takes one to three integers, step not 0", line=node.lineno)
        turns = range(*whole)
        if len(turns) > MAX_LOOP:
            raise ModelFileError(
                f"a loop of {len(turns)} turns; at most {MAX_LOOP} are allowed", line=node.lineno
            )
        return turns

    def _call(self, node: ast.Call) -> Layer:
        called = node.func
        if not (
            isinstance(called, ast.Attribute)
            and isinstance(called.value, ast.Name)
            and called.value.id == "nn"
        ):
            raise ModelFileError("only nn.X(...) may be called", line=node.lineno)
        if called.attr not in layer_names():
            raise ModelFileError(
                f"nn.{called.attr} is not allowed; use {', '.join(layer_names())}",
                line=node.lineno,
            )
        named = []
        for keyword in node.keywords:
            if keyword.arg is None:
                raise ModelFileError("** in a call is not allowed", line=node.lineno)
            named.append((keyword.arg, self.value(keyword.value)))
        positional = self._items(node.args, node)
        if called.attr in LAYERS:
            arguments = bind(called.attr, positional, tuple(named), line=node.lineno)
            return Layer(called.attr, arguments, (), node.lineno)
        return _sequential(positional, named=bool(named), line=node.lineno)


def _sequential(positional: tuple[Value, ...], *, named: bool, line: int) -> Layer:
    layers = tuple(item for item in positional if isinstance(item, Layer))
    if named or not layers or len(layers) != len(positional):
        raise ModelFileError("nn.Sequential takes layers, at least one, and * lists", line=line)
    leaves = sum(layer.leaves for layer in layers)
    depth = 1 + max(layer.depth for layer in layers)
    if leaves > MAX_LEAVES or depth > MAX_DEPTH:
        raise ModelFileError(
            f"{leaves} layers, nested {depth} deep; at most {MAX_LEAVES} and {MAX_DEPTH}", line=line
        )
    return Layer("Sequential", (), layers, line, leaves=leaves, depth=depth)


def _constant(node: ast.Constant) -> Value:
    value = node.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _bounded(value, node)
    if isinstance(value, str) and len(value) <= MAX_WORD:
        return value
    raise ModelFileError(
        f"a literal of type {type(value).__name__} is not allowed here; "
        f"use numbers, True, False, None or a word of at most {MAX_WORD} characters",
        line=node.lineno,
    )


def _number(value: Value, node: ast.expr) -> Number:
    if type(value) is int or type(value) is float:
        return value
    raise ModelFileError("arithmetic takes numbers only", line=node.lineno)


def _bounded(value: Number, node: ast.expr) -> Number:
    if not -MAX_NUMBER <= value <= MAX_NUMBER:  # NaN and infinity are not
        raise ModelFileError(
            f"a number beyond {MAX_NUMBER:,}; keep numbers between -{MAX_NUMBER:,} and it",
            line=node.lineno,
        )
    return value

"""Reads a researcher's `model.py` without running it: text in, a tree of layers out.

The whole language, everything else being refused with its line:

    "an optional docstring"
    from torch import nn

    def build(classes: int, image_size: int) -> nn.Module:
        name = EXPRESSION          any number of these
        return EXPRESSION          a layer

    EXPRESSION:  numbers, True, False, short strings, names, [lists], (tuples), a[0],
                 + - * // % ** and unary minus on numbers, + on lists,
                 nn.X(...) with X in `models.modelfile.layers.layer_names()` and *lists in calls,
                 [EXPRESSION for name in range(n)] with n <= 64

The file is plain ASCII of at most 16 KiB. Reading it takes bounded work: syntax nodes, nesting,
evaluation steps, sizes of numbers and lists and the number of layers all have limits below. Nothing
of torch is imported here and no name of the file is ever looked up in Python's own scopes.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from models.errors import ModelFileError
from models.modelfile.interpret import Interpreter
from models.modelfile.layers import Layer

MAX_BYTES = 16_384
MAX_NODES = 4_000
MAX_NESTING = 40

_FORM = "a docstring, 'from torch import nn' and one 'def build(classes: int, image_size: int)'"


def read_model_text(text: str, *, classes: int, image_size: int) -> Layer:
    """Read a model file.

    Args:
        text: the file.
        classes: value of `classes`.
        image_size: value of `image_size`.

    Returns:
        The layer that `build` returns, not built.

    Raises:
        ModelFileError: the text is not of the form above or exceeds a limit.
    """
    _check_characters(text)
    tree = _parse(text)
    _check_amount(tree)
    build = _find_build(tree)
    interpreter = Interpreter({"classes": classes, "image_size": image_size})
    for statement in _body(build.body)[:-1]:
        _assign(interpreter, statement)
    return _returned(interpreter, build)


def _check_characters(text: str) -> None:
    """Plain ASCII only: what a reviewer sees is then what is read (no look-alikes, no bidi)."""
    if len(text) > MAX_BYTES:
        raise ModelFileError(f"{len(text)} characters; at most {MAX_BYTES} are allowed")
    for index, char in enumerate(text):
        if not (" " <= char <= "~" or char in "\n\r\t"):
            raise ModelFileError(
                f"character U+{ord(char):04X} is not allowed; use plain ASCII, in comments as well",
                line=text.count("\n", 0, index) + 1,
            )


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            # Python warns of dubious literals and escapes; a model file has no use for them.
            warnings.simplefilter("error")
            return ast.parse(text)
    except SyntaxError as error:
        raise ModelFileError(f"not Python: {error.msg}", line=error.lineno) from None
    except (ValueError, Warning) as error:
        raise ModelFileError(f"not Python: {error}") from None
    except (RecursionError, MemoryError):
        raise ModelFileError("nested too deeply to be read") from None


def _check_amount(tree: ast.Module) -> None:
    """Bound the number of nodes and their nesting, without recursion."""
    nodes = 0
    level: list[ast.AST] = [tree]
    for _ in range(MAX_NESTING):
        nodes += len(level)
        if nodes > MAX_NODES:
            raise ModelFileError(f"more than {MAX_NODES} syntax nodes; make the file shorter")
        level = list(_children(level))
        if not level:
            return
    raise ModelFileError(f"expressions are nested more than {MAX_NESTING} deep")


def _children(level: list[ast.AST]) -> Iterator[ast.AST]:
    for node in level:
        yield from ast.iter_child_nodes(node)


def _find_build(tree: ast.Module) -> ast.FunctionDef:
    body = _body(tree.body)
    for statement in body:
        is_import = isinstance(statement, ast.ImportFrom) and _imports_nn(statement)
        if not is_import and not isinstance(statement, ast.FunctionDef):
            raise ModelFileError(f"the file may hold only {_FORM}", line=statement.lineno)
    if len(body) == 2 and isinstance(body[0], ast.ImportFrom):
        build = body[1]
        if isinstance(build, ast.FunctionDef):
            _check_signature(build)
            return build
    raise ModelFileError(f"the file must hold {_FORM}, in this order and once each")


def _body(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements without a leading docstring."""
    first = statements[0] if statements else None
    is_text = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return statements[1:] if is_text else statements


def _imports_nn(node: ast.ImportFrom) -> bool:
    return (
        node.module == "torch"
        and node.level == 0
        and [(alias.name, alias.asname) for alias in node.names] == [("nn", None)]
    )


def _check_signature(build: ast.FunctionDef) -> None:
    wanted = "def build(classes: int, image_size: int) -> nn.Module:"
    arguments = build.args
    plain = not (
        build.decorator_list
        or arguments.posonlyargs
        or arguments.kwonlyargs
        or arguments.vararg
        or arguments.kwarg
        or arguments.defaults
        or getattr(build, "type_params", [])
    )
    names = [argument.arg for argument in arguments.args]
    hints = {ast.unparse(a.annotation) for a in arguments.args if a.annotation is not None}
    returns = "nn.Module" if build.returns is None else ast.unparse(build.returns)
    right = build.name == "build" and names == ["classes", "image_size"]
    if not (plain and right and hints <= {"int"} and returns == "nn.Module"):
        raise ModelFileError(f"the function must read '{wanted}'", line=build.lineno)


def _assign(interpreter: Interpreter, statement: ast.stmt) -> None:
    if not (
        isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
    ):
        raise ModelFileError(
            "only 'name = expression' is allowed before the final 'return'", line=statement.lineno
        )
    interpreter.assign(statement.targets[0], interpreter.value(statement.value))


def _returned(interpreter: Interpreter, build: ast.FunctionDef) -> Layer:
    last = build.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        raise ModelFileError("build must end with 'return' and a layer", line=last.lineno)
    layer = interpreter.value(last.value)
    if not isinstance(layer, Layer):
        raise ModelFileError(
            "build must return a layer such as nn.Sequential(...)", line=last.lineno
        )
    return layer

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelFileError
from models.modelfile.interpret import MAX_ITEMS, MAX_LEAVES, MAX_NUMBER, Interpreter
from models.modelfile.layers import Layer, Value


def _value(text: str, **names: Value) -> Value:
    return Interpreter({"classes": 4, **names}).value(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("classes", 4),
        ("-3", -3),
        ("2 + 3 * 4 - 1", 13),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("2 ** 10", 1024),
        ("0.5 * 4", 2.0),
        ("True", True),
        ("None", None),
        ("'same'", "same"),
        ("[1, (2, 3)]", (1, (2, 3))),
        ("[1] + [2]", (1, 2)),
        ("[1, *[2, 3]]", (1, 2, 3)),
        ("[5, 6][1]", 6),
        ("[5, 6][-1]", 6),
        ("[i * 2 for i in range(3)]", (0, 2, 4)),
        ("[i for i in range(1, 7, 2)]", (1, 3, 5)),
        ("[[i + j for i in range(2)] for j in range(2)]", ((0, 1), (1, 2))),
        ("[x for x in range(*[1, 3])]", (1, 2)),
    ],
)
def test_what_is_allowed_is_worth_what_python_says(text: str, value: Value) -> None:
    assert _value(text) == value


@given(st.integers(-50, 50), st.integers(-50, 50), st.sampled_from(["+", "-", "*", "//", "%"]))
def test_arithmetic_is_pythons(a: int, b: int, sign: str) -> None:
    text = f"({a}) {sign} ({b})"
    if b == 0 and sign in ("//", "%"):
        with pytest.raises(ModelFileError, match="zero"):
            _value(text)
    else:
        wanted = {"+": a + b, "-": a - b, "*": a * b}.get(sign)
        assert _value(text) == (
            wanted if wanted is not None else (a // b if sign == "//" else a % b)
        )


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("unknown", "not known"),
        ("1 / 2", "Div"),
        ("1 << 2", "LShift"),
        ("1 @ 2", "MatMult"),
        ("+1", "UAdd"),
        ("not 1", "Not"),
        ("1 if 1 else 2", "IfExp"),
        ("1 < 2", "Compare"),
        ("1 and 2", "BoolOp"),
        ("lambda: 1", "Lambda"),
        ("{1: 2}", "Dict"),
        ("{1}", "Set"),
        ("(i for i in range(3))", "GeneratorExp"),
        ("f'{1}'", "JoinedStr"),
        ("(x := 1)", "NamedExpr"),
        ("nn.Linear", "Attribute"),
        ("'a'.join", "Attribute"),
        ("b'x'", "bytes"),
        ("...", "ellipsis"),
        ("1j", "complex"),
        ("'a word far too long for a layer'", "word"),
        ("1000001", "beyond"),
        ("1e400", "beyond"),
        ("10 ** 7", "beyond"),
        ("1000000 * 1000000", "beyond"),
        ("2 ** 13", "exponent"),
        ("2 ** -1", "exponent"),
        ("2 ** 0.5", "exponent"),
        ("True + 1", "numbers"),
        ("'a' * 3", "numbers"),
        ("[1] * 3", "numbers"),
        ("[1] + 1", "numbers"),
        ("-[1]", "numbers"),
        ("[1][1]", "item 1"),
        ("[1][-2]", "item -2"),
        ("[1][0:1]", "Slice"),
        ("[1][True]", "integer"),
        ("classes[0]", "integer"),
        ("[*1]", "needs a list"),
        ("[i for i in [1, 2]]", "range"),
        ("[i for i in range(65)]", "65 turns"),
        ("[i for i in range(0, 10, 0)]", "step"),
        ("[i for i in range()]", "range takes"),
        ("[i for i in range(1.5)]", "range takes"),
        ("[i for i in range(True)]", "range takes"),
        ("[i for i in range(stop=3)]", "range"),
        ("[i for i in range(3) if i]", "only"),
        ("[i for i in range(3) for j in range(3)]", "only"),
        ("[i for i, j in range(3)]", "plain name"),
        ("[nn for nn in range(3)]", "reserved"),
        ("range(3)", "only nn"),
        ("print(1)", "only nn"),
        ("nn()", "only nn"),
        ("nn.functional.relu(1)", "only nn"),
        ("nn.Linear(1, 2)(3)", "only nn"),
        ("(nn.Linear)(1, **{})", r"\*\*"),
        ("nn.Module()", "not allowed; use"),
        ("nn.__class__()", "not allowed; use"),
        ("nn.BatchNorm2d(3)", "not allowed; use"),
        ("nn.Sequential()", "at least one"),
        ("nn.Sequential(1)", "takes layers"),
        ("nn.Sequential([nn.ReLU()])", "takes layers"),
        ("nn.Sequential(nn.ReLU(), name=nn.ReLU())", "takes layers"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, say: str) -> None:
    with pytest.raises(ModelFileError, match=say) as caught:
        _value(text)
    assert caught.value.line == 1


def test_a_loop_leaves_no_name_behind_and_may_not_see_later_ones() -> None:
    with pytest.raises(ModelFileError, match="'i' is not known"):
        _value("[[i for i in range(2)], i]")
    assert _value("[[i for i in range(2)], i]", i=7) == ((0, 1), 7)


@pytest.mark.parametrize("name", ["nn", "range", "build", "__import__"])
def test_reserved_names_cannot_be_given_away(name: str) -> None:
    target = ast.parse(name, mode="eval").body
    assert isinstance(target, ast.Name)
    with pytest.raises(ModelFileError, match="reserved"):
        Interpreter({}).assign(target, 1)


def test_lists_layers_and_steps_have_limits() -> None:
    row = "[" + ", ".join(["1"] * 200) + "]"
    with pytest.raises(ModelFileError, match=f"{MAX_ITEMS} items"):
        _value(f"{row} + {row}")
    with pytest.raises(ModelFileError, match=f"{MAX_ITEMS} items"):
        _value(f"[*{row}, *{row}]")
    block = "nn.Sequential(*[nn.ReLU() for i in range(64)])"
    with pytest.raises(ModelFileError, match=str(MAX_LEAVES)):
        _value(f"nn.Sequential(*[{block} for i in range(9)])")
    nested = "nn.ReLU()"
    for _ in range(13):
        nested = f"nn.Sequential({nested})"
    with pytest.raises(ModelFileError, match="nested 13 deep"):
        _value(nested)
    with pytest.raises(ModelFileError, match="steps"):
        _value("[[[1 for i in range(64)] for j in range(64)] for k in range(64)]")


def test_numbers_at_the_limit_are_taken() -> None:
    assert _value(str(MAX_NUMBER)) == MAX_NUMBER
    assert _value(f"-{MAX_NUMBER}") == -MAX_NUMBER


def test_a_layer_counts_what_it_holds() -> None:
    layer = _value("nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), nn.Flatten()))")
    assert isinstance(layer, Layer)
    assert (layer.leaves, layer.depth) == (3, 2)

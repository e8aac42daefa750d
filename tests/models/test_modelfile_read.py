from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelFileError
from models.modelfile.layers import Layer
from models.modelfile.read import MAX_BYTES, read_model_text

IMPORT = "from torch import nn\n"
HEAD = IMPORT + "\ndef build(classes: int, image_size: int) -> nn.Module:\n    "
BODY = ":\n    return nn.ReLU()"


def _read(text: str) -> Layer:
    return read_model_text(text, classes=4, image_size=64)


def test_the_documented_form_is_read() -> None:
    layer = _read(
        '''"""A docstring."""
from torch import nn

# a comment
def build(classes: int, image_size: int) -> nn.Module:
    """Another."""
    widths = [8, 16]
    return nn.Sequential(nn.Flatten(), nn.Linear(image_size ** 2, classes))
'''
    )
    assert [child.name for child in layer.children] == ["Flatten", "Linear"]
    assert dict(layer.children[1].arguments) == {"in_features": 4096, "out_features": 4}
    assert layer.children[1].line == 8


@pytest.mark.parametrize("signature", ["classes, image_size", "classes: int, image_size"])
def test_annotations_may_be_left_out(signature: str) -> None:
    assert _read(f"from torch import nn\ndef build({signature}): return nn.ReLU()").name == "ReLU"


def test_reading_needs_no_torch() -> None:
    code = "import sys; from models.modelfile.shapes import check_model_text; "
    code += "print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


NOT_THE_FORM = {
    "empty": "",
    "no import": "def build(classes, image_size):\n    return nn.ReLU()",
    "import twice": IMPORT + HEAD + "return nn.ReLU()",
    "no function": "from torch import nn",
    "two functions": HEAD
    + "return nn.ReLU()\ndef build(classes, image_size):\n    return nn.ReLU()",
    "wrong order": "def build(classes, image_size):\n    return nn.ReLU()\nfrom torch import nn",
    "another import": HEAD.replace(IMPORT, "import os\n") + "return nn.ReLU()",
    "import from elsewhere": HEAD.replace(IMPORT, "from os import nn\n") + "return nn.ReLU()",
    "import star": HEAD.replace(IMPORT, "from torch import *\n") + "return nn.ReLU()",
    "import as": HEAD.replace(IMPORT, "from torch import nn as nn2\n") + "return nn.ReLU()",
    "relative import": HEAD.replace(IMPORT, "from .torch import nn\n") + "return nn.ReLU()",
    "import more": HEAD.replace(IMPORT, "from torch import nn, os\n") + "return nn.ReLU()",
    "two imports": HEAD.replace(IMPORT, IMPORT + "import os\n") + "return nn.ReLU()",
    "code before": "print(1)\n" + HEAD + "return nn.ReLU()",
    "code after": HEAD + "return nn.ReLU()\nprint(1)",
    "a class": "from torch import nn\nclass Net(nn.Module):\n    pass",
    "async": IMPORT + "async def build(classes, image_size)" + BODY,
    "decorator": IMPORT + "@print\ndef build(classes, image_size)" + BODY,
    "default": IMPORT + "def build(classes, image_size=1)" + BODY,
    "default that calls": IMPORT + "def build(classes, image_size=print())" + BODY,
    "annotation that calls": IMPORT + "def build(classes: print(), image_size)" + BODY,
    "annotation of return": IMPORT + "def build(classes, image_size) -> print()" + BODY,
    "other names": IMPORT + "def build(a, b)" + BODY,
    "other function name": IMPORT + "def make(classes, image_size)" + BODY,
    "varargs": IMPORT + "def build(classes, image_size, *a)" + BODY,
    "keyword only": IMPORT + "def build(classes, *, image_size)" + BODY,
    "positional only": IMPORT + "def build(classes, image_size, /)" + BODY,
    "no return": HEAD + "x = 1",
    "empty return": HEAD + "return",
    "return in between": HEAD + "return nn.ReLU()\n    x = 1",
    "returns a number": HEAD + "return 5",
    "returns a list": HEAD + "return [nn.ReLU()]",
    "statement": HEAD + "print(1)\n    return nn.ReLU()",
    "if": HEAD + "if 1:\n        x = 1\n    return nn.ReLU()",
    "while": HEAD + "while True: pass\n    return nn.ReLU()",
    "for": HEAD + "for i in range(3): pass\n    return nn.ReLU()",
    "with": HEAD + "with open('x'): pass\n    return nn.ReLU()",
    "global": HEAD + "global x\n    return nn.ReLU()",
    "del": HEAD + "del classes\n    return nn.ReLU()",
    "nested function": HEAD + "def f(): pass\n    return nn.ReLU()",
    "import inside": HEAD + "import os\n    return nn.ReLU()",
    "two targets": HEAD + "a = b = 1\n    return nn.ReLU()",
    "tuple target": HEAD + "a, b = 1, 2\n    return nn.ReLU()",
    "attribute target": HEAD + "nn.Linear = 1\n    return nn.ReLU()",
    "item target": HEAD + "a = [1]\n    a[0] = 2\n    return nn.ReLU()",
    "augmented": HEAD + "classes += 1\n    return nn.ReLU()",
    "annotated": HEAD + "a: int = 1\n    return nn.ReLU()",
}


@pytest.mark.parametrize("text", NOT_THE_FORM.values(), ids=NOT_THE_FORM.keys())
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError):
        _read(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("from torch import nn\nimport os\n", 2),
        (HEAD + "x = 1\n    y = x()\n    return nn.ReLU()", 5),
        (HEAD + "x = (\n\n    os.system('x'))\n    return nn.ReLU()", 6),
        (HEAD + "x = 1 +\n    return nn.ReLU()", 4),
    ],
)
def test_the_line_is_named(text: str, line: int) -> None:
    with pytest.raises(ModelFileError) as caught:
        _read(text)
    assert caught.value.line == line
    assert f"line {line}:" in str(caught.value)


@pytest.mark.parametrize(
    ("char", "code"),
    [
        ("\0", "U+0000"),
        ("\x0c", "U+000C"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
        ("\u00e9", "U+00E9"),
        ("\u202e", "U+202E"),  # right-to-left override: the reviewer would see other code
        ("\u2066", "U+2066"),
        ("\u200b", "U+200B"),
        ("\u0430", "U+0430"),  # a Cyrillic a
        ("\uff4e", "U+FF4E"),  # a full-width n, which Python would read as n
        ("\ud800", "U+D800"),
        ("\U0001d427", "U+1D427"),
    ],
)
def test_only_plain_ascii_is_read_even_in_comments(char: str, code: str) -> None:
    with pytest.raises(ModelFileError, match=r"line 2") as caught:
        _read("# fine\n# not " + char + "\n" + HEAD + "return nn.ReLU()")
    assert code in str(caught.value)


DEEP = {
    "parentheses": "(" * 7000 + "1" + ")" * 7000,
    "lists": "[" * 150 + "]" * 150,
    "minus": "-" * 16_000 + "1",
    "not": "not " * 4000 + "1",
    "invert": "~" * 16_000 + "1",
    "sum": "1+" * 8000 + "1",
    "power": "1**" * 5300 + "1",
    "attributes": "a" + ".a" * 8000,
    "calls": "a" + "()" * 8000,
    "items": "a" + "[0]" * 5000,
    "lambda": "lambda:" * 2200 + "1",
    "conditions": "1 if 1 else " * 1300 + "1",
    "await": "await " * 2600 + "1",
    "dicts": "{1:" * 190 + "1" + "}" * 190,
    "strings": "f'{" * 60,
    "wide": "[" + "1," * 8000 + "]",
    "wide call": "nn.Linear(" + "1," * 8000 + ")",
    "digits": "9" * 16_000,
    "hex digits": "0x" + "f" * 16_000,
    "octal": "0o" + "7" * 16_000,
    "exponent": "1e" + "9" * 1000,
    "power tower": "10**10**10",
    "huge product": "*".join(["1000000"] * 40),
    "string": "'" + "x" * 16_000 + "'",
    "backslashes": "'" + "\\\\" * 7000 + "'",
    "bad escape": "'\\d'",
    "dubious literal": "[0x1for x in range(3)]",
    "list bomb": "[[[1 for a in range(64)] for b in range(64)] for c in range(64)]",
    "doubling": "nn.ReLU()",
}


@pytest.mark.parametrize("expression", DEEP.values(), ids=DEEP.keys())
def test_hostile_size_and_depth_are_refused_quickly_and_cheaply(expression: str) -> None:
    text = (HEAD + "return " + expression)[:MAX_BYTES]
    if expression == DEEP["doubling"]:
        lines = ["x0 = [1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"x{i + 1} = [x{i}, x{i}, x{i}, x{i}, x{i}, x{i}, x{i}]" for i in range(60)]
        text = HEAD + "\n    ".join([*lines, "return nn.Linear(x60, x60)"])
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ModelFileError) as caught:
        _read(text)
    seconds = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5  # traced, on a busy machine; well under a second otherwise
    assert peak < 32 * 2**20
    assert len(str(caught.value)) < 500


def test_a_file_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(ModelFileError, match=str(MAX_BYTES)):
        _read(HEAD + "return nn.ReLU()" + " " * MAX_BYTES)


_WORDS = [
    "nn", ".", "Linear", "Conv2d", "Sequential", "ReLU", "Flatten", "GroupNorm", "(", ")", "[", "]",
    ",", "*", "**", "+", "-", "//", "%", "/", "=", "==", " ", " for ", " in ", "range", "i", "x",
    "classes", "image_size", "0", "1", "3", "64", "1e9", "10**9", "True", "None", "'same'", "''",
    "lambda", ":", " if ", " else ", "\n    ", "return ", "__class__", "getattr", "{", "}", "@",
    ";", "import os", "#", "\\", "f'{x}'", "b''", "...", "1j", ":=", "async ", "await ", "yield ",
    "not ",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=40))
def test_no_soup_of_words_raises_anything_else(words: list[str]) -> None:
    for text in (HEAD + "".join(words), HEAD + "x = " + "".join(words) + "\n    return nn.ReLU()"):
        try:
            _read(text)
        except ModelFileError:
            continue


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_at_all_raises_anything_else(text: str) -> None:
    for candidate in (text, HEAD + text, HEAD + "return " + text):
        try:
            _read(candidate)
        except ModelFileError:
            continue

"""Nothing in the packages writes to a screen but one module, through which all is made visible."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THE_WAY_OUT = "datasites/console.py"
FORBIDDEN = {
    "print",
    "input",
    "pprint",
    "echo",
    "secho",
    "confirm",
    "prompt",
    "echo_via_pager",
    "Console",
    "basicConfig",
    "StreamHandler",
    "print_exc",
    "print_exception",
    "print_json",
}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}


def sources():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    packages = ("datasites/", "orchestrator/", "models/", "privacy/")
    # A developer's own programs (`scripts`, `training_scripts`) show what they made themselves.
    return [path for path in listed if path.startswith(packages) and "scripts/" not in path]


def ways_out(text):
    """Lines at which a module writes to a screen, or makes what can."""
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                # A rich console or progress that was handed in prints `Text` (test_progress).
                of_console = isinstance(node.func, ast.Attribute) and "console" in ast.unparse(
                    node.func.value
                )
                if name in FORBIDDEN and not of_console:
                    found.append((node.lineno, name))
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if name in STREAMS:
                found.append((node.lineno, f"sys.{name}"))
            case ast.ImportFrom(module="sys", names=names):
                found += [(node.lineno, one.name) for one in names if one.name in STREAMS]
            case ast.ImportFrom(module="rich" | "rich.console", names=names):
                found += [
                    (node.lineno, one.name)
                    for one in names
                    if one.name in {"print", "print_json", "inspect"}
                ]
    return found


@pytest.mark.parametrize("path", sources())
def test_one_module_writes_to_screens(path):
    found = ways_out((ROOT / path).read_text())
    if path == THE_WAY_OUT:
        assert found
    else:
        assert not found, f"{path} writes to a screen at {found}: use datasites.console"


@pytest.mark.parametrize(
    "text",
    [
        "print(name)",
        "import typer\ntyper.echo(name)",
        "import typer as t\nt.secho(name, fg='red')",
        "from click import echo\necho(name)",
        "import rich\nrich.print(name)",
        "from rich import print as out\nout(name)",
        "from rich.console import Console\nConsole().print(name)",
        "import sys\nsys.stdout.write(name)",
        "import sys\nout = sys.stderr\nout.write(name)",
        "from sys import stdout\nstdout.write(name)",
        "import logging\nlogging.basicConfig()",
        "import logging\nlogging.StreamHandler()",
    ],
)
def test_the_walk_sees_every_way_out(text):
    assert ways_out(text)

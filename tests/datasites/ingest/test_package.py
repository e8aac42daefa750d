from __future__ import annotations

import subprocess
import sys

import pytest

import datasites.ingest as package


def test_every_public_name_loads() -> None:
    for name in package.__all__:
        assert getattr(package, name).__name__ == name if name[0].islower() else True
        assert hasattr(package, name)
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import datasites.ingest", {"numpy", "PIL", "scipy", "torch"}),
        ("import datasites.ingest.classes", {"numpy", "PIL", "scipy", "torch"}),
        (
            "from datasites.ingest import *",
            {"scipy", "torch", "syft", "opacus", "transformers", "pydantic"},
        ),
    ],
)
def test_starts_quickly(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys; print(sorted({absent!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_module_hides_a_public_function() -> None:
    code = (
        "import datasites.ingest.ingester, datasites.ingest.splitter, datasites.ingest.shardstore\n"
        "import datasites.ingest as p\n"
        "print([n for n in p.__all__ if type(getattr(p, n)).__name__ == 'module'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import models


@pytest.mark.parametrize("name", models.__all__)
def test_every_curated_name_is_there(name: str) -> None:
    assert getattr(models, name) is not None


def test_the_list_has_no_name_twice() -> None:
    assert len(set(models.__all__)) == len(models.__all__)


def test_unknown_names_raise() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        models.nothing_of_the_kind  # noqa: B018  the look-up is the test


def test_importing_the_package_loads_no_vendor() -> None:
    code = "import sys, models; print([m for m in ('torch', 'numpy', 'diffusers', 'sklearn', "
    code += "'transformers', 'torchvision') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("other", ["privacy", "datasites", "orchestrator"])
def test_models_imports_nothing_of_ours(other: str) -> None:
    folder = Path(models.__file__ or "").parent
    for file in folder.rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            assert not line.lstrip().startswith((f"import {other}", f"from {other}")), file

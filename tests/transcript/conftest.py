"""A paired site without data, once; and plays of whole studies on copies of it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.transcript.transcriptkit import KINDS, Cases, play, prepare

torch.set_num_threads(1)
FEW = 20
"""Pairs that run with all other tests; `make test-transcript` asks for 200."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--transcript-pairs", type=int, default=FEW, help="pairs that are compared")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pairs" in metafunc.fixturenames:
        metafunc.parametrize(
            "pairs", [metafunc.config.getoption("--transcript-pairs", default=FEW)]
        )


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """The transcript of a study of some kind at a hospital that holds these cases."""
    folder, count = tmp_path_factory.mktemp("plays"), itertools.count()

    def transcript(kind: str, train: Cases, test: Cases) -> list[str]:
        root = folder / f"{next(count)}"
        try:
            return play(base, root, KINDS[kind], train, test)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    return transcript

"""Deaths of real processes over three hospitals; see `crashkit` for how each is brought about.

A sample runs with all other tests. `make test-crash` passes `--crash-points=N`, which adds a sweep
over N points taken evenly from all step boundaries of a recorded run; `--crash-turn=T` takes other
points, and other faults at the same ones.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    import datasites.syftnet  # noqa: F401

from crashkit.checker import check
from crashkit.scenario import Point, Scenario
from crashkit.world import World, Zygote, prepare


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: runs with `make test-crash` only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--crash-points", default=0):
        return
    left = [item for item in items if item.get_closest_marker("whole") is not None]
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=left)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--crash-points", type=int, default=0, help="points of the crash sweep")
    parser.addoption("--crash-turn", type=int, default=0, help="which sample of points it takes")


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """Where the worlds lie; in memory where that is to be had, for a death costs many writes."""
    memory = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(ground: Path) -> World:
    return prepare(ground / "template")


@pytest.fixture(scope="session")
def zygote(ground: Path) -> Iterator[Zygote]:
    started = Zygote(ground / "zygote")
    yield started
    started.close()


@pytest.fixture
def world(ground: Path, template: World, request: pytest.FixtureRequest) -> World:
    """A copy of the prepared world, for this test."""
    return template.copy(Path(tempfile.mkdtemp(dir=ground)) / "world")


@pytest.fixture(scope="session")
def play(ground: Path, template: World, zygote: Zygote) -> Callable[..., Scenario]:
    """Take a study through a death to its end, and check all that must hold."""

    def run(point: Point, **fields: object) -> Scenario:
        folder = Path(tempfile.mkdtemp(dir=ground))
        scenario = Scenario(template.copy(folder / "world"), zygote, point, **fields)
        scenario.run()
        assert scenario.died or not point.label, f"{point} was not reached"
        check(scenario.world, scenario.losses)
        if not fields:
            shutil.rmtree(folder)
        return scenario

    return run

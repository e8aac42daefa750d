"""Names, ranges and minimum numbers of the strategies."""

from __future__ import annotations

import math

import pytest

from orchestrator.errors import StrategyError
from orchestrator.study.strategies import StrategySettings, strategy_names


def test_the_names() -> None:
    assert set(strategy_names()) >= {"fedavg", "fedprox", "fedadam", "fedmedian", "krum"}


@pytest.mark.parametrize("name", strategy_names())
def test_each_strategy_can_be_asked_for(name: str) -> None:
    mu = 0.1 if name == "fedprox" else 0.0
    settings = StrategySettings(name=name, proximal_mu=mu)
    assert settings.minimum_updates >= 1
    assert name in settings.describe()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "fedsgd"}, "choose one of fedavg"),
        ({"name": ["fedavg"]}, "unknown strategy"),
        ({"name": "fedprox"}, "proximal_mu is 0"),
        ({"name": "fedprox", "proximal_mu": -1.0}, "proximal_mu is -1"),
        ({"name": "fedprox", "proximal_mu": math.nan}, "finite number"),
        ({"name": "fedprox", "proximal_mu": "0.1"}, "finite number"),
        ({"name": "fedavg", "proximal_mu": 0.1}, "does not use proximal_mu; only fedprox"),
        ({"name": "fedavg", "server_learning_rate": 1.0}, "only fedadam"),
        ({"name": "fedadam", "server_learning_rate": 0.0}, "positive"),
        ({"name": "fedadam", "beta_1": 1.0}, "beta_1"),
        ({"name": "fedadam", "beta_2": -0.1}, "beta_2"),
        ({"name": "fedadam", "tau": 0.0}, "tau"),
        ({"name": "fedtrimmedavg", "trimmed_fraction": 0.5}, "trimmed_fraction is 0.5"),
        ({"name": "fedtrimmedavg", "trimmed_fraction": 0.0}, "trimmed_fraction is 0.0"),
        ({"name": "krum", "byzantine": 0}, "at least 1"),
        ({"name": "krum", "byzantine": 1.5}, "whole number"),
        ({"name": "krum", "byzantine": True}, "whole number"),
    ],
)
def test_what_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        StrategySettings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "fewest"),
    [
        (StrategySettings(name="fedavg"), 1),
        (StrategySettings(name="fedmedian"), 3),
        (StrategySettings(name="krum", byzantine=1), 5),
        (StrategySettings(name="multikrum", byzantine=2), 7),
        (StrategySettings(name="bulyan", byzantine=1), 7),
        (StrategySettings(name="fedtrimmedavg", trimmed_fraction=0.2), 5),
        (StrategySettings(name="fedtrimmedavg", trimmed_fraction=0.34), 3),
        (StrategySettings(name="fedtrimmedavg", trimmed_fraction=0.01), 100),
    ],
)
def test_minimum_updates(settings: StrategySettings, fewest: int) -> None:
    assert settings.minimum_updates == fewest


def test_the_description_names_only_what_counts() -> None:
    assert StrategySettings(name="fedavg").describe() == "fedavg"
    krum = StrategySettings(name="krum", byzantine=2)
    assert krum.describe() == "krum (byzantine = 2)"
    assert krum.weighted is False
    assert StrategySettings(name="fedadam").weighted is True

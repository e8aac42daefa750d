"""Membership attacks: RMIA finds members of a model that learnt by heart, and none by chance."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import MetricsError
from models.metrics.membership import attack_tpr, rmia_scores


def test_a_model_that_learnt_by_heart_is_found_out():
    rng = np.random.default_rng(1)
    outside = rng.uniform(0.2, 0.6, (4, 300))
    strangers_outside = rng.uniform(0.2, 0.6, (4, 2000))
    population_outside = rng.uniform(0.2, 0.6, (4, 300))
    population = population_outside.mean(axis=0)
    members = rmia_scores(
        np.full(300, 0.99),
        outside,
        population=population,
        population_outside=population_outside,
    )
    strangers = rmia_scores(
        strangers_outside.mean(axis=0),
        strangers_outside,
        population=population,
        population_outside=population_outside,
    )
    found = attack_tpr(members, strangers, fpr=0.001)
    assert found.auc > 0.9
    assert found.low <= found.tpr <= found.high


def test_chance_finds_hardly_anybody():
    rng = np.random.default_rng(2)
    found = attack_tpr(rng.normal(size=1000), rng.normal(size=2000), fpr=0.001)
    assert found.tpr < 0.01
    assert found.low < 0.005 < found.high
    assert found.auc == pytest.approx(0.5, abs=0.03)


def test_the_threshold_accuses_no_more_than_allowed():
    others = np.arange(1000.0)
    found = attack_tpr(np.array([998.5, 999.5, 1.0, 2.0]), others, fpr=0.001)
    assert found.tpr == 0.5


def test_ties_with_strangers_are_no_hits():
    assert attack_tpr(np.ones(10), np.ones(1000), fpr=0.001).tpr == 0.0


def test_what_cannot_be_attacked_is_refused():
    with pytest.raises(MetricsError, match="at least 1000"):
        attack_tpr(np.ones(3), np.ones(999), fpr=0.001)
    with pytest.raises(MetricsError, match="reference"):
        rmia_scores(
            np.ones(3),
            np.ones((0, 3)),
            population=np.ones(2),
            population_outside=np.ones((0, 2)),
        )
    with pytest.raises(MetricsError, match="row"):
        rmia_scores(
            np.ones(3),
            np.ones((2, 4)),
            population=np.ones(2),
            population_outside=np.ones((2, 2)),
        )

"""The contribution log and the curves made of it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aggregation.contribution import (
    Contribution,
    contributions,
    contributions_csv,
    contributions_from_json,
    contributions_json,
    mean_shares,
)
from orchestrator.aggregation.update_checks import Update
from orchestrator.errors import ReportingError, StudyError
from orchestrator.results.curves import EpsilonSeries, epsilon_series, scores_csv
from orchestrator.rounds.progress import RoundScore


def update(hospital: str, vector: list[float], *, epsilon: float = 1.0) -> Update:
    learned = torch.tensor(vector, dtype=torch.float32)
    weights = {"w": learned[:2], "b": learned[2:], "n": torch.tensor(4)}
    return Update(
        hospital=hospital,
        weights=weights,
        units=50.0,
        epsilon=epsilon,
        delta=1e-5,
        receipt_sha256="ab" * 32,
        wall_s=2.5,
    )


def line(**changed: object) -> Contribution:
    plain = Contribution(
        round=1,
        hospital="north",
        units=50.0,
        update_norm=2.0,
        cosine_to_aggregate=0.5,
        epsilon=1.0,
        delta=1e-5,
        wall_s=2.5,
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def test_shares_are_the_mean_over_rounds_and_who_was_out_weighed_nothing() -> None:
    lines = [
        line(round=1, hospital="a", units=30.0),
        line(round=1, hospital="b", units=10.0),
        line(round=2, hospital="b", units=10.0),
    ]
    assert mean_shares(lines) == {"a": pytest.approx(0.375), "b": pytest.approx(0.625)}
    assert mean_shares([]) == {}


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abcd"), st.floats(0.1, 1e6))))
def test_shares_are_shares(rows: list[tuple[int, str, float]]) -> None:
    shares = mean_shares([line(round=r, hospital=h, units=u) for r, h, u in rows])
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    assert not rows or sum(shares.values()) == pytest.approx(1.0)


def test_norm_and_cosine_are_those_of_the_changes() -> None:
    before, after = update("g", [1, 1, 1]).weights, update("g", [1, 1, 3]).weights
    sent = [update("b", [4, 5, 1]), update("a", [1, 1, 2]), update("c", [1, 1, -1])]
    sent.append(update("d", [1, 2, 2]))
    lines = contributions(round_number=3, global_before=before, global_after=after, updates=sent)
    assert [x.hospital for x in lines] == ["a", "b", "c", "d"]
    assert [x.update_norm for x in lines] == pytest.approx([1, 5, 2, math.sqrt(2)])
    assert [x.cosine_to_aggregate for x in lines] == pytest.approx([1, 0, -1, math.sqrt(0.5)])
    assert lines[0] == Contribution(
        round=3,
        hospital="a",
        units=50.0,
        update_norm=1.0,
        cosine_to_aggregate=1.0,
        epsilon=1.0,
        delta=1e-5,
        wall_s=2.5,
        counted_units=50.0,
    )


def test_a_claim_far_beyond_the_others_is_written_beside_what_counts_of_it() -> None:
    start = update("g", [1, 1, 1]).weights
    sent = [update(name, [1, 1, 2]) for name in "abc"]
    sent[1] = replace(sent[1], units=1e9)
    lines = contributions(round_number=1, global_before=start, global_after=start, updates=sent)
    assert [one.units for one in lines] == [50.0, 1e9, 50.0]
    assert [one.counted_units for one in lines] == [50.0, 100.0, 50.0]
    assert mean_shares(lines) == {"a": 0.25, "b": 0.5, "c": 0.25}


def test_a_cosine_with_nothing_is_undefined() -> None:
    start = update("g", [1, 1, 1]).weights
    moved = update("a", [1, 1, 2])
    still = contributions(round_number=1, global_before=start, global_after=start, updates=[moved])
    assert still[0].cosine_to_aggregate is None
    idle = contributions(
        round_number=1,
        global_before=start,
        global_after=moved.weights,
        updates=[update("a", [1] * 3)],
    )
    assert idle[0].cosine_to_aggregate is None
    assert idle[0].update_norm == 0


coordinates = st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3)


@given(coordinates, coordinates)
def test_the_cosine_stays_in_range_and_is_numpys(one: list[float], other: list[float]) -> None:
    start = update("g", [0, 0, 0]).weights
    after = update("g", other).weights
    (got,) = contributions(
        round_number=1, global_before=start, global_after=after, updates=[update("a", one)]
    )
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    if scale == 0 or got.cosine_to_aggregate is None:
        return
    assert -1 <= got.cosine_to_aggregate <= 1
    assert got.cosine_to_aggregate == pytest.approx(float(np.dot(one, other)) / scale, abs=1e-6)


values = st.builds(
    Contribution,
    round=st.integers(1, 99),
    hospital=st.text(),
    units=st.floats(0, 1e9),
    update_norm=st.floats(0, 1e9),
    cosine_to_aggregate=st.none() | st.floats(-1, 1),
    epsilon=st.floats(0, 1e9) | st.just(math.inf),
    delta=st.floats(0, 1),
    wall_s=st.floats(0, 1e9),
)


@given(st.lists(values, max_size=4))
def test_json_comes_back_as_it_was(lines: list[Contribution]) -> None:
    text = contributions_json(lines)
    json.loads(text, parse_constant=pytest.fail)
    assert contributions_from_json(text) == tuple(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "malformed"),
        ("[]", "malformed"),
        ('{"version": 2}', "malformed"),
        ('{"version": 2, "contributions": [7]}', "malformed"),
        ('{"version": 2, "contributions": [{"round": 1}]}', "unexpected columns"),
        ('{"version": 1, "contributions": []}', "version 1"),
    ],
)
def test_a_log_that_is_not_ours_is_refused(text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        contributions_from_json(text)


def test_csv_reads_back_and_runs_nothing() -> None:
    odd = line(hospital='=HYPERLINK("x")', cosine_to_aggregate=None, epsilon=math.inf)
    rows = list(csv.DictReader(io.StringIO(contributions_csv([line(), odd]))))
    assert rows[0]["hospital"] == "north"
    assert float(rows[0]["cosine_to_aggregate"]) == 0.5
    assert rows[1]["hospital"] == '\'=HYPERLINK("x")'
    assert (rows[1]["cosine_to_aggregate"], rows[1]["epsilon"]) == ("", "inf")


def test_epsilon_series_come_out_of_the_log() -> None:
    log = [line(round=2, epsilon=1.5), line(hospital="east", round=2), line(round=1)]
    east, north = epsilon_series(log, budgets={"north": 8.0})
    assert (east.hospital, east.rounds, east.budget) == ("east", (2,), None)
    assert (north.rounds, north.epsilon, north.budget) == ((1, 2), (1.0, 1.5), 8.0)
    assert north.total == 1.5


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ([line(), line(round=2, epsilon=0.5)], "falls"),
        ([line(), line(epsilon=2.0)], "not ascending"),
        ([line(), line(round=2, delta=1e-6)], "different deltas"),
        ([line(epsilon=math.nan)], "no number"),
    ],
)
def test_a_log_that_cannot_be_is_refused(log: list[Contribution], message: str) -> None:
    with pytest.raises(ReportingError, match=message):
        epsilon_series(log)


def test_an_empty_series_is_refused() -> None:
    with pytest.raises(ReportingError, match="0 rounds"):
        EpsilonSeries(hospital="a", rounds=(), epsilon=(), delta=1e-5)


@pytest.mark.parametrize(
    "changed", [{"loss": math.nan}, {"accuracy": 1.1}, {"macro_f1": -0.1}, {"round": -1}]
)
def test_scores_that_cannot_be_are_refused(changed: dict[str, float]) -> None:
    good = RoundScore(round=0, loss=1.4, accuracy=0.25, macro_f1=0.2)
    with pytest.raises(ReportingError):
        replace(good, **changed)  # type: ignore[arg-type]


def test_scores_as_csv() -> None:
    text = scores_csv([RoundScore(round=1, loss=1.25, accuracy=0.5, macro_f1=0.25)])
    assert text == "round,loss,accuracy,macro_f1\n1,1.25,0.5,0.25\n"

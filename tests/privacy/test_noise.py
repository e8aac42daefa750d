"""Integer noise: the right distribution, decided exactly, from a key stream of the system's."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from privacy.mechanism import noise as noise_module
from privacy.mechanism.noise import (
    LAMBDA,
    NOISE_BITS,
    WEIGHTS,
    OsNoise,
    UnsafeNoNoise,
    UnsafeSeededNoise,
    decide,
    os_noise,
)
from privacy.mechanism.randomness import KeyStream, Part, UnsafeSeededStream

SIGMA = 2**NOISE_BITS


class Said:
    """A part of a key stream that says what it is told, then zeros."""

    def __init__(self, *words: int) -> None:
        self._words = list(words)

    def words(self, count: int) -> np.ndarray:
        given_, self._words = self._words[:count], self._words[count:]
        return np.array(given_ + [0] * (count - len(given_)), np.uint64)


def acceptance(step: int, place: int, bits: int = 44) -> Decimal:
    """Lambda exp(-x**2 / 2) / W[step] at x = place / 2**bits, to 80 digits."""
    with localcontext() as context:
        context.prec = 90
        x = Decimal(place) / Decimal(2) ** bits
        return (-(x * x) / 2).exp() * LAMBDA / WEIGHTS[step]


def test_it_is_normal_in_its_body_and_its_tails() -> None:
    found = UnsafeSeededNoise(5).integers(1_000_000) / SIGMA
    assert kstest(found, "norm").pvalue > 1e-4
    for edge in (1.0, 2.0, 3.0, 4.0, 4.75):
        expected = 2 * norm.sf(edge) * len(found)
        assert abs((np.abs(found) > edge).sum() - expected) < 5 * np.sqrt(expected) + 1
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 5 / np.sqrt(len(found))


def test_its_low_bits_are_fair_and_independent_of_its_high_ones() -> None:
    found = UnsafeSeededNoise(6).integers(400_000)
    for bit in (0, 1, 2, 7, 15):
        low = (found >> bit) & 1
        assert abs(low.mean() - 0.5) < 5 * 0.5 / math.sqrt(len(found))
        assert abs(np.corrcoef(low, found)[0, 1]) < 5 / math.sqrt(len(found))


def test_it_is_a_floor_so_minus_one_is_as_likely_as_zero() -> None:
    """Rounding toward zero would make 0 twice as likely, and S + it no rounding of S + noise."""
    found = UnsafeSeededNoise(7).integers(2_000_000)
    near = np.abs(found + 0.5) < 2**16
    assert abs((found[near] < 0).mean() - 0.5) < 5 * 0.5 / math.sqrt(near.sum())
    mean = found.mean() / SIGMA
    assert abs(mean) < 5 / math.sqrt(len(found))


def test_the_alias_table_gives_every_step_exactly_its_weight() -> None:
    threshold, other = noise_module._THRESHOLD, noise_module._OTHER
    mass = [0] * len(WEIGHTS)
    for column in range(len(WEIGHTS)):
        mass[column] += int(threshold[column])
        mass[int(other[column])] += 2**32 - int(threshold[column])
    assert mass == WEIGHTS
    assert sum(WEIGHTS) == 2**40


@pytest.mark.parametrize("step", [0, 1, 16, 31, 100, 255])
def test_no_acceptance_is_above_one(step: int) -> None:
    assert 0 < acceptance(step, step << 40) <= 1


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 255), st.integers(0, 2**40 - 1), st.integers(0, 2**47 - 1))
def test_what_doubles_decide_is_what_eighty_digits_decide(step: int, place: int, u: int) -> None:
    place |= step << 40
    accepted = noise_module._Block(Said())._settled(
        *(np.array([value], np.uint64) for value in (step, place, u))
    )[0]
    for x in (place, place + 1):
        bound = acceptance(step, x)
        low, high = Decimal(u) / 2**47, Decimal(u + 1) / 2**47
        assert not (accepted and low >= bound)
        assert accepted or high > bound - Decimal(2) ** -30


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 100), st.integers(0, 2**40 - 1), st.sampled_from([-1, 0, 1]), st.data())
def test_doubtful_draws_are_decided_by_more_bits(
    step: int, place: int, off: int, data: st.DataObject
) -> None:
    """Where 47 bits of u cannot tell, the 128 that follow do, as an exact comparison says."""
    place |= step << 40
    words = [data.draw(st.integers(0, 2**64 - 1)) for _ in range(4)]
    u = min(max(int(acceptance(step, place) * 2**47) + off, 0), 2**47 - 1)
    x = place << 128 | words[0] << 64 | words[1]
    whole = u << 128 | words[2] << 64 | words[3]
    bound = acceptance(step, x, bits=172)
    decided = decide(step, place, u, Said(*words))
    with localcontext() as context:
        context.prec = 90
        assert decided == (Decimal(whole) < bound * Decimal(2) ** 175)


def test_a_draw_at_the_very_bound_takes_the_doubtful_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = noise_module.decide
    monkeypatch.setattr(noise_module, "decide", lambda *a: asked.append(a[0]) or real(*a))
    step, place = 9, 9 << 40
    u = int(acceptance(step, place) * 2**47)
    for off, expected in ((-(2**26), 0), (0, 1), (2**26, 0)):
        asked.clear()
        noise_module._Block(Said())._settled(
            *(np.array([v], np.uint64) for v in (step, place, u + off))
        )
        assert len(asked) == expected


def test_the_seeded_source_repeats_itself_whatever_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = noise_module._ALONE + 12_345
    together = UnsafeSeededNoise(3).integers(count)
    monkeypatch.setattr(noise_module.os, "sched_getaffinity", lambda _pid: {0})
    assert np.array_equal(together, UnsafeSeededNoise(3).integers(count))
    assert not np.array_equal(together[:9], UnsafeSeededNoise(4).integers(9))


def test_no_two_draws_and_no_two_sources_agree_and_none_shows_its_key() -> None:
    first, second = OsNoise(), OsNoise()
    assert not np.array_equal(first.integers(8), second.integers(8))
    assert not np.array_equal(first.integers(8), first.integers(8))
    assert repr(first) == "OsNoise(KeyStream())"
    assert isinstance(os_noise(), OsNoise)
    assert first.integers(0).shape == (0,)


def test_no_noise_is_none() -> None:
    assert not UnsafeNoNoise().integers(9).any()


def test_the_distance_from_the_ideal_is_as_small_as_stated() -> None:
    tail = Fraction(float(2 * norm.sf(16)))
    assert tail * 2**63 < Fraction(1, 2**125)
    assert len(WEIGHTS) / 16 == 16


def test_parts_of_a_stream_are_its_own_and_do_not_overlap() -> None:
    stream = UnsafeSeededStream(1)
    parts = [stream.part(number).words(1000) for number in (1, 2)]
    seen = np.concatenate([*parts, stream.words(1000)])
    assert len(np.unique(seen)) == 3000
    assert isinstance(KeyStream().part(1), Part)

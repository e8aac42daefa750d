"""Last bits against both possible sums: each fault is found, the right mechanism is not.

Proven: an impossible value is impossible (all neighbours tried), a possible one is never called so;
float noise on float sums, doubles on counts, and lattice noise on a sum that is none are found out
by releases that played no part in learning; integers on a grid are not, nor is noise so fine that
nothing can be seen.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy import Guessed, SettingsError, lattice_steps, learn, least_mu
from privacy.empirical.low_bits import impossible
from tests.faultkit import float_counts, float_noise, float_sum, grid_release, lattice_noise

CLIP, NOISE = 0.3, 4.8
STD = CLIP * NOISE
UNITS = np.random.default_rng(1).normal(0.0, 0.02, (240, 580)).astype(np.float32)
WITHOUT, WITH = (float_sum(UNITS[:end], clip=CLIP) for end in (-1, None))
STEPS = tuple(s for scale in (1.0, CLIP, STD) for s in lattice_steps(scale))
FINITE = st.floats(-100, 100, width=32, allow_nan=False)


@given(arrays(np.float32, 8, elements=FINITE), arrays(np.float32, 8, elements=FINITE))
def test_what_came_of_a_number_is_never_impossible(total, noise):
    assert not impossible(total + noise, total).any()
    doubles = total.astype(np.float64) * (1 / 3)
    assert not impossible(doubles + noise / 7, doubles).any()


def test_what_is_called_impossible_is():
    """A double below one that is finer than 1 + N can be: no N gives it."""
    fine = np.array([2.0**-60])
    assert impossible(fine, np.ones(1)).all()
    assert not impossible(fine, np.zeros(1)).any()
    near = fine[0] - 1.0
    for origin in (near, np.nextafter(near, -2), np.nextafter(near, 0)):
        assert 1.0 + origin != fine[0]


def bound(release, without, with_unit, *, lessons=20, tries=30):
    lesson = learn(
        [release(False) for _ in range(lessons)],
        [release(True) for _ in range(lessons)],
        without=without,
        with_unit=with_unit,
        steps=STEPS,
    )
    said = {
        truth: [
            lesson.guess(release(truth), without, with_unit, by_proof=lesson.proves)
            for _ in range(tries)
        ]
        for truth in (False, True)
    }
    guessed = Guessed(
        absent=tries,
        present=tries,
        absent_right=said[False].count(False),
        absent_wrong=said[False].count(True),
        present_right=said[True].count(True),
        present_wrong=said[True].count(False),
    )
    return lesson, guessed, least_mu(guessed, significance=2e-4)


@pytest.mark.parametrize("fault", [float_noise, lattice_noise])
def test_a_fault_in_the_noise_of_weights_is_found(fault):
    lesson, guessed, found = bound(
        lambda inside: fault(WITH if inside else WITHOUT, std=STD), WITHOUT, WITH
    )
    assert guessed.wrong == 0
    assert found > 3 / NOISE
    assert lesson.proves == (fault is float_noise)


def test_doubles_on_counts_are_found():
    without, with_unit = np.zeros(5), np.ones(5)
    _, guessed, found = bound(
        lambda inside: float_counts(with_unit if inside else without, std=7.0),
        without,
        with_unit,
        lessons=200,
        tries=400,
    )
    assert guessed.absent_right > guessed.absent_wrong
    assert found > 2 / 5


def test_integers_on_a_grid_are_not_found():
    _, _, found = bound(
        lambda inside: grid_release(UNITS if inside else UNITS[:-1], clip=CLIP, std=STD),
        WITHOUT,
        WITH,
    )
    assert found <= 1 / NOISE


def test_too_few_lessons_and_unlike_vectors_are_refused():
    ones = np.ones(3, np.float32)
    with pytest.raises(SettingsError, match="ten releases"):
        learn([ones] * 9, [ones] * 10, without=ones, with_unit=ones, steps=())
    with pytest.raises(SettingsError, match="one float type"):
        impossible(ones, ones.astype(np.float64))
    with pytest.raises(SettingsError, match="one float type"):
        impossible(ones, ones[:2])
    with pytest.raises(SettingsError, match="one float type"):
        impossible(np.ones(3, int), np.ones(3, int))

"""What a new version changed, and that no unit can change the counts by more than is paid for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasites.ingest import Changes, compare_versions, make_shard
from datasites.ingest.changes import CAME_AND_GONE_L2, REGROUPED_L2

GROUP, PATIENT = "near-duplicate group", "patient"


def _shard(units, kind=GROUP):
    """A shard of units given by their images' grey levels."""
    levels = [level for unit in units for level in unit]
    return make_shard(
        images=np.array(levels, np.uint8).reshape(-1, 1, 1),
        labels=np.array(levels, np.int64) % 2,
        units=np.repeat(np.arange(len(units)), [len(unit) for unit in units]),
        classes=("a", "b"),
        unit_kind=kind,
        rules="test",
    )


@pytest.mark.parametrize(
    ("before", "now", "gone", "came", "regrouped"),
    [
        ([[1, 2], [3]], [[3], [1, 2]], 0, 0, 0),
        ([[1, 2], [3]], [[1, 2], [3], [4]], 0, 1, 0),
        ([[1, 2], [3]], [[3]], 1, 0, 0),
        ([[1, 2], [3]], [[1, 2, 9], [3]], 1, 1, 0),
        # An image arrived that bridges two groups, and one left that held two together.
        ([[1, 2], [3]], [[1, 2, 3, 9]], 2, 1, 1),
        ([[1, 2, 3]], [[1], [3]], 1, 2, 1),
        ([[1], [2], [3]], [[1, 2, 3]], 3, 1, 1),
    ],
)
def test_what_changed(before, now, gone, came, regrouped):
    found = compare_versions(_shard(before), _shard(now))
    assert found == Changes(gone=gone, came=came, regrouped=regrouped)
    text = found.to_text()
    assert f"{came} units are new or changed, {gone} are gone or changed" in text
    assert ("images that were here before changed their group" in text) == bool(regrouped)


def test_regrouping_is_of_groups_only():
    patients = _shard([[1, 2], [3]], PATIENT)
    assert compare_versions(patients, _shard([[1, 2, 3]], PATIENT)).regrouped is None
    assert compare_versions(patients, _shard([[1, 2, 3]])).regrouped is None
    assert compare_versions(_shard([[1, 2], [3]]), patients).regrouped is None


def _groups(draw, levels):
    """A partition of some grey levels, in some order: groups hold equal pixels once."""
    chosen = draw(st.lists(st.sampled_from(levels), min_size=2, max_size=9, unique=True))
    names = draw(st.lists(st.integers(0, 4), min_size=len(chosen), max_size=len(chosen)))
    units = [[c for c, n in zip(chosen, names, strict=True) if n == name] for name in range(5)]
    return [unit for unit in units if unit]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_one_group_of_each_version_moves_the_counts_by_no_more_than_is_paid_for(data):
    versions = [_groups(data.draw, range(10)) for _ in range(2)]
    _check(data, versions, GROUP)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_nor_does_one_patient_whatever_pictures_are_shared(data):
    unit = st.lists(st.integers(0, 3), min_size=1, max_size=2)
    versions = [data.draw(st.lists(unit, min_size=2, max_size=6)) for _ in range(2)]
    _check(data, versions, PATIENT)


def _check(data, versions, kind):
    full = compare_versions(*(_shard(units, kind) for units in versions))
    less = []
    for units in versions:
        gone = data.draw(st.integers(-1, len(units) - 1))
        left = [unit for index, unit in enumerate(units) if index != gone]
        if not left:
            return
        less.append(left)
    other = compare_versions(*(_shard(units, kind) for units in less))
    moved = np.hypot(full.gone - other.gone, full.came - other.came)
    assert moved <= CAME_AND_GONE_L2 + 1e-12
    assert (full.regrouped is None) == (other.regrouped is None) == (kind != GROUP)
    assert abs((full.regrouped or 0) - (other.regrouped or 0)) <= REGROUPED_L2

"""Attacks on what crosses, at real hospitals of the installed release: none succeeds.

Each was red before noise stood in for failures, slots for times and a keyed version for a hash:
the tripwire's job failed where the image was, one test unit more was one item more, one image made
a job twice as slow, and the label gave the published version. With each fault put back they are red
in `test_mechanism.py`.
"""

from __future__ import annotations

import pytest
import torch

from orchestrator.mechanism.jobattacks import (
    attack_counts,
    attack_failure,
    attack_time,
    attack_version,
    installed_version,
)
from orchestrator.mechanism.jobs import HospitalJobs, Kind

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def hospitals():
    """With and without the image, agents running."""
    with HospitalJobs() as jobs:
        yield jobs


@pytest.mark.parametrize("kind", [Kind.TRIPWIRE, Kind.OVERFLOW])
def test_no_job_fails_on_one_image(hospitals, kind):
    found = attack_failure(hospitals, kind=kind, repeats=1)
    assert not found.broken, found


def test_one_test_unit_more_is_nothing_more_that_can_be_counted(hospitals):
    found = attack_counts(hospitals, repeats=1)
    assert not found.broken, found


def test_a_slow_image_changes_neither_ending_nor_time(hospitals):
    ended, timed = attack_time(hospitals, repeats=2, level=0.02, arrival=False)
    assert not ended.broken, ended
    assert (timed.right, timed.wrong) == (0, 0), timed  # nothing is stated that could differ


def test_no_label_gives_the_published_version():
    """Whole installations, each with keys of its own; before the key this named every label."""
    found = attack_version(installed_version, tries=2)
    assert (found.broken, found.right) == (False, 0)

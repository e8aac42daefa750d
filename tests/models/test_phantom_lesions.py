from __future__ import annotations

import numpy as np
import pytest

from models.classes import HEALTHY_NAMES
from models.phantoms.head import Pose, View, draw_head, pose_head
from models.phantoms.lesions import Lesion, draw_lesion, plan_lesion

RNG_SEEDS = range(60)


def _planned(label: str, view: View) -> list[tuple[Pose, Lesion]]:
    out = []
    for seed in RNG_SEEDS:
        rng = np.random.default_rng(seed)
        pose = pose_head(rng, size=48, view=view)
        lesion = plan_lesion(rng, pose, label)
        assert lesion is not None
        out.append((pose, lesion))
    return out


@pytest.mark.parametrize("label", sorted(HEALTHY_NAMES))
def test_healthy_names_have_no_lesion(label: str) -> None:
    rng = np.random.default_rng(0)
    assert plan_lesion(rng, pose_head(rng, size=32, view=View.AXIAL), label) is None


@pytest.mark.parametrize("view", list(View))
def test_a_glioma_lies_in_the_brain_away_from_its_edge(view: View) -> None:
    for pose, lesion in _planned("glioma", view):
        nearest = np.argmin((pose.frame.x - lesion.x) ** 2 + (pose.frame.y - lesion.y) ** 2)
        assert pose.brain.flat[nearest] > 0.5
        assert np.hypot(lesion.x, lesion.y) < 0.63


@pytest.mark.parametrize("view", list(View))
def test_a_meningioma_reaches_the_dura_or_the_falx(view: View) -> None:
    for _, lesion in _planned("meningioma", view):
        touches_skull = np.hypot(lesion.x, lesion.y) + lesion.radius > 1.0
        touches_falx = abs(lesion.x) < lesion.radius
        assert touches_skull or touches_falx


@pytest.mark.parametrize("view", [View.AXIAL_BASE, View.SAGITTAL, View.CORONAL])
def test_a_pituitary_tumour_lies_at_the_sella_and_is_small(view: View) -> None:
    for pose, lesion in _planned("pituitary", view):
        assert pose.sella is not None
        x, y = pose.sella
        assert np.hypot(lesion.x - x, lesion.y - y) < 0.25
        assert lesion.radius < 0.3


def test_an_unknown_name_has_a_usual_place_of_its_own() -> None:
    places = {}
    for label in ("stroke", "abscess", "cavernoma"):
        lesions = [lesion for _, lesion in _planned(label, View.AXIAL)]
        spots = np.array([(lesion.x, lesion.y) for lesion in lesions])
        assert np.hypot(*spots.std(axis=0)) < 0.4
        places[label] = spots.mean(axis=0)
    gaps = [np.hypot(*(places[a] - places[b])) for a, b in (("stroke", "abscess"),)]
    assert min(gaps) > 0.05


@pytest.mark.parametrize("label", ["glioma", "meningioma", "pituitary", "stroke", "ms", "x"])
def test_a_lesion_changes_its_place_and_little_else(label: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pose = pose_head(rng, size=64, view=View.CORONAL)
        head = draw_head(rng, pose, pose.frame)
        lesion = plan_lesion(rng, pose, label)
        assert lesion is not None
        change = np.abs(draw_lesion(rng, pose, head, lesion) - head)
        distance = np.hypot(pose.frame.x - lesion.x, pose.frame.y - lesion.y)
        assert change[distance < 0.8 * lesion.radius].max() > 0.05
        assert change[distance > 4 * lesion.radius].max(initial=0) < 0.01

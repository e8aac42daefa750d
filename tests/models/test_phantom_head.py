from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from models.phantoms.head import CONTRASTS, View, draw_head, pose_head


@pytest.mark.parametrize("view", list(View))
def test_scalp_bone_and_brain_lie_in_this_order(view: View) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pose = pose_head(rng, size=64, view=view)
        assert 1 < pose.bone[0] < pose.bone[1] < pose.scalp
        image = draw_head(rng, pose, pose.frame)
        up = (pose.frame.y < -0.2) & np.isfinite(image)
        bone = up & (pose.radius > pose.bone[0] + 0.02) & (pose.radius < pose.bone[1] - 0.02)
        scalp = up & (pose.radius > pose.bone[1] + 0.03) & (pose.radius < pose.scalp - 0.03)
        brain = up & (pose.radius < 0.9)
        outside = up & (pose.radius > pose.scalp + 0.1)
        if bone.any() and scalp.any():
            assert image[bone].mean() < image[brain].mean()
            assert image[bone].mean() < image[scalp].mean()
        assert image[outside].max(initial=0) == 0


def test_only_views_that_show_the_sella_have_one() -> None:
    rng = np.random.default_rng(0)
    shown = {view for view in View if pose_head(rng, size=32, view=view).sella is not None}
    assert shown == {View.AXIAL_BASE, View.SAGITTAL, View.CORONAL}


def test_contrasts_differ_and_stay_between_black_and_white() -> None:
    for tissue in CONTRASTS.values():
        assert all(0 <= value <= 1 for value in astuple(tissue))
    assert CONTRASTS["t2"].csf > CONTRASTS["t2"].white
    assert CONTRASTS["t1"].csf < CONTRASTS["t1"].white
    assert CONTRASTS["flair"].csf < CONTRASTS["flair"].swollen


def test_heads_of_one_view_vary_in_size_place_and_contrast() -> None:
    poses = [pose_head(np.random.default_rng(s), size=48, view=View.AXIAL) for s in range(30)]
    areas = [float(pose.brain.mean()) for pose in poses]
    assert np.std(areas) > 0.01
    assert len({pose.tissue for pose in poses}) == 30

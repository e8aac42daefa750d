from __future__ import annotations

import numpy as np
import pytest

from models.phantoms.head import View, draw_head, pose_head
from models.phantoms.planes import draw_deep


@pytest.mark.parametrize("view", list(View))
def test_every_view_has_deep_structures_inside_the_head_only(view: View) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pose = pose_head(rng, size=64, view=view)
        head = draw_head(rng, pose, pose.frame)
        image = draw_deep(rng, pose, pose.frame, head)
        assert np.isfinite(image).all()
        change = np.abs(image - head)
        assert (change[pose.radius < 0.7] > 0.05).mean() > 0.02
        assert change[pose.radius > 1.6].max(initial=0) < 0.02


def test_ventricles_are_dark_in_t1_weighted_axial_slices() -> None:
    depths = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pose = pose_head(rng, size=64, view=View.AXIAL)
        if pose.tissue.csf > 0.3:
            continue
        image = draw_deep(rng, pose, pose.frame, draw_head(rng, pose, pose.frame))
        x, y = pose.frame.x, pose.frame.y
        ventricle = np.hypot((np.abs(x) - 0.13) / 0.04, (y + 0.2) / 0.1) < 1
        white = np.hypot((np.abs(x) - 0.55) / 0.1, y / 0.2) < 1
        depths.append(image[white].mean() - image[ventricle].mean())
    assert np.mean(depths) > 0.1

"""What the demo says at its end that no single participant could say."""

import pytest

from datasites.site import Cause, Site, keep_cause
from datasites.site.settings import make_settings
from orchestrator.demo import noise_alone
from privacy import Budget


@pytest.fixture
def sites(tmp_path):
    found = []
    for name in ("A", "B"):
        email = f"owner@hospital-{name.lower()}.example"
        settings = make_settings(name=name, email=email, relay=f"file://{tmp_path}/relay")
        budget = Budget(epsilon=8.0, delta=1e-5)
        found.append(Site.create(tmp_path / name, settings, budget=budget, actor="owner"))
    return found


def test_jobs_of_which_noise_alone_left_are_counted_with_the_commonest_reason(sites):
    roots = [site.root for site in sites]
    assert noise_alone(roots) == []
    for site, number, what in (
        (0, 1, "the job timed_out"),
        (1, 2, "the job timed_out"),
        (1, 3, "x"),
    ):
        keep_cause(sites[site], Cause(f"r{number}", "p", "2026-12-01T12:00:00Z", what, ""))
    [told] = noise_alone(roots)
    assert told.startswith("3 jobs ended badly, so of them NOISE ALONE left")
    assert "mostly: the job timed_out" in told

"""Plans, approvals and participants that the tests of this package share."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from datasites.plans import (
    Approval,
    Circumstances,
    DeclaredOutput,
    GeneratorPart,
    ModelPart,
    Plan,
    Range,
    ReportPart,
    TrainPart,
    make_bundle,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RESEARCHER = "researcher@university.example"
KEY = "0000-1111-2222-3333-4444-5555-6666-7777"


@pytest.fixture(scope="session")
def plan():
    return Plan(
        study="study",
        researcher=RESEARCHER,
        classes=("glioma", "meningioma", "notumor", "pituitary"),
        rounds=3,
        model=ModelPart(name="small_cnn", image_size=64),
        train=TrainPart(
            steps=5,
            sampling_rate=0.3,
            noise_multiplier=1.2,
            clipping_norm=1.0,
            learning_rate=Range(low=0.0, high=1.0),
        ),
        generator=GeneratorPart(
            steps=4, sampling_rate=0.2, noise_multiplier=2.0, clipping_norm=1.0, learning_rate=1e-3
        ),
        reports=ReportPart(cases=2, metrics_noise_multiplier=5.0),
        outputs=(
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),
            DeclaredOutput(name="reports.json", kind="report", max_bytes=100_000),
        ),
    )


@pytest.fixture(scope="session")
def bundle(plan):
    return make_bundle(plan, None)


@pytest.fixture(scope="session")
def approval(bundle):
    return Approval(
        decision="approved",
        plan_sha256=bundle.sha256,
        runtime_sha256="r" * 64,
        dataset_version="d" * 64,
        researcher=RESEARCHER,
        researcher_key=KEY,
        reviewers=("ann",),
        reason="fine",
        max_rounds=3,
        expires="2026-07-01T00:00:00.000Z",
        standing_release=True,
        decided="2026-05-01T00:00:00.000Z",
    )


@pytest.fixture(scope="session")
def at():
    return Circumstances(
        sender=RESEARCHER,
        sender_key=KEY,
        runtime_sha256="r" * 64,
        dataset_version="d" * 64,
        rounds_started=(),
        has_generator=True,
        quorum=1,
        now=NOW,
    )


@pytest.fixture
def changed():
    return replace


@pytest.fixture
def site(tmp_path):
    """A new site with a real ledger: epsilon 8 at delta 1e-5."""
    from datasites.settings import make_settings
    from datasites.site import Site
    from privacy import Budget

    settings = make_settings(
        name="A", email="owner@hospital-a.example", relay=f"file://{tmp_path}/relay"
    )
    budget = Budget(epsilon=8.0, delta=1e-5)
    return Site.create(tmp_path / "site", settings, budget=budget, actor="owner")

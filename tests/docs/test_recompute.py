"""`docs/recompute.py` and the hospital agree, on plans with sampled steps too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from privacy import (
    Reservation,
    charges_of,
    compose,
    costs_of,
    epsilon,
    evaluated_delta,
    event_to_json,
    filter_epsilon,
    filter_terms,
    gaussian,
    interval_for,
    poisson_gaussian,
)

SCRIPT = Path(__file__).parents[2] / "docs" / "recompute.py"


def spend(name, event, block=None):
    return Reservation(
        reservation=name,
        event=event,
        mechanisms=(),
        researcher="r@x.org",
        study="s",
        dataset_version="d",
        code_sha256="c",
        request=name,
        block=block,
    ), event


def test_a_third_party_finds_both_figures(tmp_path):
    steps = poisson_gaussian(sampling_rate=0.2, noise_multiplier=2.0, steps=10)
    whole = poisson_gaussian(sampling_rate=0.2, noise_multiplier=2.0, steps=40)
    everyone = poisson_gaussian(sampling_rate=1.0, noise_multiplier=6.0, steps=3)
    plan = compose([whole, gaussian(noise_multiplier=5.0)])
    spends = [
        spend("1", steps, plan),
        spend("2", steps, plan),
        spend("card", gaussian(noise_multiplier=4.0)),
        spend("3", compose([everyone, steps])),
    ]
    events = [event for _, event in spends]
    terms = filter_terms(costs_of(spends), delta=1e-5)
    told = {
        "epsilon": filter_epsilon(charges_of(spends), delta=1e-5),
        "epsilon_if_fixed": epsilon(events, delta=1e-5),
        "interval": interval_for(events),
        "delta_evaluated": evaluated_delta(events, delta=1e-5),
        "chain": {"verified": True},
        "filter": {
            "delta": terms.delta,
            "share": terms.share,
            "blocks": {
                name: {
                    "event": event_to_json(event),
                    "interval": terms.intervals[name],
                    "lost": terms.lost[name],
                }
                for name, event in terms.events.items()
            },
        },
        "events": [
            {
                "event": event_to_json(event),
                "counts": True,
                "block": reserved.block_id if costs_of([(reserved, event)]) else "",
            }
            for reserved, event in spends
        ],
    }
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"sites": {"A": told}}))
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, report], capture_output=True, text=True, check=True
    )
    late, _, fixed, _ = map(float, done.stdout.split("\t")[1:])
    assert late == pytest.approx(told["epsilon"], abs=2e-4)
    assert fixed == pytest.approx(told["epsilon_if_fixed"], abs=2e-4)
    assert late > fixed

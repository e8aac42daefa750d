"""How the model does at each hospital: figures from the noised counts that its evaluation released.

Every figure has a 95 % interval over the hospital's cases and the noise; where the noise drowns
the counts the interval is everything, and that is shown rather than hidden. Pure but for reading
what a hospital sent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasites import Bundle, HospitalEvaluation, PlanError
from models import MetricsError, NoisedEvaluation, noised_evaluation
from orchestrator.errors import VerificationError
from orchestrator.hospitals import HospitalClient
from privacy import cell_noise

log = logging.getLogger("dura.results")


@dataclass(frozen=True, kw_only=True)
class HospitalFigures:
    """One hospital's figures.

    Attributes:
        hospital: whose test cases. counts: what it released. figures: what follows.
    """

    hospital: str
    counts: HospitalEvaluation
    figures: NoisedEvaluation

    def to_json(self) -> dict[str, Any]:
        """Figures and counts as JSON values."""
        return {**self.figures.to_json(), "counts": self.counts.model_dump(mode="json")}


def hospital_figures(
    researcher: HospitalClient, requests: Mapping[str, str], bundle: Bundle
) -> tuple[HospitalFigures, ...]:
    """The figures of every hospital whose evaluation has left, by name."""
    found = []
    for site, request in sorted(requests.items()):
        try:
            counts = researcher.evaluation(site, request, bundle=bundle)
            if counts is not None:
                found.append(figures_of(site, counts))
        except (VerificationError, PlanError, MetricsError) as error:
            log.error("the evaluation of %s is left out: %s", site, error)
    return tuple(found)


def figures_of(site: str, counts: HospitalEvaluation) -> HospitalFigures:
    """The figures that released counts give.

    Raises:
        MetricsError: the counts do not fit together.
    """
    matrix, histogram = cell_noise(counts.noise_multiplier, classes=len(counts.classes))
    figures = noised_evaluation(
        np.array(counts.confusion, dtype=np.float64),
        np.array(counts.histograms, dtype=np.float64),
        classes=counts.classes,
        confusion_noise=matrix,
        histogram_noise=histogram,
    )
    return HospitalFigures(hospital=site, counts=counts, figures=figures)

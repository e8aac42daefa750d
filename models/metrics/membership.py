"""Membership attacks on a released classifier: RMIA, and how many members it finds.

RMIA (Zarifzadeh, Liu, Shokri 2024, "Low-cost high-power membership inference attacks", arXiv
2312.03312), offline: a target x is the likelier a member, the more often

    (p(x | model) / p(x)) / (p(z | model) / p(z)) >= gamma

over population images z, where p(. | model) is the probability of the true label and p(.) its mean
over reference models that never saw the image, corrected for that as in the paper's equation 10:
p(x) = ((1 + a) p_out(x) + 1 - a) / 2. Needs few reference models, unlike LiRA.

The figure that matters is the share of members found where hardly anybody is accused wrongly
(Carlini et al. 2022, arXiv 2112.03570): TPR at 0.1 % FPR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from torch import nn

from models.classifiers import predict
from models.errors import MetricsError

GAMMA = 2.0
OFFLINE_A = 0.3
_FLOOR = 1e-12


@dataclass(frozen=True)
class AttackScore:
    """How an attack did.

    Attributes:
        tpr: share of members above a threshold that at most `fpr` of the others pass.
        low, high: its 95 % interval (Clopper and Pearson 1934).
        auc: of the attack's ROC curve.
    """

    tpr: float
    low: float
    high: float
    auc: float


def label_probabilities(
    model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probability of the true label for images uint8 [N, S, S] and labels [N]; float64 [N]."""
    found = predict(model, images)[np.arange(len(labels)), labels]
    return np.asarray(found, dtype=np.float64)


def rmia_scores(
    targets: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    population: NDArray[np.float64],
    population_outside: NDArray[np.float64],
) -> NDArray[np.float64]:
    """RMIA's score of each target, in [0, 1]; larger for likelier members.

    Args:
        targets: true-label probabilities under the attacked model, [N].
        outside: the same under reference models that never saw the targets, [K, N].
        population: under the attacked model, of images that nobody trained on, [M].
        population_outside: under the reference models, [K, M].

    Raises:
        MetricsError: shapes that do not fit, or no population.
    """
    if outside.shape[1:] != targets.shape or population_outside.shape[1:] != population.shape:
        raise MetricsError("one row of probabilities a reference model is needed for every image")
    if not (len(population) and len(outside)):
        raise MetricsError("RMIA needs a reference model and a population")
    ratio = targets / _marginal(outside)
    against = np.sort(population / _marginal(population_outside) * GAMMA)
    return np.searchsorted(against, ratio, side="right") / len(against)


def attack_tpr(
    members: NDArray[np.float64], others: NDArray[np.float64], *, fpr: float
) -> AttackScore:
    """How many members the scores find where at most a share `fpr` of others is accused.

    Raises:
        MetricsError: too few others for that rate to mean anything.
    """
    allowed = int(fpr * len(others))
    if not len(members) or allowed < 1:
        raise MetricsError(
            f"{len(others)} non-members cannot show a false positive rate of {fpr:g}; take at "
            f"least {int(np.ceil(1 / fpr))}"
        )
    threshold = np.sort(others)[::-1][allowed]
    hits, n = int((members > threshold).sum()), len(members)
    wins = (members[:, None] > others[None, :]).mean()
    ties = (members[:, None] == others[None, :]).mean()
    return AttackScore(
        tpr=hits / n,
        low=float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0,
        high=float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0,
        auc=float(wins + 0.5 * ties),
    )


def _marginal(outside: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = np.clip(outside.mean(axis=0), _FLOOR, 1.0)
    return ((1 + OFFLINE_A) * mean + (1 - OFFLINE_A)) / 2

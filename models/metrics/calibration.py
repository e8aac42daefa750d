"""How often a score like this one was right, from counts of scores. Pure.

A softmax value is not a rate. What a hospital released with noise holds one: for each class the
histogram of its score over its own cases and over all others (`privacy.release.evaluation`). Of the
cases whose score for the predicted class fell into the same step as this one's, the share that
truly were of that class is its calibrated confidence (histogram binning: Zadrozny and Elkan 2001),
with a 95 % interval over sampling and noise. It is derived from released counts, so it costs no
privacy; a temperature was tried and left, since scores near 1 share one step and made it too
confident.

Nothing is returned, and the probability stays uncalibrated, where the counts cannot carry it: an
interval wider than `WIDEST`. Judged from the released counts alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.metrics.noised import class_figures
from models.reports.facts import Calibration

WIDEST: Final = 0.4


def calibrated_from(
    histogram: NDArray[np.float64], score: float, *, noise: float
) -> Calibration | None:
    """The calibrated confidence of one score.

    Args:
        histogram: [2, B], of the predicted class: scores of other cases (0) and of its own (1).
        score: the case's score for that class, 0..1.
        noise: standard deviation of the noise in each cell.

    Returns:
        The calibration, or None where the counts do not carry one.
    """
    bins = histogram.shape[1]
    others, own = (float(row[min(int(score * bins), bins - 1)]) for row in histogram)
    # The share own / (own + others), with its interval: a precision in a matrix of two classes.
    share, _, _ = class_figures(np.array([[own, 0.0], [others, 0.0]]), 0, noise=noise)
    if own + others <= 0.0 or share.high - share.low > WIDEST:
        return None
    return Calibration(
        share=share.value, low=share.low, high=share.high, basis="noised counts of this hospital"
    )

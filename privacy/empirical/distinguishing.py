"""What a number of guesses about one unit proves. Pure.

An attacker who knows every unit but one looks at releases with and without it and says *present*,
*absent* or nothing. A release that is at most as telling as a Gaussian of noise multiplier z (mu =
1/z) allows no attack whose rates lie above the curve of mu-GDP: with false alarm rate a, at most
``Phi(Phi^-1(a) + mu)`` of the right answers (Dong, Roth, Su 2019, arXiv 1905.02383, definition 2.3;
for one full-batch Gaussian step and for one Gaussian count the curve is exact). So from counts of
answers follows a lower bound on mu:

    mu >= Phi^-1(lower limit of P(says A | A)) - Phi^-1(upper limit of P(says A | not A))

with Clopper-Pearson limits, for either answer A. Four limits are needed, each wrong with a quarter
of `significance`; so the bound is too high with probability `significance` at most, whatever the
attack is, as long as it was fixed before the releases that it is counted on.

A bound above the mu that is accounted refutes the claim. What is not a noised release has mu = 0:
there any attack that beats a coin refutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.special import ndtri
from scipy.stats import beta

from privacy.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Guessed:
    """How often an attacker said what.

    Attributes:
        absent: releases without the unit. present: releases with it.
        absent_right, present_right: of those, how many the attacker named rightly.
        absent_wrong, present_wrong: how many wrongly; of the rest it said nothing.

    Raises:
        SettingsError: a count is negative, or larger than there were releases.
    """

    absent: int
    present: int
    absent_right: int
    present_right: int
    absent_wrong: int = 0
    present_wrong: int = 0

    def __post_init__(self) -> None:
        counts = (self.absent_right, self.present_right, self.absent_wrong, self.present_wrong)
        too_many = self.absent_right + self.absent_wrong > self.absent or (
            self.present_right + self.present_wrong > self.present
        )
        if min(counts) < 0 or too_many or min(self.absent, self.present) < 1:
            raise SettingsError(f"these are no counts of guesses: {self}")

    @property
    def tries(self) -> int:
        """Releases in all."""
        return self.absent + self.present

    @property
    def right(self) -> int:
        """Right answers."""
        return self.absent_right + self.present_right

    @property
    def wrong(self) -> int:
        """Wrong answers."""
        return self.absent_wrong + self.present_wrong


def least_mu(guessed: Guessed, *, significance: float) -> float:
    """Lower bound on mu, see the module's docstring; never below 0.

    Args:
        guessed: what was said about releases that played no part in making the attack.
        significance: probability with which the bound may be too high, in (0, 1).

    Raises:
        SettingsError: the significance is out of range.
    """
    if not 0 < significance < 1:
        raise SettingsError(f"a significance lies between 0 and 1, got {significance}")
    each = significance / 4
    g = guessed
    bounds = [
        float(ndtri(_lowest(right, tries, each)) - ndtri(_highest(false, others, each)))
        for right, tries, false, others in (
            (g.present_right, g.present, g.absent_wrong, g.absent),
            (g.absent_right, g.absent, g.present_wrong, g.present),
        )
    ]
    return max(0.0, *bounds)


def rank_chance(shorter: Sequence[float], longer: Sequence[float]) -> float:
    """One-sided p value of the exact Wilcoxon rank-sum test that `longer` is larger.

    Args:
        shorter: what was measured on one side.
        longer: and on the other; equal values share their mean rank.

    Returns:
        Probability of ranks as high as those of `longer`, or higher, if the sides were alike; 1
        where nothing differs.
    """
    both = [*longer, *shorter]
    if len(set(both)) < 2 or not longer or not shorter:
        return 1.0
    ranks = [sum(b < a for b in both) + (sum(b == a for b in both) + 1) / 2 for a in both]
    seen = sum(ranks[: len(longer)])
    ways = [sum(picked) for picked in combinations(ranks, len(longer))]
    return sum(way >= seen - 1e-9 for way in ways) / len(ways)


def _lowest(hits: int, tries: int, chance: float) -> float:
    """Clopper-Pearson lower limit."""
    return 0.0 if hits == 0 else float(beta.ppf(chance, hits, tries - hits + 1))


def _highest(hits: int, tries: int, chance: float) -> float:
    """Clopper-Pearson upper limit."""
    return 1.0 if hits == tries else float(beta.ppf(1 - chance, hits + 1, tries - hits))

"""`make bench-audit`: the empirical audit over many seeds, with sound noise and with a tenth of it.

Prints how many seeds turn red in each case; ends with an error if more than one in twenty of the
correct ones do, or if a single one of the broken ones does not.
"""

from __future__ import annotations

import sys

import pytest
import torch

from privacy import calibrate_noise, poisson_gaussian
from tests.privacy.test_canaries import CLAIM, DELTA, RATE, STEPS, _broken, _red, _run

SEEDS = 200


def main() -> int:
    """Run both sweeps; returns the exit status."""
    torch.set_num_threads(1)
    noise = calibrate_noise(
        target_epsilon=CLAIM,
        delta=DELTA,
        event_for=lambda z: poisson_gaussian(sampling_rate=RATE, noise_multiplier=z, steps=STEPS),
    )
    sound = sum(_red(_run(seed, noise)) for seed in range(SEEDS))
    with pytest.MonkeyPatch.context() as patch:
        _broken(patch, noise_multiplier=0.1)
        broken = sum(_red(_run(seed, noise)) for seed in range(SEEDS))
    print(f"correct noise: {sound} of {SEEDS} seeds red; a tenth of it: {broken} of {SEEDS} red")
    return 0 if sound <= SEEDS // 20 and broken == SEEDS else 1


if __name__ == "__main__":
    sys.exit(main())

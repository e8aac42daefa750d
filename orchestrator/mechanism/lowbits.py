"""Low bits: whom do the last bits of released weights and counts give away?

The attacker knows every unit but one, the start and the settings; it makes releases of its own with
the installed release, learns from them (`privacy.empirical.low_bits`), and is then judged on
others.

- **Weights**: one full-batch step of the installed trainer, at the default plan's noise and clip.
  Start weights are zero, learning rate and expected units powers of two: the researcher chooses the
  former two, and then scaling is exact and the released weight *is* the noised sum, in whatever
  arithmetic it was made. Other settings only blur that. The two sums are those that the same
  trainer leaves when it is given a source of no noise.
- **Evaluation** and **card counts**: the cells that one unit falls into, all others being empty.

A release that the attack cannot undo (the noise that it sees is not the noise that was asked for)
ends the audit with an error, not with green.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models import build_model, draw_phantoms, normalise
from orchestrator.empirical import CLASSES
from orchestrator.errors import StudyError
from orchestrator.mechanism.result import MechanismAttack
from privacy import (
    DpSgdSettings,
    Guessed,
    KeyStream,
    Lesson,
    Noise,
    Sgd,
    UnsafeNoNoise,
    cell_noise,
    counted,
    lattice_steps,
    learn,
    least_mu,
    noised_counts,
    os_noise,
    released,
    train_dp,
    unit_weights,
)

NOISE, CLIP = 4.8, 0.3
"""About the default plan's noise multiplier, and its clipping norm."""
_EXPECTED = 256.0
_MOST_COORDINATES = 600
UNITS = 240
_EVALUATION_NOISE, _CARD_NOISE = 5.0, 10.0
_BINS = 10

Releases = Callable[[bool], NDArray[np.floating]]
"""What leaves, with (True) or without the unit: a vector."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something noised that leaves.

    Attributes:
        name: of the attack. looks_at: in words.
        release: makes one.
        without: the sum without the unit. with_unit: the sum with it.
        noise_multiplier: z; one unit moves the whole by at most 1/z standard deviations.
        scales: numbers that steps of a lattice may be made of.
    """

    name: str
    looks_at: str
    release: Releases
    without: NDArray[np.floating]
    with_unit: NDArray[np.floating]
    noise_multiplier: float
    scales: tuple[float, ...]


def attack_low_bits(
    target: Target, *, lessons: int, tries: int, significance: float
) -> MechanismAttack:
    """Learn from `lessons` releases a side, then judge `tries` a side.

    Raises:
        SettingsError: fewer than ten lessons.
    """
    steps = tuple(step for scale in target.scales for step in lattice_steps(scale))
    lesson = learn(
        [target.release(False) for _ in range(lessons)],
        [target.release(True) for _ in range(lessons)],
        without=target.without,
        with_unit=target.with_unit,
        steps=steps,
        units=target.scales,
    )
    judged = {present: [target.release(present) for _ in range(tries)] for present in (False, True)}
    # Two ways of answering, each with half of the significance; the better one is told.
    found = [
        (least_mu(guessed, significance=significance / 2), guessed, how)
        for how, guessed in (
            ("impossible values", _guesses(lesson, target, judged, by_proof=True)),
            ("statistics", _guesses(lesson, target, judged, by_proof=False)),
        )
    ]
    least, guessed, how = max(found, key=lambda one: (one[0], one[1].right))
    accounted = 1 / target.noise_multiplier
    broken = least > accounted
    return MechanismAttack(
        name=target.name,
        looks_at=target.looks_at,
        tries=guessed.tries,
        right=guessed.right,
        wrong=guessed.wrong,
        accounted_mu=accounted,
        least_mu=least,
        broken=broken,
        proves=f"mu at least {least:.2f}, accounted {accounted:.2f}"
        + (f"; by {how}" if broken else ""),
    )


def _guesses(
    lesson: Lesson,
    target: Target,
    judged: Mapping[bool, Sequence[NDArray[np.floating]]],
    *,
    by_proof: bool,
) -> Guessed:
    said = {
        present: [
            lesson.guess(each, target.without, target.with_unit, by_proof=by_proof)
            for each in releases
        ]
        for present, releases in judged.items()
    }
    return Guessed(
        absent=len(said[False]),
        present=len(said[True]),
        absent_right=said[False].count(False),
        absent_wrong=said[False].count(True),
        present_right=said[True].count(True),
        present_wrong=said[True].count(False),
    )


def head_target(units: int = UNITS) -> Target:
    """Weights of the default head; units are phantoms under every label."""
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, units // 16), size=64, seed=1)
    model = build_model("encoder_head", text=None, classes=len(CLASSES), image_size=64)
    kept = torch.from_numpy(np.array(model.stored_features(drawn.images)))  # type: ignore[operator]
    features = kept.repeat(len(CLASSES), 1)
    labels = torch.arange(len(CLASSES)).repeat_interleave(len(kept))

    def fresh() -> nn.Module:
        return build_model("encoder_head", text=None, classes=len(CLASSES), image_size=64)

    def losses(network: nn.Module, index: torch.Tensor) -> torch.Tensor:
        logits = network.from_features(features[index])  # type: ignore[operator]
        return functional.cross_entropy(logits, labels[index], reduction="none")

    return weights_target(
        "low bits of weights, default head", fresh, losses, units=len(labels), last="head.weight"
    )


def cnn_target(units: int = UNITS) -> Target:
    """Weights of the last layer of a small CNN."""
    size = 32
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, units // len(CLASSES)), size=size, seed=2)
    images, labels = (
        normalise(torch.from_numpy(drawn.images.copy())),
        torch.from_numpy(drawn.labels.copy()),
    )
    torch.manual_seed(0)
    start = build_model("small_cnn", text=None, classes=len(CLASSES), image_size=size).state_dict()
    last = [name for name, tensor in start.items() if tensor.ndim == 2][-1]
    start[last] = torch.zeros_like(start[last])

    def fresh() -> nn.Module:
        model = build_model("small_cnn", text=None, classes=len(CLASSES), image_size=size)
        model.load_state_dict(start)
        return model

    def losses(network: nn.Module, index: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(network(images[index]), labels[index], reduction="none")

    return weights_target(
        "low bits of weights, small CNN", fresh, losses, units=len(labels), last=last
    )


def weights_target(
    name: str,
    fresh: Callable[[], nn.Module],
    losses: Callable[[nn.Module, torch.Tensor], torch.Tensor],
    *,
    units: int,
    last: str,
) -> Target:
    """What one step of the installed trainer releases of one parameter that starts at zero.

    Args:
        name: of the attack.
        fresh: makes the model as it starts.
        losses: as for `privacy.train_dp`, an image a unit.
        units: how many; the last one is in question.
        last: the parameter's name.

    Raises:
        StudyError: the sums cannot be found.
    """

    def release(present: bool, noise: Noise | None = None) -> NDArray[np.float32]:
        model = fresh().train()
        train_dp(
            model,
            losses=losses,
            units=torch.arange(units if present else units - 1),
            settings=DpSgdSettings(
                sampling_rate=1.0,
                noise_multiplier=NOISE,
                clipping_norm=CLIP,
                expected_units=_EXPECTED,
                steps=1,
            ),
            optimizer=lambda parameters: Sgd(parameters, lr=1.0),
            sampling=KeyStream(),
            noise=noise or os_noise(),
            public_rows=lambda network, row: losses(network, row % units),  # phantoms, all
        )
        left = dict(model.named_parameters())[last].detach().numpy().ravel()[:_MOST_COORDINATES]
        return -left * np.float32(_EXPECTED)

    without, with_unit = _sums(release)
    return Target(
        name=name,
        looks_at="last bits of float32 weights after one full-batch step",
        release=release,
        without=without,
        with_unit=with_unit,
        noise_multiplier=NOISE,
        scales=(1.0, CLIP, NOISE * CLIP),
    )


def _sums(
    release: Callable[[bool, Noise], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The sums without and with the unit: what is left where no noise is added."""
    without, with_unit = release(False, UnsafeNoNoise()), release(True, UnsafeNoNoise())
    rest = release(False, os_noise()).astype(np.float64) - without
    if 0.5 < float(np.sqrt(np.mean(rest**2))) / (NOISE * CLIP) < 2.0:
        return without, with_unit
    raise StudyError(
        "the attack on low bits does not find the sums that this release adds noise to: it proves "
        "nothing; report this, because the attack must follow the mechanism"
    )


def evaluation_target() -> Target:
    """The cells of a hospital's evaluation that one test case falls into."""
    scores, label, unit = np.array([[0.9, 0.05, 0.03, 0.02]]), np.array([0]), np.array([0])
    ones = counted(scores, label, unit, bins=_BINS)
    cells = ones.confusion.ravel() > 0, ones.histograms.ravel() > 0

    def release(present: bool, noise: Noise | None = None) -> NDArray[np.float64]:
        end = 1 if present else 0
        left = released(
            scores[:end],
            label[:end],
            unit[:end],
            bins=_BINS,
            noise_multiplier=_EVALUATION_NOISE,
            noise=noise or os_noise(),
        )
        return np.concatenate([left.confusion.ravel()[cells[0]], left.histograms.ravel()[cells[1]]])

    return Target(
        name="low bits of the evaluation",
        looks_at="last bits of the noised confusion matrix and score histograms",
        release=release,
        without=release(False, UnsafeNoNoise()),
        with_unit=release(True, UnsafeNoNoise()),
        noise_multiplier=_EVALUATION_NOISE,
        scales=(1.0, *cell_noise(_EVALUATION_NOISE, classes=len(CLASSES))),
    )


def counts_target() -> Target:
    """A class of the data card that one unit falls into."""
    ones = unit_weights(np.array([0]), np.array([0]), n_classes=1)

    def release(present: bool, noise: Noise | None = None) -> NDArray[np.float64]:
        return noised_counts(
            ones[: 1 if present else 0],
            noise_multiplier=_CARD_NOISE,
            noise=noise or os_noise(),
        )

    return Target(
        name="low bits of the card's counts",
        looks_at="last bits of a noised count of units",
        release=release,
        without=release(False, UnsafeNoNoise()),
        with_unit=release(True, UnsafeNoNoise()),
        noise_multiplier=_CARD_NOISE,
        scales=(1.0, _CARD_NOISE),
    )

"""Attacks on what crosses beside noised numbers: failures, counts, times, hashes.

Two hospitals that differ in one image are asked for the same. The attacker looks only at what
crosses (`Crossed`), and the rules are fixed beforehand:

- **failure**: how the job ended, and which files came. Red if that is the same at every repetition
  on one side, and another at every repetition on the other side;
- **counts**: every length, whole number and size of what a report job lets out; the same rule;
- **time-out**: the same of jobs that one image slows down (`adversary.brake`);
- **time**: how long the job worked as the answer says, and how long the answer took to come. Red if
  the side with the image is slower by an exact one-sided rank-sum test at the stated level; only
  `SEES_S` of a second can be told apart on the researcher's own clock;
- **hash**: the attacker, who has every image and every label but one, takes them in at an
  installation of its own, once for each label that is possible. Red if the version on a hospital's
  card is ever the one of the right label.

All but that of time are facts, not statistics: what differs is no function of the request and
of noise alone. A job that the hospital without the image does not serve makes no attack: that is an
error, not green.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.errors import StudyError
from orchestrator.mechanism.adversary import CLASSES, Neighbours, phantoms
from orchestrator.mechanism.crossing import Crossed
from orchestrator.mechanism.jobs import PER_CLASS, Jobs, Kind, Pair, hospital
from orchestrator.mechanism.result import MechanismAttack
from privacy import rank_chance

SEES_S = 0.25
VersionOf = Callable[[Neighbours], str]
"""The data set version on the card of an installation of its own that takes these images in."""


def attack_failure(jobs: Jobs, *, kind: Kind, repeats: int) -> MechanismAttack:
    """A job that is to fail if and only if one image is there."""
    return _judged(
        [_asked(jobs, kind) for _ in range(repeats)],
        lambda crossed: crossed.ending,
        name=f"a failure on one image, {kind.value}",
        looks_at="how a training job ended, and which files came",
        found="an un-noised bit about any image, at every job",
    )


def attack_counts(jobs: Jobs, *, repeats: int) -> MechanismAttack:
    """Whatever can be counted in what a report job lets out."""
    return _judged(
        [_asked(jobs, Kind.REPORT) for _ in range(repeats)],
        lambda crossed: crossed.form,
        name="counts beside the noised ones",
        looks_at="items, fields, lengths and sizes of what a report job lets out",
        found="how many test units there are, exactly",
    )


def attack_time(
    jobs: Jobs, *, repeats: int, level: float, arrival: bool
) -> tuple[MechanismAttack, MechanismAttack]:
    """Whether one image makes a job visibly slower, or too slow.

    Args:
        jobs: where.
        repeats: jobs a side; two where answers state no time and arrival is not looked at.
        level: of each test, fixed beforehand.
        arrival: whether the researcher's own clock is used too.

    Returns:
        The attack on how such jobs end, and that on time.
    """
    pairs = [_asked(jobs, Kind.BRAKE) for _ in range(min(2, repeats))]
    while len(pairs) < repeats and (arrival or any(_states(pair) for pair in pairs)):
        pairs.append(_asked(jobs, Kind.BRAKE))
    ended = _judged(
        pairs,
        lambda crossed: crossed.ending,
        name="a failure on one image, time-out",
        looks_at="how a training job ended that one image slows down",
        found="an un-noised bit about any image, at every job",
    )
    seen = {False: [pair.without for pair in pairs], True: [pair.with_image for pair in pairs]}
    clocks: dict[str, Callable[[Crossed], float]] = {"by the answer": lambda c: c.stated_s}
    if arrival:
        clocks["by its arrival"] = lambda c: round(c.waited_s / SEES_S) * SEES_S
    chances = {
        name: rank_chance([clock(c) for c in seen[False]], [clock(c) for c in seen[True]])
        for name, clock in clocks.items()
    }
    broken = [name for name, chance in chances.items() if chance <= level]
    clock = clocks[broken[0] if broken else "by the answer"]
    times = {present: [clock(c) for c in seen[present]] for present in seen}
    middle = float(np.median([*times[False], *times[True]]))
    right = sum(t > middle for t in times[True]) + sum(t < middle for t in times[False])
    wrong = sum(t < middle for t in times[True]) + sum(t > middle for t in times[False])
    without, with_image = (float(np.median(times[present])) for present in (False, True))
    lowest = min(chances.values())
    timed = MechanismAttack(
        name="the time that one image takes",
        looks_at="seconds of work that the answer states"
        + (", seconds to its arrival" if arrival else ""),
        tries=2 * len(pairs),
        right=right,
        wrong=wrong,
        broken=bool(broken),
        proves=f"{', '.join(broken) or 'by the answer'} {without:.2f} s without, "
        f"{with_image:.2f} s with (medians); p {lowest:.2g} at level {level:g}",
    )
    return ended, timed


def attack_version(version_of: VersionOf, *, tries: int) -> MechanismAttack:
    """The one missing label, from the published version of the data set."""
    right = wrong = 0
    for number in range(tries):
        images = phantoms(PER_CLASS, seed=10 + number)
        label = number % len(CLASSES)
        published = version_of(_labelled(images, label))
        fits = [
            guess
            for guess in range(len(CLASSES))
            if version_of(_labelled(images, guess)) == published
        ]
        right += fits == [label]
        wrong += len(fits) == 1 and fits != [label]
    return MechanismAttack(
        name="a label from the data set's version",
        looks_at="dataset_version on the card",
        tries=tries,
        right=right,
        wrong=wrong,
        broken=right > 0,
        proves="the label of any image, from the hash alone"
        if right
        else "no label gives the published version",
    )


def installed_version(images: Neighbours) -> str:
    """The version that an installation of its own gives to these images."""
    with tempfile.TemporaryDirectory(prefix="dura-attack-") as folder:
        made = hospital(Path(folder) / "own", images, phantoms(PER_CLASS, seed=3), present=True)
        return made.card.dataset_version


def _judged(
    pairs: list[Pair], look: Callable[[Crossed], str], *, name: str, looks_at: str, found: str
) -> MechanismAttack:
    """Whether what is looked at is always one thing with the image, and another without it."""
    without = {look(pair.without) for pair in pairs}
    with_image = {look(pair.with_image) for pair in pairs}
    broken = len(without) == len(with_image) == 1 and without != with_image
    return MechanismAttack(
        name=name,
        looks_at=looks_at,
        tries=2 * len(pairs),
        right=2 * len(pairs) if broken else 0,
        wrong=0,
        broken=broken,
        proves=found if broken else "nothing differs at every repetition",
    )


def _asked(jobs: Jobs, kind: Kind) -> Pair:
    pair = jobs.ask(kind)
    if not pair.without.served:
        raise StudyError(
            f"the hospital without the image did not serve the {kind.value} job "
            f"({pair.without.ending}): the attack was not made and proves nothing. Either this "
            "machine is too busy for the slots of a few seconds, so try again when it is quiet, "
            "or something is missing: `dura site doctor` says what"
        )
    return pair


def _states(pair: Pair) -> bool:
    """Whether an answer says anything of time."""
    return pair.without.stated_s != 0 or pair.with_image.stated_s != 0


def _labelled(images: Neighbours, label: int) -> Neighbours:
    labels = images.labels.copy()
    labels[-1] = label
    return replace(images, labels=labels)

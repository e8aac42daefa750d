"""How to divide one data set among clients, train and test, by whole privacy units. Pure.

What holds of every plan:

- every image is in exactly one part, and all images of a unit are in the same part;
- the plan depends on labels, units, the settings and the seed, and on nothing else;
- every client has at least `min_units` units, at least one of them in train, and one in test if a
  test share is asked for;
- shares are counted in images, class by class (a unit counts for the class most of its images
  have); no part exceeds its share of a class by a whole unit, unless a repair moved one there.

In order: the researcher's hold-out is taken off; the rest is divided among clients, equally (IID)
or for each class by a draw from a symmetric Dirichlet distribution (as Hsu, Qi and Brown 2019,
arXiv 1909.06335, section 3, do for each client); each client's share is divided into train and
test. Each time the units of a class are taken in random order, and each goes where most images are
still missing. Random order, not largest first, so that no part gets the large units only.

A Dirichlet draw can leave a client with next to nothing: units are then moved to it, one at a time
and at random, from the client that has most.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.errors import SplitError

SPLIT_RULES = "units+greedy-shares/1"
"""Changes whenever the same input and seed would give another plan."""

MIN_UNITS = 10
MAX_CLIENTS = 100
MIN_ALPHA, MAX_ALPHA = 1e-3, 1e6
HOLDOUT = "researcher_test"


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How to divide; checked.

    Attributes:
        clients: number of clients, 1 to 100.
        test: share of each client's images for its test folder, 0 <= test < 1; 0 makes none.
        alpha: concentration of the Dirichlet distribution; small is uneven. None: equal shares.
        holdout: share of all images for the researcher's own test folder, 0 <= holdout < 1.
        min_units: least units a client may have, at least 2.
        seed: of the plan, not negative.

    Raises:
        SplitError: one of them is out of range.
    """

    clients: int
    test: float
    seed: int
    alpha: float | None = None
    holdout: float = 0.0
    min_units: int = MIN_UNITS

    def __post_init__(self) -> None:
        if not 1 <= self.clients <= MAX_CLIENTS:
            raise SplitError(f"{self.clients} clients; give 1 to {MAX_CLIENTS}")
        for name, share in (("test", self.test), ("hold-out", self.holdout)):
            if not 0 <= share < 1:
                raise SplitError(f"the {name} share is {share}; give 0 or more, and less than 1")
        if self.alpha is not None and not MIN_ALPHA <= self.alpha <= MAX_ALPHA:
            raise SplitError(
                f"alpha is {self.alpha}; give {MIN_ALPHA:g} to {MAX_ALPHA:g}, or none for equal "
                "shares"
            )
        if self.min_units < 2:
            raise SplitError(
                f"a client needs 2 groups for train and test; the minimum is {self.min_units}"
            )
        if self.seed < 0:
            raise SplitError(f"the seed is {self.seed}; give 0 or more")


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """Which part each image goes to.

    Attributes:
        parts: folder names: `researcher_test` first if there is a hold-out, then for each client
            `client_A_train` and, if there is a test share, `client_A_test`.
        part_of: int64 [N], index into `parts`.
    """

    parts: tuple[str, ...]
    part_of: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Units:
    """What planning needs to know of units: [U] images each, [U] main class each."""

    sizes: NDArray[np.int64]
    classes: NDArray[np.int64]


def plan_split(
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    *,
    clients: int,
    test: float,
    alpha: float | None = None,
    holdout: float = 0.0,
    min_units: int = MIN_UNITS,
    seed: int,
) -> SplitPlan:
    """Divide a data set by whole units.

    Args:
        labels: int64 [N], 0..K-1.
        units: int64 [N], 0..U-1 without a gap.
        clients: this and all that follow are described by `SplitSettings`.
        test: share of a client's images.
        alpha: Dirichlet concentration, or None.
        holdout: share of all images.
        min_units: least units a client may have.
        seed: of the plan.

    Raises:
        SplitError: a setting is out of range, or there are too few units.
    """
    SplitSettings(
        clients=clients, test=test, alpha=alpha, holdout=holdout, min_units=min_units, seed=seed
    )
    described = _describe(labels, units)
    rng = np.random.default_rng(seed)
    everything = np.arange(len(described.sizes))
    held, rest = _two(described, everything, first_share=holdout, rng=rng)
    _check_enough(len(rest), clients=clients, min_units=min_units)
    owner = _to_clients(described, rest, clients=clients, alpha=alpha, rng=rng)
    _level(owner, clients=clients, min_units=min_units, rng=rng)

    names = [HOLDOUT] if holdout else []
    part_of_unit = np.zeros(len(everything), np.int64)
    for client in range(clients):
        own = rest[owner == client]
        test_units, train_units = _two(described, own, first_share=test, rng=rng)
        part_of_unit[train_units] = len(names)
        names.append(f"client_{client_name(client)}_train")
        if test:
            part_of_unit[test_units] = len(names)
            names.append(f"client_{client_name(client)}_test")
    if holdout:
        part_of_unit[held] = 0
    return SplitPlan(tuple(names), part_of_unit[units])


def client_name(index: int) -> str:
    """A to Z, then AA, AB and so on."""
    letters = string.ascii_uppercase
    return letters[index] if index < 26 else client_name(index // 26 - 1) + letters[index % 26]


def _check_enough(units: int, *, clients: int, min_units: int) -> None:
    if units < clients * min_units:
        raise SplitError(
            f"{units} groups of near-duplicates are too few for {clients} clients of at least "
            f"{min_units} each; use fewer clients, a smaller hold-out or more images"
        )


def _describe(labels: NDArray[np.int64], units: NDArray[np.int64]) -> _Units:
    if len(labels) != len(units) or len(units) == 0:
        raise SplitError(f"{len(labels)} labels and {len(units)} units; give one of each an image")
    counts = np.zeros((int(units.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (units, labels), 1)
    if (counts.sum(axis=1) == 0).any():
        raise SplitError("units are not numbered 0 to U-1 without a gap; number them again")
    return _Units(sizes=counts.sum(axis=1), classes=counts.argmax(axis=1))


def _shared_out(
    described: _Units,
    members: NDArray[np.int64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Give units of one class to parts: in random order, each to where most images are missing.

    Returns:
        int64 [len(members)], part of each.
    """
    sizes = described.sizes[members]
    missing = shares / shares.sum() * sizes.sum()
    part = np.empty(len(members), np.int64)
    precedence = rng.permutation(len(shares))  # so that ties do not always favour the first part
    for index in rng.permutation(len(members)):
        chosen = precedence[np.argmax(missing[precedence])]
        part[index] = chosen
        missing[chosen] -= sizes[index]
    return part


def _two(
    described: _Units,
    members: NDArray[np.int64],
    *,
    first_share: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide units in two, class by class; neither side stays empty if both have a share."""
    if not first_share:
        return members[:0], members
    shares = np.array([first_share, 1 - first_share])
    second = np.empty(len(members), np.bool_)
    for label in np.unique(described.classes[members]):
        here = np.flatnonzero(described.classes[members] == label)
        second[here] = _shared_out(described, members[here], shares, rng) == 1
    if len(members) > 1 and (second.all() or not second.any()):
        moved = rng.integers(len(members))
        second[moved] = not second[moved]
    return members[~second], members[second]


def _to_clients(
    described: _Units,
    members: NDArray[np.int64],
    *,
    clients: int,
    alpha: float | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The client of each unit, int64 [len(members)]."""
    owner = np.empty(len(members), np.int64)
    for label in np.unique(described.classes[members]):
        here = np.flatnonzero(described.classes[members] == label)
        shares = np.ones(clients) if alpha is None else rng.dirichlet(np.full(clients, alpha))
        owner[here] = _shared_out(described, members[here], shares, rng)
    return owner


def _level(
    owner: NDArray[np.int64], *, clients: int, min_units: int, rng: np.random.Generator
) -> None:
    """Move units to clients that have too few, in place; there are enough for all."""
    counts = np.bincount(owner, minlength=clients)
    while counts.min() < min_units:
        poorest, richest = int(counts.argmin()), int(counts.argmax())
        owner[rng.choice(np.flatnonzero(owner == richest))] = poorest
        counts = np.bincount(owner, minlength=clients)

"""What each hospital brought to each round: the contribution log. Pure.

A line says how many units stood behind an update, how far it moved the weights, how much its
direction agreed with what the round made of all updates, what it cost in privacy, and how long
it took. It describes; it does not rank hospitals, and it is computed from what they released
anyway, so it costs no privacy (post-processing).

- `update_norm` is the L2 norm of `update - before` over all floating tensors, in float64.
- `cosine_to_aggregate` is the cosine between `update - before` and `after - before`, in [-1, 1];
  None where one of the two is zero. A hospital near 0 or below pulls elsewhere than the rest: an
  unlike population, much noise, or a broken or hostile update. Under DP-SGD small hospitals sit
  lower, because their updates carry more noise. Under FedAdam the aggregate is a moving mean over
  rounds, so agreement is with the trend.
- `epsilon`, `delta` are the hospital's totals for the study after the round, at its own unit of
  privacy; they are not shares of a round and must not be added up.

CSV is for spreadsheets (cells that would be read as formulas are quoted), JSON for programs:
`contributions_from_json` gives back exactly what `contributions_json` was given.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from orchestrator.aggregation.update_checks import (
    UNKNOWN_UNIT,
    Update,
    Weights,
    differences,
    tensor_norm,
)
from orchestrator.aggregation.weighting import counted_units
from orchestrator.errors import StudyError

FORMAT_VERSION = 2
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """One hospital in one round; see the module's docstring for the columns.

    Attributes:
        round: the study's round, from 1.
        hospital: the hospital's name.
        units: privacy units behind the update, as the noised count that was published.
        counted_units: how many of them count for its weight in an average; fewer where the
            hospital claims far more than the others (`orchestrator.aggregation.weighting`). None in
            a log of an earlier release, where all did.
        update_norm: L2 norm of what the hospital changed.
        cosine_to_aggregate: agreement with what the round changed; None where undefined.
        epsilon: the hospital's total after this round; infinite where there is no guarantee.
        delta: the delta that goes with it.
        wall_s: wall-clock seconds of the hospital's part, as seen by the orchestrator.
        unit: the unit of privacy that epsilon and delta are for, under add or remove one.
    """

    round: int
    hospital: str
    units: float
    update_norm: float
    cosine_to_aggregate: float | None
    epsilon: float
    delta: float
    wall_s: float
    unit: str = UNKNOWN_UNIT
    counted_units: float | None = None

    @property
    def weighed_by(self) -> float:
        """The units by which the update weighed."""
        return self.units if self.counted_units is None else self.counted_units

    @property
    def is_capped(self) -> bool:
        """Whether less counts than the hospital claims."""
        return self.weighed_by < self.units


def contributions(
    *,
    round_number: int,
    global_before: Weights,
    global_after: Weights,
    updates: Sequence[Update],
) -> tuple[Contribution, ...]:
    """The log lines of one round, sorted by hospital.

    Args:
        round_number: the study's round, from 1.
        global_before: what the hospitals started from.
        global_after: what the round's aggregate is.
        updates: the updates that went into it; checked by `check_update` before.
    """
    aggregate = dict(differences(global_after, global_before))
    aggregate_norm = math.hypot(*map(tensor_norm, aggregate.values()))
    counted = counted_units({update.hospital: update.units for update in updates})
    lines = []
    for update in sorted(updates, key=lambda update: update.hospital):
        norms, dots = [0.0], [0.0]
        for name, change in differences(update.weights, global_before):
            norms.append(tensor_norm(change))
            dots.append(float(np.sum(change * aggregate[name])))
        norm = math.hypot(*norms)
        lines.append(
            Contribution(
                round=round_number,
                hospital=update.hospital,
                units=update.units,
                update_norm=norm,
                cosine_to_aggregate=_cosine(sum(dots), scale=norm * aggregate_norm),
                epsilon=update.epsilon,
                delta=update.delta,
                wall_s=update.wall_s,
                unit=update.unit,
                counted_units=counted[update.hospital],
            )
        )
    return tuple(lines)


def mean_shares(lines: Sequence[Contribution]) -> dict[str, float]:
    """Each hospital's weight in the aggregate, by units, as the mean over the rounds.

    A hospital that was out of a round weighed nothing in it. Empty for no lines.
    """
    rounds: dict[int, dict[str, float]] = {}
    for line in lines:
        rounds.setdefault(line.round, {})[line.hospital] = line.weighed_by
    shares = dict.fromkeys(sorted({line.hospital for line in lines}), 0.0)
    for units in rounds.values():
        total = math.fsum(units.values())
        for hospital, own in units.items():
            shares[hospital] += own / total / len(rounds)
    return {hospital: min(1.0, share) for hospital, share in shares.items()}


def contributions_csv(lines: Sequence[Contribution]) -> str:
    """The log as CSV with a header; an undefined cosine is an empty cell, no guarantee is `inf`."""
    text = io.StringIO()
    names = [field.name for field in fields(Contribution)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        cells = asdict(line)
        # A spreadsheet would run a name that starts like a formula; the unit is one of three words.
        if line.hospital.startswith(_FORMULA_STARTS):
            cells["hospital"] = "'" + line.hospital
        writer.writerow(["" if cells[name] is None else cells[name] for name in names])
    return text.getvalue()


def contributions_json(lines: Sequence[Contribution]) -> str:
    """The log as strict JSON with a version; an infinite epsilon is the string `inf`."""
    rows = [asdict(line) for line in lines]
    for row in rows:
        row["epsilon"] = "inf" if math.isinf(row["epsilon"]) else row["epsilon"]
    document = {"version": FORMAT_VERSION, "contributions": rows}
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def contributions_from_json(text: str) -> tuple[Contribution, ...]:
    """Read back what `contributions_json` wrote.

    Raises:
        StudyError: the text is not such a log, or of another version.
    """
    try:
        document = json.loads(text)
        version = document["version"]
        rows = document["contributions"] if version == FORMAT_VERSION else []
        lines = tuple(_line(row) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the contribution log is malformed ({error}); restore it or start a new run"
        raise StudyError(message) from error
    if version != FORMAT_VERSION:
        message = f"the contribution log has version {version!r}, this release's {FORMAT_VERSION}"
        raise StudyError(message)
    return lines


def _cosine(dot: float, *, scale: float) -> float | None:
    """Cosine from a dot product and the product of the norms; None where it is undefined."""
    if scale == 0.0 or not math.isfinite(scale):
        return None
    return max(-1.0, min(1.0, dot / scale))


def _line(row: dict[str, Any]) -> Contribution:
    """One line from its JSON object; every field must be there, of its kind, and nothing else."""
    if set(row) != {field.name for field in fields(Contribution)}:
        raise ValueError(f"unexpected columns {sorted(row)}")
    cosine, counted = row["cosine_to_aggregate"], row["counted_units"]
    return Contribution(
        round=int(row["round"]),
        hospital=str(row["hospital"]),
        units=float(row["units"]),
        update_norm=float(row["update_norm"]),
        cosine_to_aggregate=None if cosine is None else float(cosine),
        epsilon=float(row["epsilon"]),
        delta=float(row["delta"]),
        wall_s=float(row["wall_s"]),
        unit=str(row["unit"]),
        counted_units=None if counted is None else float(counted),
    )

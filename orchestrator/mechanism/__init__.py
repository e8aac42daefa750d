"""`dura audit empirical --mechanism`: attacks on the installed release itself.

The accounting says what a noised release may tell. These attacks ask whether what leaves is that
release and nothing else: last bits of what is noised (`lowbits`), and everything that crosses
beside it (`jobattacks`): failures, counts, times, hashes. They run on phantoms, with the installed
trainer, worker, sandbox and agent; no hospital's data is touched, and nothing is spent.

Red: an attack succeeds, so no epsilon of this release is to be trusted. Green: these did not.
"""

from __future__ import annotations

from datetime import UTC, datetime

from datasites import runtime_sha256
from orchestrator.mechanism.jobattacks import (
    attack_counts,
    attack_failure,
    attack_time,
    attack_version,
    installed_version,
)
from orchestrator.mechanism.jobs import HospitalJobs, Kind
from orchestrator.mechanism.lowbits import (
    UNITS,
    attack_low_bits,
    cnn_target,
    counts_target,
    evaluation_target,
    head_target,
)
from orchestrator.mechanism.result import SIGNIFICANCE, MechanismAttack, MechanismAudit

__all__ = ["MechanismAttack", "MechanismAudit", "attack_mechanism"]

_STATISTICAL = 5
"""Attacks whose verdict is a statistic: four on last bits, one on time."""


def attack_mechanism(*, quick: bool) -> MechanismAudit:
    """Every attack on the installed release.

    Args:
        quick: fewer tries; time is tested at level 0.02 on what the answer states alone.

    Raises:
        StudyError: an attack could not be made; it proves nothing then.
        DatasitesError: the throw-away hospitals cannot be set up.
    """
    return MechanismAudit(
        made=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        release=runtime_sha256(),
        quick=quick,
        attacks=(*low_bits(quick=quick), *jobs(quick=quick)),
    )


def low_bits(*, quick: bool) -> list[MechanismAttack]:
    """The attacks on last bits."""
    each = SIGNIFICANCE / _STATISTICAL
    few = {"lessons": 12, "tries": 20} if quick else {"lessons": 20, "tries": 40}
    many = {"lessons": 600, "tries": 1500} if quick else {"lessons": 600, "tries": 3000}
    units = 64 if quick else UNITS
    return [
        attack_low_bits(target, **size, significance=each)
        for target, size in (
            (head_target(units), few),
            (cnn_target(units), few),
            (evaluation_target(), many),
            (counts_target(), many),
        )
    ]


def jobs(*, quick: bool) -> list[MechanismAttack]:
    """The attacks on what crosses beside noised numbers."""
    level = 0.02 if quick else SIGNIFICANCE / _STATISTICAL / 2
    with HospitalJobs() as at:
        return [
            attack_failure(at, kind=Kind.TRIPWIRE, repeats=1 if quick else 2),
            attack_failure(at, kind=Kind.OVERFLOW, repeats=1 if quick else 2),
            attack_counts(at, repeats=1),
            *attack_time(at, repeats=4 if quick else 8, level=level, arrival=not quick),
            attack_version(installed_version, tries=2 if quick else 4),
        ]

"""What attacks on the mechanism found, as a document and as a table. Pure.

An attack is *broken through* (red) when it shows what the accounting does not cover: a lower bound
on mu above the accounted one (`privacy.empirical.distinguishing`), or, for what is no noised
number, a difference between hospitals that differ in one unit, the same at every repetition.
Statistical verdicts are wrong in one of a thousand audits of a right release (`SIGNIFICANCE` is
divided by the number of attacks); a difference that is seen is a fact.

Green says that these attacks found nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

SIGNIFICANCE = 1e-3
"""Probability with which a right release is called red, over all attacks of an audit."""


class MechanismAttack(BaseModel):
    """One attack.

    Attributes:
        name: short. looks_at: what of a release is looked at, in words.
        tries: releases or jobs looked at. right, wrong: how often presence or absence was named so.
        accounted_mu: what may be found: mu of the accounted Gaussian, 0 where nothing may.
        least_mu: lower bound on what there is; None where a difference is a fact, not a statistic.
        broken: whether the attack succeeds.
        proves: what follows, in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    name: str
    looks_at: str
    tries: int
    right: int
    wrong: int
    accounted_mu: float = 0.0
    least_mu: float | None = None
    broken: bool
    proves: str


class MechanismAudit(BaseModel):
    """All attacks on the installed release.

    Attributes:
        made: UTC time. release: hash of the installed release.
        quick: whether fewer tries were made.
        significance: see `SIGNIFICANCE`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    version: Literal[1] = 1
    made: str
    release: str
    quick: bool
    significance: float = SIGNIFICANCE
    attacks: tuple[MechanismAttack, ...]

    @property
    def red(self) -> bool:
        """Whether an attack succeeds."""
        return any(attack.broken for attack in self.attacks)

    def to_text(self) -> str:
        """The table for a terminal."""
        rows = [("attack", "tries", "right", "wrong", "verdict")]
        rows += [
            (a.name, str(a.tries), str(a.right), str(a.wrong), "RED" if a.broken else "green")
            for a in self.attacks
        ]
        wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [f"the installed release {self.release[:12]}, attacked on phantoms"]
        for row, attack in zip(rows, (None, *self.attacks), strict=True):
            cells = [
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, wide, strict=True))
            ]
            lines.append("  ".join(cells) + f"  {attack.proves if attack else 'what that proves'}")
        broken = [attack.name for attack in self.attacks if attack.broken]
        lines.append(
            f"RED: {', '.join(broken)}: what leaves is more than what is accounted"
            if broken
            else "green: none of these attacks succeeds (which does not prove that none does)"
        )
        return "\n".join(lines)

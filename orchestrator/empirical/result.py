"""What an empirical audit found, as a document: lower bounds beside the claim. Pure.

A lower bound above the claim, or a refuted curve, means that the claim is false (with the stated
confidence): the audit is red. A green audit means only that this attack found nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from privacy import per_unit

EMPIRICAL_FILE = "empirical-audit.json"


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Bound(_Document):
    """One way of looking at one kind of canary.

    Attributes:
        name: `gradient`, `update` or `loss`. access: `white-box` or `black-box`.
        canaries, guesses, correct: how many were there, guessed, guessed right.
        epsilon: lower bound (Steinke et al. 2023).
        epsilon_fdp: lower bound if the loss is a Gaussian's (Mahloujifar et al. 2024).
        claim_rejected: whether the accountant's whole curve is refuted.
    """

    name: str
    access: str
    canaries: int
    guesses: int
    correct: int
    epsilon: float
    epsilon_fdp: float
    claim_rejected: bool


class Attack(_Document):
    """A membership attack on the trained model.

    Attributes:
        method: RMIA, with how many reference models.
        members, others: how many were attacked.
        tpr: share of members found, at false positive rate
        fpr: at most.
        tpr_low, tpr_high: 95 % interval of tpr (Clopper-Pearson).
        auc: of the attack's ROC curve; 0.5 is chance.
    """

    method: str
    members: int
    others: int
    fpr: float
    tpr: float
    tpr_low: float
    tpr_high: float
    auc: float


class EmpiricalAudit(_Document):
    """One empirical audit.

    Attributes:
        target: what was trained. model: which one.
        data: whose data the canaries lay among.
        claim: epsilon that the accountant computes for the run, at
        delta, per
        unit, add or remove one.
        noise_multiplier, sampling_rate, steps: of the run.
        confidence: with which all bounds hold together.
        bounds: one a way of looking. attack: None where none was made.
        released: attack on a released model with known members; None where none was given.
    """

    version: Literal[1] = 1
    made: str
    target: str
    model: str
    data: str
    claim: float
    delta: float
    unit: str
    noise_multiplier: float
    sampling_rate: float
    steps: int
    confidence: float
    bounds: tuple[Bound, ...]
    attack: Attack | None = None
    released: Attack | None = None

    @property
    def lower_bound(self) -> float:
        """The largest lower bound on epsilon that needs no assumption."""
        return max((bound.epsilon for bound in self.bounds), default=0.0)

    @property
    def red(self) -> bool:
        """Whether the claim is refuted."""
        return self.lower_bound > self.claim or any(b.claim_rejected for b in self.bounds)

    def to_text(self) -> str:
        """The audit in lines for a terminal."""
        lines = [
            f"{self.target} {self.model} on {self.data}: {self.steps} steps, "
            f"noise multiplier {self.noise_multiplier}",
            f"claim: epsilon {self.claim:.3f} at delta {self.delta:g} {per_unit(self.unit)}",
        ]
        for bound in self.bounds:
            lines.append(
                f"{bound.access} {bound.name}: epsilon at least {bound.epsilon:.3f} (if Gaussian, "
                f"{bound.epsilon_fdp:.3f}); {bound.correct} of {bound.guesses} guesses right about "
                f"{bound.canaries} canaries" + ("; CLAIM REFUTED" if bound.claim_rejected else "")
            )
        for whose, a in (("trained", self.attack), ("released", self.released)):
            if a is None:
                continue
            lines.append(
                f"{a.method} on the {whose} model: {a.tpr:.2%} of {a.members} members found at "
                f"{a.fpr:.1%} false positives ({a.tpr_low:.2%} to {a.tpr_high:.2%}), "
                f"AUC {a.auc:.3f}"
            )
        verdict = (
            f"RED: at least epsilon {self.lower_bound:.3f} against a claim of {self.claim:.3f}"
            if self.red
            else "green: no attack contradicts the claim (which does not prove it)"
        )
        return "\n".join([*lines, f"with {self.confidence:.0%} confidence, {verdict}"])

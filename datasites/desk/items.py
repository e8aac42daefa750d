"""Held outputs and the decisions on them. Pure.

An item is held, then released or withheld, once and for good. What a release discloses is said
before it happens: weights and noised figures were paid for when their job ran; a case report
says something about one patient without noise, so releasing it is a non-private disclosure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from datasites.errors import DeskError


class ItemState(StrEnum):
    """Where an item is in its life."""

    HELD = "held"
    RELEASED = "released"
    WITHHELD = "withheld"


class ItemKind(StrEnum):
    """What an item is."""

    WEIGHTS = "weights"
    CASE_REPORT = "case"
    HOSPITAL_REPORT = "hospital"
    GLOBAL_REPORT = "global"
    EVALUATION = "evaluation"


@dataclass(frozen=True)
class Item:
    """One output on the desk.

    Attributes:
        id: unique on this desk.
        kind: what it is.
        study: the study, and
        plan_sha256: the bundle it was made under.
        researcher: who asked, in
        request: the task's request id, which came as
        job: the syft job.
        state: held, released or withheld.
        files: names of its files.
        note: how it was made (for a report: by the model, or by the template).
        decided_by: who decided, at
        decided: UTC time, with
        reason: the owner's words; they stay at the hospital.
        sent: whether the decision reached the relay.
    """

    id: str
    kind: ItemKind
    study: str
    plan_sha256: str
    researcher: str
    request: str
    job: str
    state: ItemState
    files: tuple[str, ...]
    note: str = ""
    decided_by: str = ""
    decided: str = ""
    reason: str = ""
    sent: bool = False

    @property
    def is_disclosure(self) -> bool:
        """Whether releasing it tells something un-noised about a patient."""
        return self.kind is ItemKind.CASE_REPORT


def decide(item: Item, *, state: ItemState, actor: str, reason: str, time: str) -> Item:
    """The item after a decision.

    Raises:
        DeskError: it was decided before, or the decision is to hold it.
    """
    if item.state is not ItemState.HELD:
        raise DeskError(
            f"{item.id} was {item.state} by {item.decided_by} at {item.decided}; "
            "a decision cannot be taken twice"
        )
    if state is ItemState.HELD:
        raise DeskError(f"{item.id} is held already; release or withhold it")
    return replace(item, state=state, decided_by=actor, reason=reason, decided=time)

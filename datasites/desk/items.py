"""What lies on the release desk, and where each thing is in its life. Pure.

    draft     a report whose text is not borne out by its facts; it cannot leave, only be edited
    held      checked, waits for the owner's decision
    released  the owner (or a rule the owner signed) let it go; it leaves once
    withheld  the owner keeps it; the researcher is told that, and a code

An item is decided once and for good. Every change has an entry in the ledger that says what the
item is afterwards, so an item is what its ledger entries make of it (`replay`): a crash between
entry and item is mended by reading the entries again, and nothing is released twice or half.

Case reports are the exception. The ledger's length and hashes cross the hospital's boundary with
every receipt, and how many cases were drafted, edited or withheld is nobody's business there: of a
case only its release is in the ledger, all else is in its item. What an entry says of contents is a
salted commitment, which only this hospital can open (`content_sha256`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from datasites.errors import AlreadyDecidedError, DeskError, StaleViewError
from privacy import EntryKind, digest, sha256_hex

if TYPE_CHECKING:
    from privacy import Entry


class ItemState(StrEnum):
    """Where an item is in its life."""

    DRAFT = "draft"
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
    GENERATOR = "generator"


WITH_ANSWER = frozenset({ItemKind.WEIGHTS, ItemKind.GENERATOR})
"""Kinds that travel with the answer to their request, which waits for the decision on them."""
NEEDS_A_PERSON = frozenset({ItemKind.GENERATOR})
"""Kinds for which no standing leave holds."""
_REPORTS = frozenset({ItemKind.CASE_REPORT, ItemKind.HOSPITAL_REPORT, ItemKind.GLOBAL_REPORT})
ENTRY_OF = {
    ItemState.RELEASED: EntryKind.OUTPUT_RELEASED,
    ItemState.WITHHELD: EntryKind.OUTPUT_WITHHELD,
}
_STATE_OF = {kind: state for state, kind in ENTRY_OF.items()}
_CHANGES = frozenset({EntryKind.OUTPUT_EDITED, EntryKind.OUTPUT_REDACTED})


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
        state: draft, held, released or withheld.
        files: names of its files; a changed report is a new file.
        note: how it was made (for a report: by the model, or by the template).
        decided_by: who decided, at
        decided: UTC time, with
        reason: the owner's words; they stay at the hospital.
        sent: whether the decision reached the relay.
        held: UTC time since when it lies here.
        content_sha256: over its files; what a decision is about.
        edits: how often the owner changed its words.
        redactions: how many blocks stand in it.
        rule: the release rule that let it go, if one did.
        code: the coded reason the researcher is told when it is withheld.
        salt: hex; makes the content hash a commitment. It stays here.
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
    held: str = ""
    content_sha256: str = ""
    edits: int = 0
    redactions: int = 0
    rule: str = ""
    code: str = ""
    salt: str = ""

    @property
    def is_disclosure(self) -> bool:
        """Whether releasing it tells something un-noised about a patient."""
        return self.kind is ItemKind.CASE_REPORT

    @property
    def is_always_there(self) -> bool:
        """Whether its plan alone says that it exists, so that its state may be told."""
        return self.kind is not ItemKind.CASE_REPORT

    @property
    def is_report(self) -> bool:
        """Whether it is a text with facts."""
        return self.kind in _REPORTS

    @property
    def is_open(self) -> bool:
        """Whether nobody has decided on it yet."""
        return self.state in (ItemState.DRAFT, ItemState.HELD)


def must_be_open(item: Item) -> None:
    """Refuse to touch an item that was decided.

    Raises:
        AlreadyDecidedError: it was released or withheld before.
    """
    if not item.is_open:
        raise AlreadyDecidedError(
            f"{item.id} was {item.state} by {item.decided_by} at {item.decided}; "
            "a decision cannot be taken twice"
        )


def must_be_current(item: Item, content: str) -> None:
    """Refuse a decision about contents that are not there any more.

    Args:
        item: the item as it is.
        content: beginning of the content hash that the owner looked at; empty for any.

    Raises:
        StaleViewError: somebody changed the item since.
    """
    if not item.content_sha256.startswith(content):
        raise StaleViewError(
            f"{item.id} was changed since you looked ({content[:12]} is now "
            f"{item.content_sha256[:12]}); look again with `dura site releases show`"
        )


def content_sha256(files: Mapping[str, bytes], *, salt: str) -> str:
    """The commitment to an item's files, names included: nobody guesses contents by it.

    It is the SHA-256 of the canonical JSON of `{"salt": ..., "files": {NAME: SHA-256}}`, which
    whoever holds the item may show an auditor.
    """
    return digest({"salt": salt, "files": {name: sha256_hex(data) for name, data in files.items()}})


def decide(item: Item, *, state: ItemState, actor: str, reason: str, time: str) -> Item:
    """The item after a decision.

    Raises:
        AlreadyDecidedError: it was decided before.
        DeskError: the decision is none.
    """
    must_be_open(item)
    if state not in ENTRY_OF:
        raise DeskError(f"{item.id} is {item.state} already; release or withhold it")
    return replace(item, state=state, decided_by=actor, reason=reason, decided=time)


def replay(item: Item, entries: Iterable[Entry]) -> Item:
    """The item as the ledger's entries about it leave it; the same entries may be read again.

    Args:
        item: as it was read from disk, perhaps behind the ledger.
        entries: of the ledger, in order; those about other things are passed over.
    """
    for entry in entries:
        if entry.resource != item.id:
            continue
        if entry.kind in _CHANGES:
            item = changed(item, entry.detail)
        elif entry.kind in _STATE_OF and item.is_open:
            item = replace(
                item,
                state=_STATE_OF[entry.kind],
                decided_by=entry.actor,
                decided=entry.time,
                reason=entry.reason,
                rule=str(entry.detail.get("rule", "")),
                code=str(entry.detail.get("code", "")),
            )
    return item


def changed(item: Item, detail: Mapping[str, Any]) -> Item:
    """The item after an edit or a redaction that its entry's detail describes.

    What was changed was verified first, so a draft is held from then on.
    """
    state = ItemState.HELD if item.state is ItemState.DRAFT else item.state
    return replace(
        item,
        state=state,
        files=(str(detail["file"]),),
        content_sha256=str(detail["content_sha256"]),
        edits=int(detail["edits"]),
        redactions=int(detail["redactions"]),
    )

"""The desk on disk: one folder an item, `item.json` beside the item's files.

Order of every change, alone on the desk (`datasites.site.locks`): the ledger's entries about the
item are read again, so that a change whose entry a crash cut off from its item is completed
first (a case report's changes but its release have no entry: its item is written whole or not at
all); the change is checked; new contents are written under a new name; the entry goes to the
ledger; `item.json` follows. Only then may the agent send. So whatever is killed, and whenever:

- before the entry: nothing happened;
- after the entry: the next one who touches the item, or the agent when it starts, completes it;
- between sending and noting that: it is sent again, the same bytes, and taken once.

What leaves is compared with the hash in the signed entry that released it (`outgoing`): an
`item.json` or a file that was altered on disk releases nothing.

A case report is a non-private disclosure. Its disclosure is recorded before its release, once:
a crash in between costs the guarantee of that unit although nothing left, never the reverse.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

from datasites.desk.assessment import Assessment, assess, problems_of
from datasites.desk.held_report import HeldReport, Span, redact
from datasites.desk.identifier_list import read_words
from datasites.desk.item_files import Shelf
from datasites.desk.items import (
    ENTRY_OF,
    NEEDS_A_PERSON,
    Item,
    ItemState,
    changed,
    content_sha256,
    decide,
    must_be_current,
    must_be_open,
    replay,
)
from datasites.desk.journal import Journal
from datasites.desk.release_policy import must_be_covered, must_be_releasable, must_be_reviewer
from datasites.desk.release_rule import ReleaseRule
from datasites.desk.revision import edited, text_difference
from datasites.errors import (
    DeskError,
    Obstacle,
    Reason,
    ReleaseRefusedError,
)
from datasites.plans import Approval
from datasites.site import PlanStore, Site, desk_lock, now_utc, stamp
from privacy import EntryKind


class Desk:
    """The release desk of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._shelf = Shelf(site.root / "desk")
        self._journal = Journal(site)

    # --- looking ----------------------------------------------------------------------------

    def items(self) -> list[Item]:
        """Every item that can be read, by id."""
        return self._shelf.items()

    def broken(self) -> dict[str, str]:
        """Items that cannot be read, by id, and why; nothing of them leaves."""
        return self._shelf.broken()

    def get(self, item_id: str) -> Item:
        """One item.

        Raises:
            DeskError: there is none.
        """
        return self._shelf.get(item_id)

    def files(self, item: Item) -> dict[str, bytes]:
        """The item's files."""
        return self._shelf.files(item)

    def report(self, item: Item) -> HeldReport:
        """The report that an item is.

        Raises:
            DeskError: it is none, or its file is not one.
        """
        return self._shelf.report(item)

    def differences(self, item: Item) -> str:
        """What the owner's edits changed, as unified diffs in order."""
        return self._shelf.differences(item)

    def assessment(self, item: Item) -> Assessment | None:
        """What is found about a report now; None for weights.

        Raises:
            DeskError: its file cannot be read. SettingsError: the list of words cannot be.
        """
        if not item.is_report:
            return None
        return assess(self.report(item), words=read_words(self._site.root))

    def approval(self, item: Item) -> Approval | None:
        """The decision on the plan an item was made under; revoked where the ledger says so."""
        return PlanStore(self._site).approval(item.plan_sha256)

    # --- changing ---------------------------------------------------------------------------

    def hold(self, item: Item, files: Mapping[str, bytes], *, time: str = "") -> None:
        """Put an output on the desk, at `time` (now); the same item is put there once.

        A report is verified; one that its facts do not bear out lies there as a draft.
        """
        with desk_lock(self._site.root):
            if self._shelf.has(item.id):
                return
            for name, data in files.items():
                self._shelf.put(item, name, data)
            time = time or stamp(now_utc())
            salt = secrets.token_hex(32)
            item = replace(
                item,
                state=self._state_at_arrival(item),
                held=time,
                content_sha256=content_sha256(files, salt=salt),
                salt=salt,
            )
            # A crash between the entry and the item must not hold it twice.
            if not self._journal.has(EntryKind.OUTPUT_HELD, item):
                self._journal.log(
                    EntryKind.OUTPUT_HELD,
                    item,
                    actor="agent",
                    action="hold",
                    detail={"state": item.state.value},
                    time=time,
                )
            self._shelf.write(item)

    def decide(
        self,
        item_id: str,
        *,
        state: ItemState,
        actor: str,
        reason: str,
        code: Reason = Reason.WITHHELD_BY_OWNER,
        content: str = "",
    ) -> Item:
        """A person releases or withholds an item: checked, recorded in the ledger, then done.

        Args:
            item_id: the item.
            state: released or withheld.
            actor: who decides.
            reason: why, in their words; stays at the hospital.
            code: what the researcher is told about a withheld item.
            content: beginning of the content hash they looked at; empty to take it as it is.

        Raises:
            DeskError: unknown item or person. AlreadyDecidedError: decided before.
            StaleViewError: it was changed since. ReleaseRefusedError: it may not leave.
        """
        actor = must_be_reviewer(actor, self._site.settings.reviewers)
        with desk_lock(self._site.root):
            item = self._settled(item_id)
            told = code.value if state is ItemState.WITHHELD else ""
            return self._decide(
                item, state=state, actor=actor, reason=reason, code=told, content=content
            )

    def release_standing(self, item_id: str, *, actor: str, reason: str, time: str = "") -> Item:
        """Release DP weights under an approval with standing release, at `time` (now).

        Raises:
            ReleaseRefusedError: the approval does not allow it (any more).
        """
        with desk_lock(self._site.root):
            item = self._settled(item_id)
            approval = self.approval(item)
            standing = approval is not None and approval.standing_release
            if item.is_report or item.kind in NEEDS_A_PERSON or not standing:
                raise ReleaseRefusedError(
                    Obstacle.NOT_COVERED, f"{item.id} has no standing release; it waits"
                )
            return self._decide(
                item, state=ItemState.RELEASED, actor=actor, reason=reason, time=time
            )

    def release_by_rule(self, item_id: str, rule: ReleaseRule) -> Item:
        """Release a report that a rule covers; called by the agent, alone on the desk.

        Raises:
            ReleaseRefusedError: it does not. AlreadyDecidedError: somebody was faster.
        """
        item = self._settled(item_id)
        must_be_open(item)
        assessment = self.assessment(item)
        if assessment is None:
            raise ReleaseRefusedError(Obstacle.NOT_COVERED, f"{item.id} is no report")
        must_be_covered(
            item,
            assessment,
            self.approval(item),
            rule,
            quorum=self._site.settings.quorum,
            now=self._site.now(),
        )
        by = f"{rule.id} by {', '.join(rule.reviewers)}"
        reason = "verified, noised, no identifier marked"
        return self._decide(item, state=ItemState.RELEASED, actor=by, reason=reason, rule=rule.id)

    def edit(self, item_id: str, text: str, *, actor: str, reason: str, content: str = "") -> Item:
        """Change a report's words; the new text is verified, marked as edited, its diff kept.

        Raises:
            EditRefusedError: its facts do not bear the new text out; nothing changed.
            AlreadyDecidedError: decided before. StaleViewError: changed since.
        """
        actor = must_be_reviewer(actor, self._site.settings.reviewers)
        with desk_lock(self._site.root):
            item = self._open(item_id, content)
            before = self.report(item)
            after = edited(before, text)
            difference = text_difference(before.text, after.text, number=after.edits)
            self._shelf.put(item, f"edit-{after.edits:03d}.diff", difference.encode())
            return self._revise(
                EntryKind.OUTPUT_EDITED, item, after, actor=actor, action="edit", reason=reason
            )

    def redact(
        self, item_id: str, spans: list[Span], *, actor: str, reason: str, content: str = ""
    ) -> Item:
        """Block spans of a report's text; no spans takes all blocks away again.

        Raises:
            RedactionError: a span covers nothing, or what must stay readable.
            AlreadyDecidedError: decided before. StaleViewError: changed since.
        """
        actor = must_be_reviewer(actor, self._site.settings.reviewers)
        with desk_lock(self._site.root):
            item = self._open(item_id, content)
            before = self.report(item)
            after = redact(before, spans) if spans else before.model_copy(update={"redactions": ()})
            return self._revise(
                EntryKind.OUTPUT_REDACTED, item, after, actor=actor, action="redact", reason=reason
            )

    def mark_sent(self, item: Item) -> None:
        """Note that the decision reached the relay."""
        with desk_lock(self._site.root):
            self._shelf.write(replace(self.get(item.id), sent=True))

    def outgoing(self, item: Item) -> dict[str, bytes]:
        """The files of a released item, byte for byte what the ledger says was released.

        Raises:
            ReleaseRefusedError: no entry released them; the item or a file was altered.
        """
        files = self.files(item)
        found = content_sha256(files, salt=item.salt)
        if not any(
            entry.kind is EntryKind.OUTPUT_RELEASED and entry.detail.get("content_sha256") == found
            for entry in self._journal.entries(item.id)
        ):
            raise ReleaseRefusedError(
                Obstacle.ALTERED,
                f"{item.id} is not what the ledger says was released; nothing left",
            )
        return files

    def reconcile(self) -> None:
        """Complete changes that the ledger holds but the items do not (after a crash)."""
        with desk_lock(self._site.root):
            for item in self.items():
                if item.is_open:
                    self._settled(item.id)

    # --- inside, alone on the desk ----------------------------------------------------------

    def _state_at_arrival(self, item: Item) -> ItemState:
        try:
            fine = not item.is_report or not problems_of(self.report(item))
        except DeskError:
            fine = False
        return ItemState.HELD if fine else ItemState.DRAFT

    def _decide(
        self,
        item: Item,
        *,
        state: ItemState,
        actor: str,
        reason: str,
        code: str = "",
        rule: str = "",
        content: str = "",
        time: str = "",
    ) -> Item:
        time = time or stamp(now_utc())
        decided = decide(item, state=state, actor=actor, reason=reason, time=time)
        decided = replace(decided, rule=rule, code=code)
        must_be_current(item, content)
        if state is ItemState.RELEASED:
            must_be_releasable(
                item,
                self.assessment(item),
                self.approval(item),
                quorum=self._site.settings.quorum,
            )
            self._must_be_unaltered(item)
            if item.is_disclosure:
                self._journal.disclose(item, actor)
        told = {"rule": rule} if rule else {}
        told |= {"code": code} if code else {}
        self._journal.log(
            ENTRY_OF[state],
            item,
            actor=actor,
            action=state.value,
            reason=reason,
            detail=told,
            time=time,
        )
        self._shelf.write(decided)
        return decided

    def _open(self, item_id: str, content: str) -> Item:
        item = self._settled(item_id)
        must_be_open(item)
        must_be_current(item, content)
        return item

    def _revise(
        self,
        kind: EntryKind,
        item: Item,
        report: HeldReport,
        *,
        actor: str,
        action: str,
        reason: str,
    ) -> Item:
        """Write a report's new contents, record them, and point the item at them."""
        data = report.model_dump_json().encode()
        name = f"{item.kind.value}-{secrets.token_hex(6)}.json"  # nothing of its contents
        self._shelf.put(item, name, data)
        detail: dict[str, str | int] = {
            "file": name,
            "content_sha256": content_sha256({name: data}, salt=item.salt),
            "edits": report.edits,
            "redactions": len(report.redactions),
        }
        after = changed(item, detail)
        self._journal.log(kind, item, actor=actor, action=action, reason=reason, detail=detail)
        self._shelf.write(after)
        return after

    def _settled(self, item_id: str) -> Item:
        """The item as the ledger leaves it, on disk as well."""
        item = self.get(item_id)
        settled = replay(item, self._journal.entries(item_id)) if item.is_open else item
        if settled != item:
            self._shelf.write(settled)
        return settled

    def _must_be_unaltered(self, item: Item) -> None:
        if content_sha256(self.files(item), salt=item.salt) != item.content_sha256:
            raise ReleaseRefusedError(
                Obstacle.ALTERED,
                f"the files of {item.id} are not those that were held; withhold it",
            )

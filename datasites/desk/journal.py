"""What the desk writes into the site's ledger about its items, and reads back from it.

An item's id is the resource of every entry about it. What an entry says of an item's contents is
a commitment to them, never the contents. Of an item that is not always there only the release is
written (`datasites.desk.items`).
"""

from __future__ import annotations

from collections.abc import Mapping

from datasites.desk.items import Item
from datasites.site import Site, now_utc, stamp
from privacy import Entry, EntryKind

NO_DATA = "none"


class Journal:
    """The ledger as the desk of one site uses it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def entries(self, resource: str) -> list[Entry]:
        """Every entry about an item or a plan, oldest first, verified while they are read."""
        entries = (sealed.entry for sealed in self._site.ledger.entries())
        return [entry for entry in entries if entry.resource == resource]

    def has(self, kind: EntryKind, item: Item) -> bool:
        """Whether an entry of this kind is about the item."""
        return any(entry.kind is kind for entry in self.entries(item.id))

    def disclose(self, item: Item, actor: str) -> None:
        """Record that a case is shown without noise, once for an item."""
        from privacy import Disclosure, DisclosureKind, disclose

        if self.has(EntryKind.DISCLOSURE, item):
            return  # a crash came between this entry and the release
        shown = Disclosure(
            kind=DisclosureKind.CASE_REPORT,
            units=1,
            scope=f"case report {item.id}",
            dataset_version=self._site.card().dataset_version if self._site.has_data else NO_DATA,
        )
        self._site.ledger.append(
            disclose(
                shown,
                resource=item.id,
                reason="a case report was released",
                time=stamp(now_utc()),
                actor=actor,
            )
        )

    def log(
        self,
        kind: EntryKind,
        item: Item,
        *,
        actor: str,
        action: str,
        reason: str = "",
        detail: Mapping[str, str | int],
        time: str = "",
    ) -> None:
        """Append one entry about an item, with the commitment to its contents, at `time` (now)."""
        if not item.is_always_there and kind is not EntryKind.OUTPUT_RELEASED:
            return
        about = {
            "kind": item.kind.value,
            "request": item.request,
            "plan_sha256": item.plan_sha256,
            "content_sha256": item.content_sha256,
        }
        self._site.log(
            kind,
            actor=actor,
            action=action,
            resource=item.id,
            reason=reason,
            detail={**about, **detail},
            time=time,
        )

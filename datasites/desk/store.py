"""The desk on disk: one folder an item, `item.json` beside the item's files.

A decision is written to the ledger first, then to the item; the agent sends what is released.
A crash in between leaves an item held although the ledger says released: `reconcile` finds it
and completes the decision that was logged, so that nothing is released twice or half.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from datasites.desk.items import Item, ItemKind, ItemState, decide
from datasites.errors import DeskError
from datasites.site import Site, now_utc, stamp, write_file, write_json
from privacy import EntryKind

_ENTRY = {
    ItemState.RELEASED: EntryKind.OUTPUT_RELEASED,
    ItemState.WITHHELD: EntryKind.OUTPUT_WITHHELD,
}

NO_DATA = "none"


class Desk:
    """The release desk of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._folder = site.root / "desk"

    def hold(self, item: Item, files: Mapping[str, bytes]) -> None:
        """Put an output on the desk; the same item is put there once."""
        folder = self._folder / item.id
        if (folder / "item.json").exists():
            return
        for name, data in files.items():
            write_file(folder / name, data)
        self._site.log(
            EntryKind.OUTPUT_HELD,
            actor="agent",
            action="hold",
            resource=item.id,
            detail={"kind": item.kind.value, "plan_sha256": item.plan_sha256},
        )
        self._write(item)

    def items(self) -> list[Item]:
        """Every item, by id."""
        return [self.get(path.parent.name) for path in sorted(self._folder.glob("*/item.json"))]

    def get(self, item_id: str) -> Item:
        """One item.

        Raises:
            DeskError: there is none.
        """
        path = self._folder / item_id / "item.json"
        if "/" in item_id or not path.exists():
            raise DeskError(f"there is no item {item_id!r}; `dura site releases` lists them")
        fields = json.loads(path.read_text())
        fields["files"] = tuple(fields["files"])
        fields["kind"], fields["state"] = ItemKind(fields["kind"]), ItemState(fields["state"])
        return Item(**fields)

    def files(self, item: Item) -> dict[str, bytes]:
        """The item's files."""
        return {name: (self._folder / item.id / name).read_bytes() for name in item.files}

    def decide(self, item_id: str, *, state: ItemState, actor: str, reason: str) -> Item:
        """Release or withhold an item: checked, recorded in the ledger, then done.

        Raises:
            DeskError: unknown, or decided before.
        """
        with self._locked():
            item = self.get(item_id)
            decided = decide(item, state=state, actor=actor, reason=reason, time=stamp(now_utc()))
            if state is ItemState.RELEASED and item.is_disclosure:
                self._disclose(item, actor)
            self._site.log(
                _ENTRY[state],
                actor=actor,
                action=state.value,
                resource=item.id,
                reason=reason,
                detail={"kind": item.kind.value, "plan_sha256": item.plan_sha256},
            )
            self._write(decided)
            return decided

    def mark_sent(self, item: Item) -> None:
        """Note that the decision reached the relay."""
        self._write(replace(item, sent=True))

    def reconcile(self) -> None:
        """Complete decisions that the ledger holds but the items do not (after a crash)."""
        held = {item.id: item for item in self.items() if item.state is ItemState.HELD}
        states = {kind: state for state, kind in _ENTRY.items()}
        for sealed in self._site.ledger.entries() if held else ():
            entry = sealed.entry
            item = held.get(entry.resource)
            if item is not None and entry.kind in states:
                self._write(
                    decide(
                        item,
                        state=states[entry.kind],
                        actor=entry.actor,
                        reason=entry.reason,
                        time=entry.time,
                    )
                )

    def _disclose(self, item: Item, actor: str) -> None:
        from privacy import Disclosure, DisclosureKind, disclose

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

    def _write(self, item: Item) -> None:
        write_json(self._folder / item.id / "item.json", asdict(item))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = Path(self._folder / ".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

"""Where the desk's items lie: one folder an item, `item.json` beside its files. No rules here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pydantic

from datasites.desk.content import HeldReport
from datasites.desk.items import Item, ItemKind, ItemState
from datasites.errors import DeskError
from datasites.site import write_file, write_json


class Shelf:
    """The items below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, item_id: str) -> bool:
        """Whether an item lies here."""
        return (self._folder / item_id / "item.json").exists()

    def items(self) -> list[Item]:
        """Every item, by id."""
        return [self.get(path.parent.name) for path in sorted(self._folder.glob("*/item.json"))]

    def get(self, item_id: str) -> Item:
        """One item.

        Raises:
            DeskError: there is none.
        """
        if "/" in item_id or not self.has(item_id):
            raise DeskError(f"there is no item {item_id!r}; `dura site releases list` shows them")
        fields = json.loads((self._folder / item_id / "item.json").read_text())
        fields["files"] = tuple(fields["files"])
        fields["kind"], fields["state"] = ItemKind(fields["kind"]), ItemState(fields["state"])
        return Item(**fields)

    def files(self, item: Item) -> dict[str, bytes]:
        """The item's files."""
        return {name: (self._folder / item.id / name).read_bytes() for name in item.files}

    def report(self, item: Item) -> HeldReport:
        """The report that an item is.

        Raises:
            DeskError: it is none, or its file is not one.
        """
        if not item.is_report:
            raise DeskError(f"{item.id} is {item.kind}, not a report")
        try:
            return HeldReport.model_validate_json(next(iter(self.files(item).values())))
        except pydantic.ValidationError as error:
            raise DeskError(f"the report of {item.id} cannot be read; withhold it") from error

    def differences(self, item: Item) -> str:
        """What the owner's edits changed, as unified diffs in order."""
        paths = sorted((self._folder / item.id).glob("edit-*.diff"))
        return "\n".join(path.read_text() for path in paths)

    def put(self, item: Item, name: str, data: bytes) -> None:
        """Write one of an item's files, whole or not at all."""
        write_file(self._folder / item.id / name, data)

    def write(self, item: Item) -> None:
        """Write an item's record, whole or not at all."""
        write_json(self._folder / item.id / "item.json", asdict(item))

"""Where the desk's items lie: one folder an item, `item.json` beside its files. No rules here."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pydantic

from datasites.desk.held_report import HeldReport
from datasites.desk.items import Item
from datasites.durable import write_file
from datasites.errors import DamagedFileError, DeskError
from datasites.plans import NO_FILE, explain, read_record
from datasites.site import write_json

_ITEM = pydantic.TypeAdapter(Item)
_FIELDS = {field.name for field in fields(Item)}


class Shelf:
    """The items below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, ...], Item | DeskError]] = {}

    def has(self, item_id: str) -> bool:
        """Whether an item lies here."""
        return (self._folder / item_id / "item.json").exists()

    def items(self) -> list[Item]:
        """Every item that can be read, by id; the others are `broken`."""
        return [item for item in map(self._read, self._names()) if isinstance(item, Item)]

    def broken(self) -> dict[str, str]:
        """Items whose record is damaged, by id, and why: set aside, nothing of them leaves."""
        found = {name: self._read(name) for name in self._names()}
        return {name: str(one) for name, one in found.items() if not isinstance(one, Item)}

    def get(self, item_id: str) -> Item:
        """One item.

        Raises:
            DeskError: there is none, or its record is damaged.
        """
        if "/" in item_id or not self.has(item_id):
            raise DeskError(f"there is no item {item_id!r}; `dura site releases list` shows them")
        found = self._read(item_id)
        if isinstance(found, DeskError):
            raise found
        return found

    def _names(self) -> list[str]:
        return [path.parent.name for path in sorted(self._folder.glob("*/item.json"))]

    def _read(self, item_id: str) -> Item | DeskError:
        """The item, or why there is none; read again when its record is another file.

        An idle agent looks several times a second, and items are never removed.
        """
        try:
            about = (self._folder / item_id / "item.json").stat()
        except OSError:
            return self._parsed(item_id)
        mark = (about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode)
        known = self._known.get(item_id)
        if known is None or known[0] != mark:
            known = self._known[item_id] = (mark, self._parsed(item_id))
        return known[1]

    def _parsed(self, item_id: str) -> Item | DeskError:
        path = self._folder / item_id / "item.json"
        try:
            record = read_record(path)
            unknown = sorted(set(record) - _FIELDS)
            if record.get("id") != item_id or unknown:
                raise DamagedFileError(f"{path} is damaged: another item, or {unknown} in it")
            return _ITEM.validate_python(record)
        except (DamagedFileError, FileNotFoundError) as error:
            return DeskError(f"item {item_id!r} is set aside: {error}")
        except pydantic.ValidationError as error:
            return DeskError(f"item {item_id!r} is set aside: {path} is damaged: {explain(error)}")

    def files(self, item: Item) -> dict[str, bytes]:
        """The item's files.

        Raises:
            DeskError: one is gone, or cannot be read by this account.
        """
        folder = self._folder / item.id
        try:
            return {name: (folder / name).read_bytes() for name in item.files}
        except (FileNotFoundError, *NO_FILE) as error:
            raise DeskError(f"a file of item {item.id!r} is gone: {error}; withhold it") from error

    def report(self, item: Item) -> HeldReport:
        """The report that an item is.

        Raises:
            DeskError: it is none, or its file is not one.
        """
        if not item.is_report:
            raise DeskError(f"{item.id} is {item.kind}, not a report")
        files = list(self.files(item).values())
        if not files:
            raise DeskError(f"the report of {item.id} has no file; withhold it")
        try:
            return HeldReport.model_validate_json(files[0])
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

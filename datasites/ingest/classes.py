"""Class names, and which folder names mean them.

The class list is a setting; its order is the order of labels. A folder means a class if their names
agree after ignoring case, Unicode form and the difference between space, `-` and `_`; or if the
folder is called `<class>_tumor` or `<class>_tumour`; and the class whose name reads "no tumour" is
also called `none`. An exact name always wins over such an alias, and a list in which two classes
claim the same folder is refused.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from datasites.ingest.errors import ClassListError

DEFAULT_CLASSES: tuple[str, ...] = ("glioma", "meningioma", "notumor", "pituitary")
"""Folder names of the public brain-tumour MRI collections, in alphabetical order."""

MAX_CLASSES = 1000
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")


def _normal(name: str) -> str:
    text = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"[\s_-]+", " ", text).strip()


def _aliases(name: str) -> set[str]:
    plain = _normal(name)
    found = {f"{plain} tumor", f"{plain} tumour"}
    if plain.replace(" ", "") in {"notumor", "notumour"}:
        found |= {"notumor", "notumour", "no tumor", "no tumour", "none"}
    return found - {plain}


def _folder_table(classes: tuple[str, ...]) -> dict[str, str]:
    exact: dict[str, str] = {}
    for name in classes:
        if other := exact.get(_normal(name)):
            raise ClassListError(
                f"the classes {other!r} and {name!r} are the same folder name; keep one of them"
            )
        exact[_normal(name)] = name
    table: dict[str, str] = {}
    for name in classes:
        for alias in _aliases(name) - exact.keys():
            if alias in table:
                raise ClassListError(
                    f"a folder {alias!r} could be the class {table[alias]!r} or {name!r}; "
                    "rename one of them"
                )
            table[alias] = name
    return table | exact


@dataclass(frozen=True)
class ClassNames:
    """A checked class list.

    Attributes:
        classes: names in label order, each usable as a folder name.

    Raises:
        ClassListError: the list is empty, too long or ambiguous, or a name cannot be a folder's.
    """

    classes: tuple[str, ...] = DEFAULT_CLASSES
    _table: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise ClassListError(
                f"the class list has {len(self.classes)} names; give 1 to {MAX_CLASSES}"
            )
        for name in self.classes:
            if name != name.strip() or not _normal(name) or name[0] == "." or _UNSAFE.search(name):
                raise ClassListError(
                    f"{name!r} cannot be a class name; use a plain folder name such as 'glioma'"
                )
        object.__setattr__(self, "_table", _folder_table(self.classes))

    def match(self, folder_name: str) -> str | None:
        """The class that a folder of this name holds, or None if it is no class folder."""
        return self._table.get(_normal(folder_name))

    def label(self, class_name: str) -> int:
        """The label of a class: its place in the list.

        Raises:
            ValueError: it is not in the list.
        """
        return self.classes.index(class_name)

    def expected(self) -> str:
        """The names for a message: 'glioma, meningioma, notumor, pituitary'."""
        return ", ".join(self.classes)

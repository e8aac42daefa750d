"""What lies in a data folder: images by class, and by name everything that was left out.

A data folder holds one folder per class; images lie directly in these. The scan is sorted and looks
at names and file types only. It leaves out, and names with a reason: hidden files and folders
(`.ipynb_checkpoints` and its copies of images), symbolic links, folders that are no class, folders
inside class folders, files outside them, files without an image suffix, and anything that is not a
regular file. The contents of a folder that is left out are counted, not read.

It refuses as a whole a folder that is missing or holds no class folder, and says what it found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasites.ingest.classes import ClassNames
from datasites.ingest.errors import FolderError, RefusalReason

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".dcm"})
_CLIENT = re.compile(r"client[_-](?P<name>\w+)[_-](?P<part>train|test)", re.IGNORECASE)
_SHOWN = 8
"""Names listed in an error message before it says "and so on"."""


@dataclass(frozen=True)
class FoundImage:
    """A file that claims to be an image of a class; not opened yet.

    Attributes:
        path: relative to the scanned folder.
        class_name: one of the class list.
    """

    path: Path
    class_name: str


@dataclass(frozen=True)
class Refusal:
    """Something left out, with its reason.

    Attributes:
        path: relative to the scanned folder.
        reason: coded.
        message: one line for the data owner.
    """

    path: Path
    reason: RefusalReason
    message: str


@dataclass(frozen=True)
class Scan:
    """The outcome of looking at a folder.

    Attributes:
        found: images, by class in label order, then by path.
        refused: everything else.
    """

    found: tuple[FoundImage, ...]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True)
class ClientFolders:
    """One client in the users' layout.

    Attributes:
        train: `client_A_train`.
        test: `client_A_test`, or None where there is none.
    """

    train: Path
    test: Path | None


def scan(folder: Path, classnames: ClassNames) -> Scan:
    """List the images of a data folder by class.

    Args:
        folder: holds one folder per class. May itself be a symbolic link; nothing below it may.
        classnames: the class list.

    Raises:
        FolderError: the folder is missing, unreadable, or holds no class folder.
    """
    found: list[FoundImage] = []
    refused: list[Refusal] = []
    any_class = False
    for entry in _entries(folder):
        path = Path(entry.name)
        class_name = classnames.match(entry.name)
        if common := _common_refusal(entry, path):
            refused.append(common)
        elif not entry.is_dir(follow_symlinks=False):
            refused.append(
                Refusal(
                    path,
                    RefusalReason.OUTSIDE_CLASS_FOLDER,
                    "lies beside the class folders; move it into the folder of its class",
                )
            )
        elif class_name is None:
            refused.append(_unknown_class(entry, path, classnames))
        else:
            any_class = True
            _scan_class(Path(entry.path), path, class_name, found, refused)
    if not any_class:
        raise FolderError(_nothing_here(folder, classnames))
    found.sort(key=lambda each: (classnames.label(each.class_name), each.path))
    return Scan(tuple(found), tuple(refused))


def find_client_folders(root: Path) -> Mapping[str, ClientFolders]:
    """The users' layout: `client_A_train` and `client_A_test` under one folder, in any case.

    Returns:
        Client name, upper case, to its folders, sorted; empty where the layout is another.

    Raises:
        FolderError: the root is missing, a client has only a test folder, or two folders are the
            same client's.
    """
    parts: dict[tuple[str, str], Path] = {}
    for entry in _entries(root):
        match = _CLIENT.fullmatch(entry.name)
        if match is None or not entry.is_dir(follow_symlinks=False):
            continue
        key = match["name"].upper(), match["part"].lower()
        if key in parts:
            raise FolderError(
                f"{parts[key].name} and {entry.name} in {root} are the same client's; keep one"
            )
        parts[key] = root / entry.name
    clients = sorted({name for name, _ in parts})
    for name in clients:
        if (name, "train") not in parts:
            raise FolderError(
                f"{root} holds {parts[name, 'test'].name} but no training folder beside it; "
                f"add client_{name}_train"
            )
    return {
        name: ClientFolders(train=parts[name, "train"], test=parts.get((name, "test")))
        for name in clients
    }


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise FolderError(f"there is no folder {folder}; check the path") from None
    except NotADirectoryError:
        raise FolderError(f"{folder} is a file; give the folder that holds the classes") from None
    except OSError as error:
        raise FolderError(f"the folder {folder} cannot be read: {error.strerror}") from error


def _common_refusal(entry: os.DirEntry[str], path: Path) -> Refusal | None:
    """What is refused wherever it lies: hidden names, symbolic links, devices and pipes."""
    if entry.name.startswith("."):
        return Refusal(path, RefusalReason.HIDDEN, "hidden, so skipped")
    if entry.is_symlink():
        return Refusal(
            path, RefusalReason.SYMLINK, "a symbolic link; put the file itself in its place"
        )
    if not (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)):
        return Refusal(path, RefusalReason.NOT_A_FILE, "a device, pipe or socket")
    return None


def _unknown_class(entry: os.DirEntry[str], path: Path, classnames: ClassNames) -> Refusal:
    return Refusal(
        path,
        RefusalReason.UNKNOWN_CLASS,
        f"a folder with {_files_below(Path(entry.path))} files that is no class; rename it to one "
        f"of {classnames.expected()}, or add it to the class list",
    )


def _scan_class(
    folder: Path,
    shown: Path,
    class_name: str,
    found: list[FoundImage],
    refused: list[Refusal],
) -> None:
    """Sort the entries of one class folder into `found` and `refused`."""
    for entry in _entries(folder):
        path = shown / entry.name
        suffix = path.suffix.lower()
        if common := _common_refusal(entry, path):
            refused.append(common)
        elif entry.is_file(follow_symlinks=False):
            if suffix in SUFFIXES:
                found.append(FoundImage(path, class_name))
            else:
                refused.append(_unknown_suffix(path))
        elif suffix in SUFFIXES:
            refused.append(Refusal(path, RefusalReason.NOT_A_FILE, "a folder named like an image"))
        else:
            refused.append(
                Refusal(
                    path,
                    RefusalReason.NESTED_FOLDER,
                    f"a folder with {_files_below(Path(entry.path))} files inside a class folder; "
                    f"move its images to {shown}",
                )
            )


def _unknown_suffix(path: Path) -> Refusal:
    return Refusal(
        path,
        RefusalReason.UNKNOWN_SUFFIX,
        f"the suffix {path.suffix!r} is not one of {', '.join(sorted(SUFFIXES))}",
    )


def _files_below(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _folder_names(folder: Path) -> list[str]:
    _, folders, _ = next(os.walk(folder), ("", [], []))
    return sorted(name for name in folders if not name.startswith("."))


def _nothing_here(folder: Path, classnames: ClassNames) -> str:
    """Say what was found instead of class folders, and where they may be."""
    names = _folder_names(folder)
    listed = ", ".join(names[:_SHOWN]) + (", and so on" if len(names) > _SHOWN else "")
    message = (
        f"{folder} holds no class folder. Expected folders named {classnames.expected()}; "
        f"found {f'the folders {listed}' if names else 'no folder at all'}. "
    )
    for name in names:
        if any(classnames.match(inner) for inner in _folder_names(folder / name)):
            return f"{message}{folder / name} does hold class folders: did you mean that one?"
    return f"{message}Rename the folders, or give the class list that fits them."

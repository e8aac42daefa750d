from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasites.ingest.classes import ClassNames
from datasites.ingest.errors import FolderError, RefusalReason
from datasites.ingest.scan import ClientFolders, find_client_folders, scan

NAMES = ClassNames()


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_lists_by_class_and_name_everything_left_out(tmp_path: Path) -> None:
    _touch(
        tmp_path / "glioma" / "b.JPG",
        tmp_path / "glioma" / "a.png",
        tmp_path / "glioma" / "Größe π.jpeg",
        tmp_path / "No_Tumor" / "z.jpg",
        tmp_path / "notumor" / "z.jpg",
        tmp_path / "glioma" / "notes.txt",
        tmp_path / "glioma" / ".ipynb_checkpoints" / "a-checkpoint.jpg",
        tmp_path / ".DS_Store",
        tmp_path / "glioma" / "meningioma" / "deep.jpg",
        tmp_path / "gliom" / "typo.jpg",
        tmp_path / "gliom" / "sub" / "typo.jpg",
        tmp_path / "loose.jpg",
    )
    (tmp_path / "glioma" / "x.jpg").mkdir()
    (tmp_path / "glioma" / "link.jpg").symlink_to(tmp_path / "loose.jpg")
    (tmp_path / "pituitary").symlink_to(tmp_path / "glioma")
    os.mkfifo(tmp_path / "glioma" / "pipe.jpg")

    result = scan(tmp_path, NAMES)

    assert [(found.path.as_posix(), found.class_name) for found in result.found] == [
        ("glioma/Größe π.jpeg", "glioma"),
        ("glioma/a.png", "glioma"),
        ("glioma/b.JPG", "glioma"),
        ("No_Tumor/z.jpg", "notumor"),
        ("notumor/z.jpg", "notumor"),
    ]
    assert {each.path.as_posix(): each.reason.value for each in result.refused} == {
        ".DS_Store": "hidden",
        "gliom": "unknown_class",
        "glioma/.ipynb_checkpoints": "hidden",
        "glioma/link.jpg": "symlink",
        "glioma/meningioma": "nested_folder",
        "glioma/notes.txt": "unknown_suffix",
        "glioma/pipe.jpg": "not_a_file",
        "glioma/x.jpg": "not_a_file",
        "loose.jpg": "outside_class_folder",
        "pituitary": "symlink",
    }
    unknown = next(e for e in result.refused if e.reason is RefusalReason.UNKNOWN_CLASS)
    assert "2 files" in unknown.message
    assert "glioma, meningioma, notumor, pituitary" in unknown.message
    assert scan(tmp_path, NAMES) == result


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    _touch(tmp_path / "real" / "glioma" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(scan(tmp_path / "link", NAMES).found) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (None, "there is no folder"),
        ([], "no folder at all"),
        (["benign/a.jpg"], "found the folders benign. Rename"),
        (["Testing/glioma/a.jpg", "Training/glioma/a.jpg"], "Testing does hold class folders"),
        ([f"c{i:02}/a.jpg" for i in range(12)], "c07, and so on"),
    ],
)
def test_no_class_folder_is_an_error_that_teaches(
    tmp_path: Path, make: list[str] | None, says: str
) -> None:
    folder = tmp_path / "data"
    if make is not None:
        folder.mkdir()
        _touch(*(folder / name for name in make))
    with pytest.raises(FolderError) as caught:
        scan(folder, NAMES)
    assert says in str(caught.value)
    if make is not None:
        assert "glioma, meningioma, notumor, pituitary" in str(caught.value)


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    _touch(tmp_path / "file")
    with pytest.raises(FolderError, match="is a file"):
        scan(tmp_path / "file", NAMES)


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so chmod will not do
    with pytest.raises(FolderError, match="cannot be read: Permission denied"):
        scan(tmp_path, NAMES)


def test_client_folders_in_any_case(tmp_path: Path) -> None:
    for name in ("client_B_train", "client_a_train", "Client_A_Test", "other", "client_C_val"):
        (tmp_path / name).mkdir()
    _touch(tmp_path / "client_D_train")
    found = find_client_folders(tmp_path)
    assert list(found) == ["A", "B"]
    assert found["A"] == ClientFolders(tmp_path / "client_a_train", tmp_path / "Client_A_Test")
    assert found["B"] == ClientFolders(tmp_path / "client_B_train", None)


def test_no_client_folders_is_another_layout(tmp_path: Path) -> None:
    assert find_client_folders(tmp_path) == {}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["client_A_test"], "no training folder"),
        (["client_A_train", "client_a_train"], "same client"),
    ],
)
def test_contradictory_client_folders(tmp_path: Path, names: list[str], says: str) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(FolderError, match=says):
        find_client_folders(tmp_path)

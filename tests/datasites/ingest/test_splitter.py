from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasites.ingest.errors import FolderError, SplitError
from datasites.ingest.ingester import ingest
from datasites.ingest.scan import find_client_folders
from datasites.ingest.split import SplitSettings
from datasites.ingest.splitter import split_dataset

Dataset = Callable[..., Path]
Draw = Callable[..., NDArray[np.uint8]]
Write = Callable[..., Path]

SETTINGS = SplitSettings(clients=2, test=0.25, holdout=0.2, min_units=3, seed=5)


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def source(dataset: Dataset) -> Path:
    return dataset(glioma=12, meningioma=8, notumor=10, pituitary=6)


def test_makes_the_users_layout(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = split_dataset(source, out, SETTINGS)
    assert sorted(each.name for each in out.iterdir()) == [
        "client_A_test",
        "client_A_train",
        "client_B_test",
        "client_B_train",
        "researcher_test",
        "split.json",
    ]
    assert list(find_client_folders(out)) == ["A", "B"]
    copied = _files(out)
    del copied["split.json"]
    assert sorted(copied.values()) == sorted(_files(source).values())
    assert {name.split("/", 1)[1]: data for name, data in copied.items()} == _files(source)
    for part in report.parts:
        assert ingest(out / part.name).report.images == sum(part.per_class)
    assert out.stat().st_mode & 0o777 == 0o700


def test_split_json_lets_anyone_check(source: Path, tmp_path: Path) -> None:
    report = split_dataset(source, tmp_path / "out", SETTINGS)
    data = json.loads((tmp_path / "out" / "split.json").read_text())
    assert data["format"] == "dura-split/1"
    assert (data["seed"], data["alpha"], data["clients"]) == (5, None, 2)
    assert "units+greedy-shares/1" in data["rules"]
    assert len(data["parts"]) == 5
    for listed, part in zip(data["parts"], report.parts, strict=True):
        files = _files(tmp_path / "out" / part.name)
        lines = sorted(f"{hashlib.sha256(d).hexdigest()}  {name}\n" for name, d in files.items())
        assert listed["files_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
        assert sum(listed["images"].values()) == len(files)
        assert listed["units"] == part.units


def test_the_same_seed_gives_the_same_folders(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        split_dataset(source, tmp_path / name, SETTINGS)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_copies_of_an_image_stay_together(
    source: Path, tmp_path: Path, draw: Draw, write: Write
) -> None:
    for seed in range(0, 36, 3):
        class_name = next(p.parent.name for p in sorted(source.rglob("*.png")))
        write(source / class_name / f"exact{seed}.png", draw(100 + seed))
        write(source / class_name / f"again{seed}.png", draw(100 + seed))
        write(source / class_name / f"mirror{seed}.png", draw(100 + seed)[:, ::-1])
    split_dataset(source, tmp_path / "out", SETTINGS)
    where = {path.name: path.parts[-3] for path in (tmp_path / "out").rglob("*.png")}
    for seed in range(0, 36, 3):
        assert len({where[f"{kind}{seed}.png"] for kind in ("exact", "again", "mirror")}) == 1


def test_what_ingest_refuses_is_left_out(
    source: Path, tmp_path: Path, draw: Draw, write: Write
) -> None:
    (source / "glioma" / "bad.jpg").write_bytes(b"\xff\xd8\xffbad")
    write(source / "pituitary" / "wrong.png", draw(0))
    report = split_dataset(source, tmp_path / "out", SETTINGS)
    assert {str(each.path) for each in report.refused} == {
        "glioma/bad.jpg",
        "glioma/000.png",
        "pituitary/wrong.png",
    }
    assert len(list((tmp_path / "out").rglob("*.*g"))) == 35
    text = report.to_text()
    assert "left out 3 files or folders" in text
    assert "client_B_test" in text


def test_two_folders_of_one_class_may_share_file_names(
    source: Path, tmp_path: Path, draw: Draw, write: Write
) -> None:
    for number in range(10):
        write(source / "no_tumor" / f"{number:03}.png", draw(200 + number))
    split_dataset(source, tmp_path / "out", SplitSettings(clients=1, test=0.0, seed=0))
    names = {path.name for path in (tmp_path / "out" / "client_A_train" / "notumor").iterdir()}
    assert len(names) == 20
    assert {"003.png", "003-2.png"} <= names


def test_every_class_has_its_folder_even_if_empty(dataset: Dataset, tmp_path: Path) -> None:
    source = dataset(glioma=12, notumor=12)
    split_dataset(source, tmp_path / "out", SplitSettings(clients=1, test=0.2, seed=0))
    for part in ("client_A_train", "client_A_test"):
        assert len(list((tmp_path / "out" / part).iterdir())) == 4


def test_file_names_of_any_bytes(source: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(source) + b"/glioma/\xff\xfe.png"))
    try:
        (source / "glioma" / "011.png").rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    report = split_dataset(source, tmp_path / "out", SETTINGS)
    assert sum(sum(part.per_class) for part in report.parts) == 36


def test_an_empty_out_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    split_dataset(source, tmp_path / "out", SETTINGS)
    assert (tmp_path / "out" / "split.json").is_file()


def test_an_out_in_the_way_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, says in (
        (tmp_path / "full", "is not empty; give"),
        (tmp_path / "file", "not a folder"),
        (tmp_path / "link", "not a folder"),
        (source / "out", "inside"),
        (tmp_path / "no" / "parent", "there is no folder"),
    ):
        with pytest.raises(SplitError, match=says):
            split_dataset(source, out, SETTINGS)
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["x"]


def test_too_few_images_leave_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="too few"):
        split_dataset(source, tmp_path / "out", SplitSettings(clients=5, test=0.2, seed=0))
    with pytest.raises(FolderError):
        split_dataset(tmp_path / "missing", tmp_path / "out", SETTINGS)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


def test_all_images_in_two_classes(dataset: Dataset, tmp_path: Path) -> None:
    source = dataset(glioma=3)
    shutil.copytree(source / "glioma", source / "notumor")
    with pytest.raises(SplitError, match="two class folders at once"):
        split_dataset(source, tmp_path / "out", SETTINGS)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_split_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write = Path.write_bytes
    written = []

    def fail_late(self: Path, data: bytes) -> int:
        if len(written) == 20:
            raise error
        written.append(self)
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fail_late)
    with pytest.raises((SplitError, KeyboardInterrupt)):
        split_dataset(source, tmp_path / "out", SETTINGS)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]

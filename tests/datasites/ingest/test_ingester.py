from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasites.ingest.errors import ClassListError, EmptyDatasetError, FolderError
from datasites.ingest.ingester import ingest

Dataset = Callable[..., Path]
Draw = Callable[..., NDArray[np.uint8]]
Write = Callable[..., Path]


def test_a_clean_folder(dataset: Dataset, draw: Draw) -> None:
    folder = dataset(glioma=3, meningioma=2, notumor=2, pituitary=1)
    result = ingest(folder, image_size=72)
    shard, report = result.shard, result.report
    np.testing.assert_array_equal(shard.images, np.stack([draw(seed) for seed in range(8)]))
    assert shard.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 3]
    assert shard.units.tolist() == list(range(8))
    assert shard.classes == ("glioma", "meningioma", "notumor", "pituitary")
    assert report.version == shard.version
    assert [each.images for each in report.accepted] == [3, 2, 2, 1]
    assert (report.units, report.mixed_units) == (8, 0)
    assert report.duplicates == report.refused == report.warnings == ()


def test_the_version_is_of_the_images_not_of_the_place(dataset: Dataset, tmp_path: Path) -> None:
    folder = dataset(glioma=2, notumor=2)
    version = ingest(folder).shard.version
    shutil.copytree(folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "notumor").rename(tmp_path / "elsewhere" / "No_Tumor")
    assert ingest(tmp_path / "elsewhere", workers=1).shard.version == version
    assert ingest(folder, image_size=32).shard.version != version


def test_duplicates_are_dropped_and_near_duplicates_grouped(
    dataset: Dataset, draw: Draw, write: Write
) -> None:
    folder = dataset(glioma=2, notumor=2)
    shutil.copy(folder / "glioma" / "000.png", folder / "glioma" / "copy.png")
    write(folder / "glioma" / "mirrored.png", draw(1)[:, ::-1])
    write(folder / "notumor" / "darker.png", (draw(2) * 0.6).astype(np.uint8))
    write(folder / "notumor" / "as_glioma_0.png", (draw(0) * 0.6).astype(np.uint8))
    result = ingest(folder)
    report = result.report
    assert [(str(d.path), str(d.same_as)) for d in report.duplicates] == [
        ("glioma/copy.png", "glioma/000.png")
    ]
    # glioma 000, 001, mirrored; notumor 000, 001, as_glioma_0, darker
    assert result.shard.units.tolist() == [0, 1, 1, 2, 3, 0, 2]
    assert [(each.images, each.units) for each in report.unit_sizes] == [(1, 1), (2, 3)]
    assert report.mixed_units == 1


def test_equal_pixels_in_two_classes_are_refused(
    dataset: Dataset, draw: Draw, write: Write
) -> None:
    folder = dataset(glioma=2, pituitary=2)
    write(folder / "pituitary" / "wrong.png", draw(0))
    write(folder / "glioma" / "again.png", draw(0))
    result = ingest(folder)
    assert len(result.shard) == 3
    refused = {str(each.path): each for each in result.report.refused}
    assert set(refused) == {"glioma/000.png", "glioma/again.png", "pituitary/wrong.png"}
    assert {each.reason.value for each in refused.values()} == {"conflicting_label"}
    assert "pituitary/wrong.png" in refused["glioma/again.png"].message
    assert "glioma/000.png" in refused["pituitary/wrong.png"].message


def test_bad_files_are_lines_in_the_report(dataset: Dataset) -> None:
    folder = dataset(glioma=2, notumor=2)
    (folder / "glioma" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really")
    (folder / "glioma" / "empty.png").write_bytes(b"")
    (folder / "glioma" / "dir.jpg").mkdir()
    (folder / "glioma" / ".ipynb_checkpoints").mkdir()
    (folder / "misc").mkdir()
    report = ingest(folder).report
    assert {str(each.path): each.reason.value for each in report.refused} == {
        "glioma/bad.jpg": "damaged",
        "glioma/empty.png": "empty_file",
        "glioma/dir.jpg": "not_a_file",
        "glioma/.ipynb_checkpoints": "hidden",
        "misc": "unknown_class",
    }
    assert [warning.split("'")[1] for warning in report.warnings] == ["meningioma", "pituitary"]
    assert json.loads(report.to_json())["accepted"] == {
        "glioma": 2,
        "meningioma": 0,
        "notumor": 2,
        "pituitary": 0,
    }
    assert "left out 1: damaged" in report.to_text()


def test_another_class_list(dataset: Dataset) -> None:
    folder = dataset(stroke_tumor=1, bleed=2)
    shard = ingest(folder, classes=["stroke", "bleed"]).shard
    assert shard.classes == ("stroke", "bleed")
    assert shard.labels.tolist() == [0, 1, 1]


def test_what_cannot_be_ingested_at_all(dataset: Dataset, draw: Draw, write: Write) -> None:
    with pytest.raises(FolderError):
        ingest(dataset("none"))
    with pytest.raises(EmptyDatasetError, match="is empty"):
        ingest(dataset("empty", glioma=0, notumor=0))
    with pytest.raises(ClassListError):
        ingest(dataset("fine", glioma=1), classes=["a", "A"])
    both = dataset("both", glioma=1)
    write(both / "notumor" / "x.png", draw(0))
    with pytest.raises(EmptyDatasetError, match="two class folders at once"):
        ingest(both)

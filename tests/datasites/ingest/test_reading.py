from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datasites.ingest.classes import ClassNames
from datasites.ingest.errors import EmptyDatasetError, IngestError
from datasites.ingest.reading import read_folder

Dataset = Callable[..., Path]
NAMES = ClassNames()


def test_reads_in_the_order_of_the_scan(dataset: Dataset) -> None:
    folder = dataset(glioma=2, notumor=3)
    (folder / "glioma" / "000a.png").write_bytes(b"broken")
    reading = read_folder(folder, NAMES, image_size=32)
    assert [path.as_posix() for path in reading.paths] == [
        "glioma/000.png",
        "glioma/001.png",
        "notumor/000.png",
        "notumor/001.png",
        "notumor/002.png",
    ]
    assert reading.labels.tolist() == [0, 0, 2, 2, 2]
    assert reading.images.shape == (5, 32, 32)
    assert reading.thumbs.shape == (5, 64, 64)
    assert len(set(reading.digests)) == 5
    assert [str(each.path) for each in reading.refused] == ["glioma/000a.png"]


def test_thumbs_do_not_depend_on_the_image_size(dataset: Dataset) -> None:
    folder = dataset(glioma=3)
    small, same = (read_folder(folder, NAMES, image_size=size) for size in (16, 64))
    np.testing.assert_array_equal(small.thumbs, same.thumbs)
    np.testing.assert_array_equal(same.images, same.thumbs)


@pytest.mark.parametrize("size", [0, 15, 1025, -64])
def test_absurd_image_sizes(dataset: Dataset, size: int) -> None:
    with pytest.raises(IngestError, match="16 to 1024"):
        read_folder(dataset(glioma=1), NAMES, image_size=size)


def test_nothing_usable_names_the_first_reason(dataset: Dataset) -> None:
    folder = dataset(glioma=0)
    with pytest.raises(EmptyDatasetError, match=r"every class folder .* is empty"):
        read_folder(folder, NAMES, image_size=32)
    (folder / "glioma" / "a.png").write_bytes(b"")
    with pytest.raises(EmptyDatasetError, match=r"glioma/a\.png \(empty_file\)"):
        read_folder(folder, NAMES, image_size=32)

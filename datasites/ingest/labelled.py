"""Reading any labelled folder as arrays, for people who score or compare on their own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import ClassNames
from datasites.ingest.ingester import ingest
from datasites.ingest.reading import read_folder
from datasites.ingest.shard import Shard


def read_shard(folder: Path, *, image_size: int) -> Shard:
    """A folder as a hospital's ingest makes it, privacy units included; nothing is stored.

    Raises:
        IngestError: the folder is missing or holds nothing usable.
    """
    return ingest(folder, image_size=image_size).shard


def read_labelled(
    folder: Path, *, classes: Sequence[str], image_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every readable image of a folder with one folder a class; nothing is deduplicated.

    Returns:
        Images uint8 [N, S, S] and labels int64 [N], indices into `classes`.

    Raises:
        IngestError: the folder is missing or holds nothing usable.
    """
    reading = read_folder(folder, ClassNames(tuple(classes)), image_size=image_size)
    return reading.images, reading.labels

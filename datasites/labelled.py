"""Reading any labelled folder as arrays, for people who score a model on their own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.classes import ClassNames
from datasites.ingest.reading import read_folder


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

"""Features of the training shard, computed by the first job that needs them and kept for the next.

A frozen encoder gives the same features in every round, and computing them is most of a round's
work. So the first training job leaves them as an array beside its weights, and later jobs find it
mounted. They are derived from patients' images and are kept like these: below `private/`, for the
owner's account only, never among what a job may send. The folder's name says what they follow
from: the dataset version, and the hash of everything installed, shipped encoder included. A folder
of another name is removed when the next job starts, all of them with the shard. Within it a file
belongs to one encoder: `features.npy` to the shipped one, another names its encoder's hash. A site
has one encoder besides the shipped one, so features by an earlier one are removed.

Trusting them costs no privacy: a row is used as the features of its own image only, and its
gradient is clipped like any other. A row that is not finite is of an image that counts as zero.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasites.durable import make_folder, write_file
from datasites.errors import OutputError
from datasites.sandbox import take_output
from datasites.site import Site, runtime_sha256
from datasites.worker.protocol import FEATURES, MOST_FEATURES, kept_features

MAX_BYTES = MOST_FEATURES + 1024
"""With the head of the file."""
_PREFIX = 10
"""Bytes before the head's text: what it is, its version, the length of the text."""
_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00[\x00-\xff]{2}\{'descr': '(?P<descr>[<>|][a-z][0-9]{1,2})', "
    rb"'fortran_order': False, 'shape': "
    rb"\((?P<shape>|[0-9]{1,12},|[0-9]{1,12}(?:, [0-9]{1,12}){1,3})\), \} {0,64}\n"
)


def features_folder(site: Site) -> Path:
    """Where the features of the present shard lie; made if it is not there, others removed."""
    current = site.features / f"{site.card().dataset_version[:16]}-{runtime_sha256()[:16]}"
    for other in site.features.glob("*"):
        if other != current:
            shutil.rmtree(other)
    make_folder(current, mode=0o700)
    return current


def keep_features(
    site: Site, outputs: Path, *, dataset_version: str, encoder_sha256: str | None
) -> None:
    """Keep the features that a training job left, if it left any.

    Args:
        site: the site.
        outputs: what the job left.
        dataset_version: of the shard that the job saw. Where another one was taken in while it
            ran, they are of images that are here no more, and are dropped.
        encoder_sha256: of the encoder that the job's plan names; None for the shipped one.

    Raises:
        OutputError: what it left is no table of numbers.
    """
    if not os.path.lexists(outputs / FEATURES):
        return
    data = take_output(outputs, FEATURES, max_bytes=MAX_BYTES)
    features = read_array(data, FEATURES, dtype=np.float32)
    if features.ndim != 2:
        raise OutputError(f"{FEATURES} is no table of numbers")
    if site.card().dataset_version != dataset_version:
        return
    folder, name = features_folder(site), kept_features(encoder_sha256)
    for other in folder.glob(kept_features("*")):
        if FEATURES != name != other.name:
            other.unlink()
    write_file(folder / name, data)


def drop_features(site: Site) -> None:
    """Remove all features, as their shard is replaced."""
    shutil.rmtree(site.features, ignore_errors=True)


def read_array(data: bytes, name: str, *, dtype: DTypeLike) -> NDArray[Any]:
    """The array in the bytes of a `.npy` file of version 1; no object in it, and no pickle.

    The head is not evaluated as Python, as numpy's own reader does: what that raises (of tokens,
    memory, overflow) depends on what the job wrote, and would end the agent.

    Raises:
        OutputError: it is no array, or of another type.
    """
    wanted = np.dtype(dtype)
    head = _HEAD.match(data)
    if head is None or len(head[0]) != _PREFIX + int.from_bytes(data[8:_PREFIX], "little"):
        raise OutputError(f"{name} is not an array: its head is none that numpy writes")
    if head["descr"] != wanted.str.encode():
        raise OutputError(f"{name} is {head['descr'].decode()}; declared {wanted.str}")
    shape = tuple(int(part) for part in head["shape"].split(b",") if part.strip())
    if math.prod(shape) * wanted.itemsize != len(data) - len(head[0]):
        raise OutputError(f"{name} is not an array: {shape} is not what its bytes fill")
    return np.frombuffer(data, wanted, offset=len(head[0])).reshape(shape)

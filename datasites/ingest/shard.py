"""A hospital's shard as a value: images, labels, privacy units, and the hash that names them.

A `Shard` that exists is consistent: square grey images, one label and one unit each, labels within
the class list, units numbered 0..U-1 without a gap, and `version` the hash of all of that. Its
arrays are read-only views; training code copies the batches it takes.

The version covers the bytes of the three arrays, their order, the class list, the unit of privacy
and the rules by which pixels and units were made. Nothing else: the same images give the same
version on every machine and every day. So it **stays in the hospital**: who knows all of a data set
but one label finds that label by trying which one gives the hash. What the world sees is
`published_version`, which says nothing without the hospital's key and is as good a name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasites.ingest.errors import ShardError

PATIENT = "patient"
UNIT_KIND = "near-duplicate group"
IMAGE = "image"
UNIT_KINDS = (PATIENT, UNIT_KIND, IMAGE)
"""What a unit of privacy can be, the strongest first."""
FORMAT = "dura-shard/1"
MIN_KEY_BYTES = 32
_PUBLISHED = b"dura.dataset-version/1\0"


@dataclass(frozen=True, eq=False, kw_only=True)
class Shard:
    """Checked arrays of one data set. Make one with `make_shard`.

    Attributes:
        images: uint8 [N, S, S], 0 black.
        labels: int64 [N], indices into `classes`.
        units: int64 [N], 0..U-1: the privacy unit each image belongs to.
        classes: class names in label order.
        unit_kind: what a unit is, in words shown beside every epsilon.
        rules: how pixels and units were made.
        version: SHA-256 in hex, see `version_of`; never published.

    Raises:
        ShardError: an array has the wrong type, shape or range, or the version is not its hash.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    classes: tuple[str, ...]
    unit_kind: str = UNIT_KIND
    rules: str
    version: str

    def __post_init__(self) -> None:
        for name in ("images", "labels", "units"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        _check_arrays(self.images, self.labels, self.units)
        _check_ranges(self.labels, self.units, self.classes)
        if self.version != (actual := self._hash()):
            raise ShardError(f"the shard's version is {self.version} but its bytes say {actual}")

    def _hash(self) -> str:
        return version_of(
            images=self.images,
            labels=self.labels,
            units=self.units,
            classes=self.classes,
            unit_kind=self.unit_kind,
            rules=self.rules,
        )

    @property
    def image_size(self) -> int:
        """S, the side of an image in pixels."""
        return int(self.images.shape[1])

    @property
    def unit_count(self) -> int:
        """U, the number of privacy units."""
        return int(self.units.max()) + 1

    def __len__(self) -> int:
        return len(self.images)


def make_shard(
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    classes: tuple[str, ...],
    rules: str,
    unit_kind: str = UNIT_KIND,
) -> Shard:
    """Name a set of arrays by its hash.

    Args:
        images: uint8 [N, S, S].
        labels: int64 [N].
        units: int64 [N], 0..U-1.
        classes: class names in label order.
        rules: how pixels and units were made.
        unit_kind: what a unit is.

    Raises:
        ShardError: an array has the wrong type, shape or range.
    """
    _check_arrays(images, labels, units)
    version = version_of(
        images=images,
        labels=labels,
        units=units,
        classes=classes,
        unit_kind=unit_kind,
        rules=rules,
    )
    return Shard(
        images=images,
        labels=labels,
        units=units,
        classes=classes,
        unit_kind=unit_kind,
        rules=rules,
        version=version,
    )


def version_of(
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    classes: tuple[str, ...],
    unit_kind: str,
    rules: str,
) -> str:
    """SHA-256 over a canonical JSON header and the arrays' bytes, little-endian, in C order.

    The header gives every array's type and shape, so no two data sets share a byte stream.

    Returns:
        64 hexadecimal digits.
    """
    arrays: dict[str, NDArray[Any]] = {"images": images, "labels": labels, "units": units}
    header: dict[str, Any] = {
        "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()],
        "classes": list(classes),
        "format": FORMAT,
        "rules": rules,
        "unit_kind": unit_kind,
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode() + b"\n")
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def published_version(version: str, *, key: bytes) -> str:
    """The name under which a shard is known outside: HMAC-SHA256 of its version.

    The same shard under the same key has the same name. Without the key it cannot be told from
    random digits, whatever is known about the images (HMAC is a pseudo-random function: Bellare
    2006, "New proofs for NMAC and HMAC").

    Args:
        version: of a shard, 64 hexadecimal digits.
        key: of the site, at least 32 bytes; it never leaves the site.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: the key is too short to keep anything from anybody.
    """
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"a key of {len(key)} bytes can be guessed; give {MIN_KEY_BYTES} or more")
    return hmac.new(key, _PUBLISHED + version.encode(), hashlib.sha256).hexdigest()


def _check_arrays(images: NDArray[Any], labels: NDArray[Any], units: NDArray[Any]) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ShardError(
            f"images are {images.dtype} {list(images.shape)}; a shard needs uint8 [N, S, S]"
        )
    if 0 in images.shape:
        raise ShardError(f"images have the shape {list(images.shape)}; a shard holds at least one")
    for name, array in (("labels", labels), ("units", units)):
        if array.dtype.str != "<i8" or array.shape != (len(images),):
            raise ShardError(
                f"{name} are {array.dtype} {list(array.shape)}; "
                f"a shard needs int64 [{len(images)}], one per image"
            )


def _check_ranges(labels: NDArray[Any], units: NDArray[Any], classes: tuple[str, ...]) -> None:
    if not classes or len(set(classes)) != len(classes):
        raise ShardError(f"the classes are {list(classes)}; give one or more different names")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ShardError(
            f"labels run from {labels.min()} to {labels.max()}; "
            f"{len(classes)} classes allow 0 to {len(classes) - 1}"
        )
    if units.min() < 0 or units.max() >= len(units) or (np.bincount(units) == 0).any():
        raise ShardError("units are not numbered 0 to U-1 without a gap; number them again")

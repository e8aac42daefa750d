"""One DICOM file to grey pixels and the patient's number; nothing else is taken from it.

The order of checks, each before the next costs anything, and each with its own refusal:

1. the file is DICOM inside, not larger than any slice is, packed or unpacked (a deflated file is a
   decompression bomb's place), and holds one grey image: no colour, no film of several frames;
2. no text is burned into the pixels: refused are files that say so (Burned In Annotation `YES`),
   and screen captures (Secondary Capture) that do not say `NO`;
3. the size in its header is sane, as for any image (`datasites.ingest.pixels`);
4. it decodes completely.

Then, as DICOM PS3.3 C.11 lays down: stored values to modality values (Modality LUT, or Rescale
Slope and Intercept); these to brightness (VOI LUT, or the first Window Center and Width with its
function, C.11.2.1.2; where there is neither, stretched linearly from darkest to brightest);
MONOCHROME1 inverted, so that 0 is black; Pixel Padding black.

Overlays, curves, names, dates, places and private tags are not read. The patient's number leaves
only in memory, to be made a keyed pseudonym (`datasites.ingest.patients`).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, SecondaryCaptureImageStorage

from datasites.ingest.errors import ImageError, RefusalReason

DICOM_RULES = "dicom-voi/1"
"""Changes whenever the same DICOM file would give other pixels."""

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Of a file, and of what it unpacks to; 50 million pixels of 16 bits are 100 MB."""

Plane = NDArray[np.float64]

_HEADER_ERRORS = (
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on files that are not what they claim; it has no common base for them."""
_PIXEL_ERRORS = (*_HEADER_ERRORS, IndexError, RuntimeError)
"""Beside these what its decoders raise."""


def is_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes are those of a DICOM file (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def read_header(file: BinaryIO) -> Dataset:
    """Read everything but decode nothing; checks 1 and 2.

    Raises:
        ImageError: the file is no DICOM image that can be used; `reason` says why.
    """
    try:
        _check_bulk(file)
        data = dcmread(file)
        _check_kind(data)
        _check_burned_in(data)
    except _HEADER_ERRORS as error:
        raise _damaged() from error
    return data


def size_of(data: Dataset) -> tuple[int, int]:
    """Width and height as the header states them; (0, 0) where it does not.

    Raises:
        ImageError: they are no numbers.
    """
    try:
        return int(data.get("Columns") or 0), int(data.get("Rows") or 0)
    except _HEADER_ERRORS as error:
        raise _damaged() from error


def patient_of(data: Dataset) -> str | None:
    """The patient's number; None where it is missing or empty."""
    return str(data.get("PatientID") or "").strip(" \0") or None


def brightness(data: Dataset) -> NDArray[np.uint8]:
    """Decode the pixels as a viewer would show them.

    Returns:
        uint8 [H, W], 0 black.

    Raises:
        ImageError: the pixels are damaged, or compressed in a way that is not known here.
    """
    try:
        stored = data.pixel_array
        if stored.ndim != 2:
            raise _refused(RefusalReason.DAMAGED, "its pixels are not the one image it announces")
        shown = _shown(apply_modality_lut(stored, data).astype(np.float64), data)
        if data.PhotometricInterpretation == "MONOCHROME1":
            shown = 1.0 - shown
        shown[_padding(stored, data)] = 0.0
    except _PIXEL_ERRORS as error:
        raise _undecodable(data) from error
    return np.rint(np.clip(np.nan_to_num(shown), 0.0, 1.0) * 255.0).astype(np.uint8)


def windowed(values: Plane, *, center: float, width: float, function: str = "LINEAR") -> Plane:
    """Brightness of modality values under a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: modality values, [H, W].
        center: Window Center.
        width: Window Width, > 0.
        function: VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID.

    Returns:
        [H, W], 0 black to 1 white.
    """
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -500.0, 500.0)))
    if function == "LINEAR":
        center, width = center - 0.5, max(width - 1.0, 1e-9)
    return np.asarray(np.clip((values - center) / width + 0.5, 0.0, 1.0))


def _check_bulk(file: BinaryIO) -> None:
    """Refuse what would fill the memory before anything about it is known."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= MAX_FILE_BYTES:
        read_preamble(file, force=False)
        meta = read_dataset(
            file,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, _vr, _length: tag.group != 2,
        )
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            unpack = zlib.decompressobj(-zlib.MAX_WBITS)
            size = len(unpack.decompress(file.read(), MAX_FILE_BYTES + 1))
    file.seek(0)
    if size > MAX_FILE_BYTES:
        raise _refused(
            RefusalReason.ABSURD_SIZE,
            f"more than {MAX_FILE_BYTES} bytes, packed or unpacked, which no slice has; export the "
            "slices as files of their own",
        )


def _check_kind(data: Dataset) -> None:
    if "PixelData" not in data:
        raise _refused(RefusalReason.WRONG_FORMAT, "a DICOM object without an image")
    frames = int(data.get("NumberOfFrames") or 1)
    if frames != 1:
        raise _refused(
            RefusalReason.MULTI_FRAME,
            f"holds {frames} frames and one label cannot be right for all; write the slices that "
            "are wanted as files of their own, with the same PatientID",
        )
    kind = data.get("PhotometricInterpretation")
    if kind not in {"MONOCHROME1", "MONOCHROME2"}:
        raise _refused(
            RefusalReason.WRONG_FORMAT,
            "a colour picture, so a screen capture or a fusion; export the grey original",
        )


def _check_burned_in(data: Dataset) -> None:
    stated = str(data.get("BurnedInAnnotation") or "").strip().upper()
    captured = data.get("SOPClassUID") == SecondaryCaptureImageStorage
    if stated == "YES" or (captured and stated != "NO"):
        raise _refused(
            RefusalReason.BURNED_IN,
            "may show text in its pixels, such as a name (Burned In Annotation is "
            f"{stated or 'not stated, in a screen capture'}); export the original, or state NO "
            "once somebody has looked",
        )


def _shown(values: Plane, data: Dataset) -> Plane:
    """Modality values to 0..1 by the file's own VOI LUT or window."""
    if data.get("VOILUTSequence"):
        return _looked_up(values, data.VOILUTSequence[0])
    window = _window(data)
    if window is not None:
        function = str(data.get("VOILUTFunction") or "LINEAR").strip().upper()
        return windowed(values, center=window[0], width=window[1], function=function)
    seen = values[~_padding(data.pixel_array, data)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _looked_up(values: Plane, table: Dataset) -> Plane:
    """Brightness by a VOI LUT (C.11.2.1.1); pydicom's own wraps indices of tables of bytes."""
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    data = table.LUTData
    lut = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, (entries or 2**16) - 1)
    return np.asarray(lut[index] / float(2**bits - 1))


def _window(data: Dataset) -> tuple[float, float] | None:
    """The first window; None where there is none that means anything."""
    center, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or not (math.isfinite(center) and width > 0):
        return None
    return center, width


def _first(value: object) -> float | None:
    if value is None or value == "":
        return None
    several = isinstance(value, list | tuple) or hasattr(value, "append")
    return float(value[0] if several else value)  # type: ignore[index,arg-type]


def _padding(stored: NDArray[Any], data: Dataset) -> NDArray[np.bool_]:
    """Where there is no image: Pixel Padding Value, or the range up to its limit (C.7.5.1.1.2)."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = data.get("PixelPaddingRangeLimit")
    ends = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _refused(reason: RefusalReason, message: str) -> ImageError:
    return ImageError(reason, message)


def _damaged() -> ImageError:
    return _refused(RefusalReason.DAMAGED, "damaged or cut short; copy it again from its source")


def _undecodable(data: Dataset) -> ImageError:
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    if syntax is None or not syntax.is_compressed:
        return _damaged()
    return _refused(
        RefusalReason.WRONG_FORMAT,
        f"damaged, or compressed as {syntax.name}, which cannot be decoded here; decompress it "
        "first, with `gdcmconv --raw` or `dcmdjpeg`",
    )

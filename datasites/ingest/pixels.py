"""One image file to grey pixels, and many of them on two cores.

The order of checks, each with its own refusal, and each before the next costs anything:

1. the file can be opened and is not empty;
2. its first bytes are those of a JPEG, PNG or DICOM file, whatever its name says;
3. the size in its header is sane: no side under 16 pixels, at most 50 million pixels, no side more
   than 8 times the other (decompression bombs end here);
4. it decodes completely: a truncated or damaged file is refused, never half used;
5. it shows something: fewer than 8 grey levels between darkest and brightest is blank.

DICOM files pass further checks and become grey by their own rules, see `datasites.ingest.dicom`.

Then: turned upright by its EXIF orientation; laid over black where transparent; colour to luminance
(ITU-R 601); 16-bit and float grey stretched linearly from its darkest to its brightest value to
0..255; fitted into the square, antialiased (Lanczos), and padded with black at both ends.
Padding rather than cropping: nothing of the head is cut away, and black is what surrounds it in an
MRI slice.

No metadata survives: what comes out is pixels, and of a DICOM file the patient's number, in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin
from pydicom import Dataset

from datasites.ingest.dicom import brightness, is_dicom, patient_of, read_header, size_of
from datasites.ingest.errors import ImageError, RefusalReason

PIXEL_RULES = "grey601+pad+lanczos/1"
"""Changes whenever the same file would give other pixels."""

THUMB_SIDE = 64
"""Side of the thumbnail that near-duplicates are found by; the same whatever the image size."""

MIN_SIDE = 16
MAX_PIXELS = 50_000_000
MAX_ASPECT = 8
MIN_GREY_LEVELS = 8
WORKERS = 2

_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on files that are not what they claim; SyntaxError is its own choice."""


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image that passed every check.

    Attributes:
        pixels: uint8 [S, S], 0 black.
        thumb: uint8 [64, 64], the same at `THUMB_SIDE`.
        digest: SHA-256 of the upright grey image at its own size: equal for equal pixels, however
            the file encodes them.
        is_dicom: whether it is a DICOM file.
        patient: the number of the patient in a DICOM file; never shown, never stored.
    """

    pixels: NDArray[np.uint8]
    thumb: NDArray[np.uint8]
    digest: str
    is_dicom: bool = False
    patient: str | None = field(default=None, repr=False)


def read_grey(path: Path, size: int) -> NDArray[np.uint8]:
    """Read one file as a grey square.

    Args:
        path: a JPEG, PNG or DICOM file.
        size: S, the side in pixels.

    Returns:
        uint8 [S, S].

    Raises:
        ImageError: the file is refused; `reason` says by which check.
    """
    return read_image(path, size).pixels


def read_image(path: Path, size: int) -> ReadImage:
    """Read one file as grey square, thumbnail and digest.

    Args:
        path: a JPEG, PNG or DICOM file.
        size: S, the side in pixels.

    Raises:
        ImageError: the file is refused; `reason` says by which check.
    """
    try:
        with path.open("rb") as file:
            grey, dicom = _grey_of(file)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(RefusalReason.UNREADABLE, "gone since the folder was listed") from None
    except PermissionError:
        raise ImageError(
            RefusalReason.UNREADABLE, "may not be read by this user; check its permissions"
        ) from None
    except _DECODE_ERRORS as error:
        raise ImageError(
            RefusalReason.DAMAGED, "damaged or cut short; copy it again from its source"
        ) from error
    plane = np.asarray(grey)
    digest = hashlib.sha256(np.array(plane.shape, "<i8").tobytes() + plane.tobytes()).hexdigest()
    pixels = _square(grey, size)
    thumb = pixels if size == THUMB_SIDE else _square(grey, THUMB_SIDE)
    patient = None if dicom is None else patient_of(dicom)
    return ReadImage(pixels, thumb, digest, is_dicom=dicom is not None, patient=patient)


def read_all(
    paths: Sequence[Path], size: int, *, workers: int = WORKERS
) -> Iterator[ReadImage | ImageError]:
    """Read many files on a small thread pool (Pillow decodes outside the interpreter lock).

    Args:
        paths: files, in the order of the results.
        size: S, the side in pixels.
        workers: threads.

    Yields:
        For each file what `read_image` returns, or the error it raises.
    """
    with _quiet(), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda path: _read_or_error(path, size), paths)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing about odd metadata, all of which is thrown away: it may name a patient."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pydicom)\.")
            yield
    finally:
        logger.disabled = before


def _read_or_error(path: Path, size: int) -> ReadImage | ImageError:
    try:
        return read_image(path, size)
    except ImageError as error:
        return error


def _grey_of(file: BinaryIO) -> tuple[Image.Image, Dataset | None]:
    """The grey image at its own size; with the header of a DICOM file."""
    head = file.read(132)
    file.seek(0)
    if not is_dicom(head):
        return _to_grey(_open_checked(file)), None
    header = read_header(file)
    _check_size(*size_of(header))
    grey = Image.fromarray(brightness(header))
    _check_levels(grey)
    return grey, header


def _open_checked(file: BinaryIO) -> ImageFile.ImageFile:
    """Checks 1 to 3: open by content, not by name, and look at the header only.

    The plugins are called directly: `Image.open` would warn or raise by a process-wide limit that
    other code may have changed.
    """
    head = file.read(8)
    file.seek(0)
    if not head:
        raise ImageError(RefusalReason.EMPTY_FILE, "holds no bytes")
    if head == b"\x89PNG\r\n\x1a\n":
        image: ImageFile.ImageFile = PngImagePlugin.PngImageFile(file)
    elif head.startswith(b"\xff\xd8\xff"):
        image = JpegImagePlugin.JpegImageFile(file)
    else:
        raise ImageError(
            RefusalReason.WRONG_FORMAT, "neither JPEG, PNG nor DICOM inside; convert it to PNG"
        )
    _check_size(*image.size)
    return image


def _check_size(width: int, height: int) -> None:
    """Check 3."""
    short, long = min(width, height), max(width, height)
    if short < MIN_SIDE or width * height > MAX_PIXELS or long > MAX_ASPECT * short:
        raise ImageError(
            RefusalReason.ABSURD_SIZE,
            f"{width} x {height} pixels; no side may be under {MIN_SIDE} or {MAX_ASPECT} times the "
            f"other, and {MAX_PIXELS:,} pixels are the most",
        )


def _to_grey(image: ImageFile.ImageFile) -> Image.Image:
    """Checks 4 and 5, then one upright 8-bit channel."""
    image.load()
    upright = _upright(image)
    if upright.mode.startswith(("I", "F")):
        return _stretched(np.asarray(upright).astype(np.float64))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, upright)
    grey = upright.convert("L")
    _check_levels(grey)
    return grey


def _upright(image: Image.Image) -> Image.Image:
    """Turn by EXIF orientation; unreadable EXIF data says nothing about the pixels."""
    with contextlib.suppress(*_DECODE_ERRORS, KeyError, TypeError):
        return ImageOps.exif_transpose(image)
    return image


def _stretched(plane: NDArray[np.float64]) -> Image.Image:
    low, high = plane.min(), plane.max()
    _check_contrast(float(high - low))
    return Image.fromarray(np.rint((plane - low) * (255.0 / (high - low))).astype(np.uint8))


def _check_levels(grey: Image.Image) -> None:
    darkest, brightest = grey.getextrema()
    _check_contrast(float(brightest) - float(darkest))  # type: ignore[arg-type]


def _check_contrast(levels: float) -> None:
    if not levels >= MIN_GREY_LEVELS:  # also refuses NaN
        raise ImageError(
            RefusalReason.BLANK, f"shows nothing: only {levels:g} grey levels from dark to bright"
        )


def _square(grey: Image.Image, size: int) -> NDArray[np.uint8]:
    """Fit into a black square; the long side fills it."""
    scale = size / max(grey.size)
    width, height = (max(1, round(side * scale)) for side in grey.size)
    fitted = grey.resize((width, height), Image.Resampling.LANCZOS)
    square = np.zeros((size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = np.asarray(fitted)
    return square

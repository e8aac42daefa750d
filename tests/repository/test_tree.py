"""What may stand in the repository: text of bounded length, the shipped models and one diagram.

An MRI can be committed by mistake in many shapes: as an image or array file, under another name,
packed, or as base64 inside a page or a notebook. So every tracked file is text, except those named
here; no text holds an encoded image; and no source file is too long to be read at one sitting.
"""

from __future__ import annotations

import re
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = {
    "docs/accuracy/accuracy.png",
    "models/assets/encoder/encoder.safetensors",
    "models/assets/generator/generator.safetensors",
    "models/assets/report_llama/model.safetensors",
}
LARGE = {"uv.lock", "models/assets/report_llama/tokenizer.json"}
MOST_BYTES = 100_000
MOST_LINES = 400
_DATA_SUFFIX = re.compile(
    r"\.(npy|npz|dcm|dicom|ima|nii|mgz|mha|mhd|nrrd|jpe?g|jp2|png|gif|bmp|tiff?|webp|pgm|ppm"
    r"|h5|hdf5|mat|pt|pth|pkl|parquet|arrow|gz|bz2|xz|zst|zip|tar|tgz|7z|ipynb)$",
    re.IGNORECASE,
)
# How JPEG, PNG, GIF, TIFF, NPY, ZIP and gzip begin in base64, and long runs of anything in it;
# written so that it does not find itself.
_ENCODED = re.compile(
    rb"/9j/[4][A-Z]{2}|iVBORw0KGg[o]|R0lGOD[dl]h|TU0A[K]|SUkq[A]|k05VTV[B]|UEsDB[B]|H4sI[A]"
    rb"|[A-Za-z0-9+/]{2000}|(?:[A-Za-z0-9+/]{76}\r?\n){25}"
)


def refused(name: str, data: bytes) -> str | None:
    """Why a file may not be in the repository; None where it may."""
    small = name in LARGE or len(data) <= MOST_BYTES
    reasons = {
        "a file of images or arrays": _DATA_SUFFIX.search(name),
        "not text": not _is_text(data),
        f"over {MOST_BYTES} bytes": not small,
        "holds encoded data": name not in LARGE and _ENCODED.search(data),
    }
    found = [why for why, holds in reasons.items() if holds]
    return found[0] if found and name not in BINARY else None


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def tracked() -> list[str]:
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in told.stdout.decode().split("\0") if name]
    assert len(names) > 300
    return [name for name in names if (ROOT / name).is_file()]


def test_nothing_tracked_can_hold_an_image() -> None:
    found = {name: refused(name, (ROOT / name).read_bytes()) for name in tracked()}
    assert {name: why for name, why in found.items() if why} == {}
    assert set(found) >= BINARY | LARGE


def test_no_source_file_is_longer_than_can_be_read() -> None:
    lines = {
        name: (ROOT / name).read_bytes().count(b"\n")
        for name in tracked()
        if name.endswith((".py", ".toml", ".j2", ".sh"))
    }
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tests/models/one.npy", b"text"),
        ("shard/Tr-gl_0010.JPG", b"text"),
        ("notes.md", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("data.bin", b"\x93NUMPY\1\0"),
        ("study", b"\0" * 128 + b"DICM"),
        ("zeros.txt", b"\0" * 20),
        ("page.html", b"data:image/jpeg;base64," + b64encode(b"\xff\xd8\xff\xe0\0\x10JFIF")),
        ("page.html", b"data:image/png;base64," + b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")),
        ("array.json", b"[" + b"127, " * 30_000 + b"0]"),
        ("array.txt", b"QUJD" * 600),
        ("array.pem", (b"QUJD" * 19 + b"\n") * 25),
        ("trial.ipynb", b"{}"),
        ("models/assets/encoder/encoder2.safetensors", b"\x90\0\0\0\0\0\0\0{"),
    ],
)
def test_an_image_is_found_in_every_shape(name: str, data: bytes) -> None:
    assert refused(name, data) is not None
    assert refused("notes.md", "tumour, 3 µm".encode()) is None

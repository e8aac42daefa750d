from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasites.ingest.errors import ImageError, RefusalReason
from datasites.ingest.pixels import MAX_PIXELS, ReadImage, read_all, read_grey, read_image

Draw = Callable[..., NDArray[np.uint8]]


def _saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def _close(a: NDArray[np.uint8], b: NDArray[np.uint8], within: int) -> bool:
    return int(np.abs(a.astype(int) - b.astype(int)).max()) <= within


def _png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims any size and whose data is next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def _refusal(path: Path) -> RefusalReason:
    with pytest.raises(ImageError) as caught:
        read_grey(path, 32)
    assert str(caught.value)
    return caught.value.reason


def test_grey_png_at_its_own_size_is_unchanged(tmp_path: Path, draw: Draw) -> None:
    plane = draw(1)
    path = _saved(tmp_path / "a.png", Image.fromarray(plane))
    out = read_grey(path, 72)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, plane)


def _as_palette(image: Image.Image) -> Image.Image:
    return image.convert("P")


@pytest.mark.parametrize(
    ("name", "convert", "within"),
    [
        ("rgb.png", lambda image: image.convert("RGB"), 0),
        ("rgba.png", lambda image: image.convert("RGBA"), 0),
        ("la.png", lambda image: image.convert("LA"), 0),
        ("palette.png", _as_palette, 0),
        ("grey.jpg", lambda image: image, 12),
        ("rgb.jpg", lambda image: image.convert("RGB"), 12),
        ("cmyk.jpg", lambda image: image.convert("RGB").convert("CMYK"), 12),
    ],
)
def test_every_mode_gives_the_same_grey(
    tmp_path: Path,
    draw: Draw,
    name: str,
    convert: Callable[[Image.Image], Image.Image],
    within: int,
) -> None:
    plane = draw(2)
    path = _saved(tmp_path / name, convert(Image.fromarray(plane)), quality=98)
    assert _close(read_grey(path, 72), plane, within)


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    plane = np.zeros((32, 32, 3), np.uint8)
    plane[:, :16] = (255, 0, 0)
    plane[:, 16:] = (0, 255, 0)
    out = read_grey(_saved(tmp_path / "a.png", Image.fromarray(plane)), 32)
    assert (out[0, 0], out[0, -1]) == (76, 150)


def test_transparent_is_black(tmp_path: Path, draw: Draw) -> None:
    image = Image.fromarray(draw(3)).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat([[0, 255]], 36, axis=1).repeat(72, 0).astype("u1")))
    out = read_grey(_saved(tmp_path / "a.png", image), 72)
    assert out[:, :36].max() == 0
    np.testing.assert_array_equal(out[:, 36:], draw(3)[:, 36:])


def test_transparent_palette_entry_is_black(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat([[0, 1]], 16, axis=1).repeat(32, 0).astype("u1"), "P")
    image.putpalette([255, 255, 255, 200, 200, 200])
    out = read_grey(_saved(tmp_path / "a.png", image, transparency=0), 32)
    assert (out[0, 0], out[0, -1]) == (0, 200)


def test_one_bit(tmp_path: Path) -> None:
    plane = np.repeat([[0, 255]], 16, axis=1).repeat(32, 0).astype(np.uint8)
    out = read_grey(_saved(tmp_path / "a.png", Image.fromarray(plane).convert("1")), 32)
    np.testing.assert_array_equal(out, plane)


def test_sixteen_bits_are_stretched(tmp_path: Path, draw: Draw) -> None:
    plane = draw(4).astype(np.uint16)
    deep = (1000 + plane * 7).astype(np.uint16)  # 12 bits in a 16-bit file: nearly black as it is
    path = _saved(tmp_path / "a.png", Image.fromarray(deep))
    expected = np.rint((plane - plane.min()) * (255 / np.ptp(plane))).astype(np.uint8)
    np.testing.assert_array_equal(read_grey(path, 72), expected)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    plane = np.zeros((40, 40), np.uint8)
    plane[:10] = 255  # bright on top, to be turned right by 90 degrees
    image = Image.fromarray(plane)
    exif = image.getexif()
    exif[0x0112] = 6
    out = read_grey(_saved(tmp_path / "a.jpg", image, exif=exif), 40)
    assert out[:, -8:].min() > 200
    assert out[:, :8].max() < 50


def test_corrupt_exif_says_nothing_about_pixels(tmp_path: Path, draw: Draw) -> None:
    image = Image.fromarray(draw(5))
    path = _saved(tmp_path / "a.jpg", image, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"z" * 9)
    (result,) = read_all([path], 72)
    assert isinstance(result, ReadImage)


def test_exif_that_cannot_be_applied_says_nothing_either(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Image.Image) -> None:  # as Pillow did on one file in 2,000 of a fuzzing run
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    path = _saved(tmp_path / "a.png", Image.fromarray(draw(5)))
    np.testing.assert_array_equal(read_grey(path, 72), draw(5))


def test_padded_to_a_square_with_black(tmp_path: Path) -> None:
    wide = np.full((20, 60), 200, np.uint8)
    wide[:, 30:] = 100
    out = read_grey(_saved(tmp_path / "a.png", Image.fromarray(wide)), 60)
    assert out[:20].max() == 0
    assert out[40:].max() == 0
    np.testing.assert_array_equal(out[20:40], wide)
    tall = read_grey(_saved(tmp_path / "b.png", Image.fromarray(wide.T.copy())), 60)
    np.testing.assert_array_equal(tall, out.T)


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.repeat([[0, 255]], 64, axis=0).repeat(1, 1)
    stripes = np.tile(stripes, (4, 128)).astype(np.uint8)
    out = read_grey(_saved(tmp_path / "a.png", Image.fromarray(stripes)), 32)
    assert _close(out[4:-4, 4:-4], np.full((24, 24), 128, np.uint8), 6)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", RefusalReason.EMPTY_FILE),
        ("text.jpg", b"this is no image at all", RefusalReason.WRONG_FORMAT),
        ("short.png", b"\x89PNG\r\n\x1a\n", RefusalReason.DAMAGED),
        ("head.jpg", b"\xff\xd8\xff\xe0", RefusalReason.DAMAGED),
        ("noise.jpg", b"\xff\xd8\xff" + bytes(range(256)), RefusalReason.DAMAGED),
        ("huge.png", _png_of_size(100_000, 100_000), RefusalReason.ABSURD_SIZE),
        ("over.png", _png_of_size(7_072, 7_072), RefusalReason.ABSURD_SIZE),
        ("under.png", _png_of_size(7_000, 7_000), RefusalReason.DAMAGED),
        ("tiny.png", _png_of_size(15, 15), RefusalReason.ABSURD_SIZE),
        ("ribbon.png", _png_of_size(16, 129), RefusalReason.ABSURD_SIZE),
        ("bad.png", _png_of_size(64, 64)[:-20], RefusalReason.DAMAGED),
    ],
)
def test_bad_files_are_refused_with_a_reason(
    tmp_path: Path, name: str, content: bytes, reason: RefusalReason
) -> None:
    (tmp_path / name).write_bytes(content)
    assert _refusal(tmp_path / name) is reason


def test_the_limit_is_what_the_message_says() -> None:
    assert 7_000 * 7_000 <= MAX_PIXELS < 7_072 * 7_072


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_files_are_refused(tmp_path: Path, draw: Draw, suffix: str) -> None:
    path = _saved(tmp_path / f"a.{suffix}", Image.fromarray(draw(6)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert _refusal(path) is RefusalReason.DAMAGED


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path, draw: Draw) -> None:
    for suffix in ("jpg", "png"):
        buffer = io.BytesIO()
        Image.fromarray(draw(7, 24)).convert("RGB").save(buffer, {"jpg": "JPEG"}.get(suffix, "PNG"))
        content = buffer.getvalue()
        rng = np.random.default_rng(8)
        paths = []
        for number in range(150):
            broken = bytearray(content)
            for _ in range(1 + number % 4):
                broken[rng.integers(len(broken))] = rng.integers(256)
            path = tmp_path / f"{number}.{suffix}"
            path.write_bytes(broken)
            paths.append(path)
        results = list(read_all(paths, 32))
        assert {type(result) for result in results} == {ReadImage, ImageError}


def test_gif_named_jpg(tmp_path: Path, draw: Draw) -> None:
    path = _saved(tmp_path / "a.jpg", Image.fromarray(draw(9)), format="GIF")
    assert _refusal(path) is RefusalReason.WRONG_FORMAT


def test_png_named_jpg_is_read_as_what_it_is(tmp_path: Path, draw: Draw) -> None:
    path = _saved(tmp_path / "a.jpg", Image.fromarray(draw(9)), format="PNG")
    np.testing.assert_array_equal(read_grey(path, 72), draw(9))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blank_images_are_refused(tmp_path: Path, dtype: type) -> None:
    plane = np.full((32, 32), 60, dtype)
    plane[0, 0] += 7
    assert _refusal(_saved(tmp_path / "a.png", Image.fromarray(plane))) is RefusalReason.BLANK
    plane[0, 0] += 1
    assert read_grey(_saved(tmp_path / "b.png", Image.fromarray(plane)), 32).shape == (32, 32)


def test_missing_and_forbidden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _refusal(tmp_path / "gone.jpg") is RefusalReason.UNREADABLE

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so chmod will not do
    assert _refusal(tmp_path / "a.jpg") is RefusalReason.UNREADABLE


def test_digest_is_of_pixels_not_of_bytes(tmp_path: Path, draw: Draw) -> None:
    grey = Image.fromarray(draw(10))
    a = read_image(_saved(tmp_path / "a.png", grey), 32)
    b = read_image(_saved(tmp_path / "b.png", grey.convert("RGB"), compress_level=0), 48)
    turned = Image.fromarray(draw(10)[:, ::-1].copy())
    c = read_image(_saved(tmp_path / "c.png", turned), 32)
    assert a.digest == b.digest != c.digest
    np.testing.assert_array_equal(a.thumb, b.thumb)
    assert a.thumb.shape == (64, 64)


def test_digest_tells_shapes_apart(tmp_path: Path) -> None:
    plane = np.repeat([0, 255], 512).astype(np.uint8)
    images = [Image.fromarray(plane.reshape(shape)) for shape in ((16, 64), (32, 32))]
    digests = {
        read_image(_saved(tmp_path / f"{i}.png", image), 32).digest
        for i, image in enumerate(images)
    }
    assert len(digests) == 2


def test_many_files_keep_their_order(tmp_path: Path, draw: Draw) -> None:
    paths = [_saved(tmp_path / f"{i}.png", Image.fromarray(draw(i))) for i in range(12)]
    paths.insert(5, tmp_path / "missing.png")
    results = list(read_all(paths, 72, workers=3))
    assert isinstance(results.pop(5), ImageError)
    for seed, result in enumerate(results):
        assert isinstance(result, ReadImage)
        np.testing.assert_array_equal(result.pixels, draw(seed))


def test_no_warning_escapes_and_filters_are_put_back(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png_of_size(12_000, 12_000))
    before = list(warnings.filters)
    (result,) = read_all([tmp_path / "a.png"], 32)
    assert isinstance(result, ImageError)
    assert warnings.filters == before

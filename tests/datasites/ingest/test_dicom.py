"""DICOM files: the brightness a viewer shows, the patient's number, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.pixels.processing import apply_modality_lut, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from datasites.ingest.dicom import MAX_FILE_BYTES
from datasites.ingest.errors import ImageError, RefusalReason
from datasites.ingest.pixels import ReadImage, read_all, read_image

SIDE = 64


@pytest.fixture(scope="module")
def ramp():
    """Stored values 0..4095 along the rows."""
    row = np.linspace(0, 4095, SIDE).astype(np.uint16)
    return np.tile(row, (SIDE, 1))


def _reason(path):
    with pytest.raises(ImageError) as caught:
        read_image(path, SIDE)
    return caught.value


def test_without_a_window_it_is_stretched_and_its_patient_is_known(dicom, ramp, tmp_path):
    read = read_image(dicom(tmp_path / "a.dcm", ramp), SIDE)
    assert (read.is_dicom, read.patient) == (True, "P-1")
    np.testing.assert_allclose(read.pixels, ramp / 4095 * 255, atol=0.51)
    assert "P-1" not in repr(read)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_rescale_window_and_inversion_are_pydicoms(dicom, ramp, tmp_path, function, photometric):
    """Compared with pydicom's own windowing, brought to 0..255."""
    path = dicom(
        tmp_path / "a.dcm",
        ramp,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=[1500, 40],
        WindowWidth=[2500, 80],
        VOILUTFunction=function,
        PhotometricInterpretation=photometric,
    )
    data = dcmread(path)
    shown = apply_windowing(apply_modality_lut(data.pixel_array, data), data)
    low, high = -1000.0, 65535 * 2 - 1000.0
    wanted = (shown - low) / (high - low) * 255
    if photometric == "MONOCHROME1":
        wanted = 255 - wanted
    np.testing.assert_allclose(read_image(path, SIDE).pixels, wanted, atol=0.51)


def test_the_same_picture_however_it_is_stored(dicom, ramp, tmp_path):
    """Signed with an offset, inverted, run-length encoded: one digest."""
    signed = (ramp.astype(np.int32) - 2000).astype(np.int16)
    plain = dicom(tmp_path / "a.dcm", ramp, WindowCenter=2048, WindowWidth=4096)
    files = [
        plain,
        dicom(tmp_path / "b.dcm", signed, WindowCenter=48, WindowWidth=4096),
        dicom(
            tmp_path / "c.dcm", signed, RescaleSlope=1, RescaleIntercept=2000,
            WindowCenter=2048, WindowWidth=4096,
        ),
    ]  # fmt: skip
    packed = dcmread(plain)
    packed.compress(RLELossless)
    packed.save_as(tmp_path / "d.dcm")
    digests = {read_image(path, SIDE).digest for path in (*files, tmp_path / "d.dcm")}
    assert len(digests) == 1


def test_padding_is_black_and_does_not_squeeze_the_rest(dicom, ramp, tmp_path):
    stored = ramp.copy()
    stored[:8] = 65000
    pixels = read_image(dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=65000), SIDE).pixels
    assert not pixels[:8].any()
    np.testing.assert_allclose(pixels[8:], ramp[8:] / 4095 * 255, atol=0.51)
    inverted = dicom(
        tmp_path / "b.dcm", stored, PixelPaddingValue=65000, PhotometricInterpretation="MONOCHROME1"
    )
    assert not read_image(inverted, SIDE).pixels[:8].any()


def test_a_table_of_brightness_is_looked_up(dicom, ramp, tmp_path):
    """4,096 entries of 8 bits: more entries than a byte can count."""
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 8])
    table.add_new("LUTData", "US", [255 - entry // 16 for entry in range(4096)])
    path = dicom(tmp_path / "a.dcm", ramp, VOILUTSequence=[table])
    np.testing.assert_array_equal(read_image(path, SIDE).pixels, 255 - ramp // 16)


@pytest.mark.parametrize("number", ["", "  ", None])
def test_no_number_is_no_patient(dicom, ramp, tmp_path, number):
    assert read_image(dicom(tmp_path / "a.dcm", ramp, PatientID=number), SIDE).patient is None


@pytest.mark.parametrize(
    ("tags", "reason", "words"),
    [
        ({"NumberOfFrames": 3}, "multi_frame", "files of their own"),
        ({"PhotometricInterpretation": "RGB"}, "wrong_format", "grey original"),
        ({"BurnedInAnnotation": "YES"}, "burned_in", "text in its pixels"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "burned_in", "not stated"),
        ({"PixelData": None}, "wrong_format", "without an image"),
        ({"Rows": 4}, "absurd_size", "no side may be under"),
        ({"Rows": 65000, "Columns": 65000}, "absurd_size", "pixels are the most"),
        ({"Rows": None}, "absurd_size", "0 pixels"),
        ({"PixelData": b"12"}, "damaged", "copy it again"),
        ({"BitsStored": None}, "damaged", "copy it again"),
    ],
)
def test_what_is_refused(dicom, ramp, tmp_path, tags, reason, words):
    error = _reason(dicom(tmp_path / "a.dcm", ramp, **tags))
    assert (error.reason, words in str(error)) == (reason, True), error


def test_a_screen_capture_that_somebody_looked_at_is_taken(dicom, ramp, tmp_path):
    kind = {"SOPClassUID": SecondaryCaptureImageStorage, "BurnedInAnnotation": "NO"}
    assert read_image(dicom(tmp_path / "a.dcm", ramp, **kind), SIDE).is_dicom


def test_what_cannot_be_decoded_says_how_to(dicom, ramp, tmp_path):
    data = dcmread(dicom(tmp_path / "a.dcm", ramp))
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data["PixelData"].is_undefined_length = True
    data.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00abcd"
    data.save_as(tmp_path / "b.dcm")
    error = _reason(tmp_path / "b.dcm")
    assert error.reason == "wrong_format"
    assert "JPEG-LS" in str(error)
    assert "gdcmconv" in str(error)


def test_no_cut_and_no_flip_of_bits_is_more_than_a_refusal(dicom, ramp, tmp_path):
    whole = dicom(tmp_path / "a.dcm", ramp[:16, :16].copy()).read_bytes()
    rng = np.random.default_rng(1)
    target = tmp_path / "b.dcm"
    for _ in range(150):
        data = bytearray(whole[: int(rng.integers(133, len(whole)))])
        for place in rng.integers(132, len(data), 4):
            data[place] ^= 1 << int(rng.integers(8))
        target.write_bytes(data)
        (result,) = read_all([target], 16, workers=1)
        assert isinstance(result, ReadImage | ImageError)


def _deflated(path, dicom, ramp, **tags):
    data = dcmread(dicom(path, ramp, **tags))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dcmwrite(path, data, enforce_file_format=True)
    return path


def test_a_deflated_file_is_read(dicom, ramp, tmp_path):
    plain = read_image(dicom(tmp_path / "a.dcm", ramp), SIDE)
    deflated = read_image(_deflated(tmp_path / "b.dcm", dicom, ramp), SIDE)
    np.testing.assert_array_equal(deflated.pixels, plain.pixels)
    assert deflated.patient == plain.patient


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(dicom, ramp, tmp_path, monkeypatch):
    path = _deflated(tmp_path / "a.dcm", dicom, ramp, EncapsulatedDocument=bytes(2_000_000))
    assert path.stat().st_size < 20_000
    assert read_image(path, SIDE).patient == "P-1"
    monkeypatch.setattr("datasites.ingest.dicom.MAX_FILE_BYTES", 1_000_000)
    monkeypatch.setattr("datasites.ingest.dicom.dcmread", None)  # it would unpack all of it
    assert _reason(path).reason is RefusalReason.ABSURD_SIZE


def test_a_file_larger_than_any_slice_is_refused_unread(dicom, ramp, tmp_path):
    path = dicom(tmp_path / "a.dcm", ramp)
    with path.open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a hole: it lies on no disk
    assert _reason(path).reason is RefusalReason.ABSURD_SIZE

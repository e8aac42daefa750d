"""What the privacy proof needs of ingest: one unit's files taken away, everything else stays.

Real files, read and grouped by `ingest_both`. The patients of these data sets share pictures byte
for byte and nearly, contradict each other in labels, have damaged files, files under two numbers
and files without one, in both folders, as PNG and as DICOM.

For near-duplicate groups, which a person can change, the other half: what they change at most.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from datasites.ingest import EmptyDatasetError, UnitRule, ingest, ingest_both
from datasites.ingest.groups import links, perceptual_hashes
from datasites.ingest.units import units_of

CLASSES = ("glioma", "notumor")
KEY = b"k" * 32
PATIENTS = UnitRule(kind="patient", patient_pattern=r"^(?P<patient>p\d+)_")
QUICK = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _plane(scene: int, shift: int) -> np.ndarray:
    coarse = np.random.default_rng(scene).integers(20, 230, (24, 24), dtype=np.uint8)
    plane = Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)
    return (np.asarray(plane).astype(int) + shift).clip(0, 255).astype(np.uint8)


def _png(plane: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(plane).save(out, "PNG")
    return out.getvalue()


PICTURES = {(scene, shift): _png(_plane(scene, shift)) for scene in range(4) for shift in (0, 2)}
"""Four scenes, each also a little brighter: nearly the same picture to the eye and to the hash."""

_PICTURE = st.sampled_from(sorted(PICTURES))
_HOW = st.sampled_from(["png", "png", "png", "dcm", "two numbers", "no number", "damaged"])
_FILE = st.tuples(
    st.sampled_from(["train", "train", "test"]), st.sampled_from(CLASSES), _PICTURE, _HOW
)
_PERSONS = st.lists(st.lists(_FILE, min_size=1, max_size=4), min_size=2, max_size=5)


def _lay_out(root: Path, persons, dicom, *, without=None) -> None:
    for folder in ("train", "test"):
        for name in CLASSES:
            (root / folder / name).mkdir(parents=True)
        # Somebody who is always there, so that no folder is empty.
        scene = _png(_plane(90 + len(folder), 0))
        (root / folder / CLASSES[0] / f"p9{len(folder)}_0.png").write_bytes(scene)
    for person, files in enumerate(persons):
        if person == without:
            continue
        for index, (folder, label, picture, how) in enumerate(files):
            # Names differ in order as well: a person's files lie between others'.
            place = root / folder / label
            stem = f"p{person}_{index}"
            if how == "dcm":
                plane = _plane(*picture).astype(np.uint16)
                dicom(place / f"IM{index}{person}.dcm", plane, PatientID=f"p{person}")
            elif how == "two numbers":
                plane = _plane(*picture).astype(np.uint16)
                other = (person + 1) % len(persons)
                dicom(place / f"{stem}.dcm", plane, PatientID=f"p{other}")
            else:
                data = PICTURES[picture] if how != "damaged" else PICTURES[picture][:90]
                stem = f"{index}_{person}" if how == "no number" else stem
                (place / f"{stem}.png").write_bytes(data)


def _rows(shard):
    units = shard.units.tolist()
    return [
        (image.tobytes(), int(label), unit)
        for image, label, unit in zip(shard.images, shard.labels, units, strict=True)
    ]


def _numbered(rows):
    """The same rows with units numbered by first appearance."""
    first: dict[int, int] = {}
    return [(image, label, first.setdefault(unit, len(first))) for image, label, unit in rows]


def _without_one(shard, after) -> list[int]:
    """The units whose rows alone are missing in the other shard; -1 if none is."""
    rows, other = _rows(shard), _rows(after)
    candidates = [-1, *sorted({unit for _, _, unit in rows})]
    return [
        gone
        for gone in candidates
        if _numbered([row for row in rows if row[2] != gone]) == _numbered(other)
    ]


def _both(persons, dicom, *, without=None):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _lay_out(root, persons, dicom, without=without)
        return ingest_both(
            root / "train", root / "test", classes=CLASSES, image_size=16, workers=1,
            rule=PATIENTS, key=KEY,
        )  # fmt: skip


@QUICK
@given(persons=_PERSONS, data=st.data())
def test_one_patient_taken_away_every_other_stays_exactly_as_it_was(dicom, persons, data):
    """Units, images, labels, order and inclusion of all others, in both folders."""
    gone = data.draw(st.integers(0, len(persons) - 1), label="gone")
    before = _both(persons, dicom)
    after = _both(persons, dicom, without=gone)
    for one, other in zip(before, after, strict=True):
        assert _without_one(one.shard, other.shard)
        assert one.shard.rules == other.shard.rules
        assert one.shard.unit_kind == other.shard.unit_kind
    # Each count of the card moves by at most 1.
    sides = [result[1].report.straddling_units for result in (before, after)]
    assert abs(sides[0] - sides[1]) <= 1


_SCENES = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([0, 2]), st.sampled_from(CLASSES)),
    min_size=1,
    max_size=6,
)


def _groups(root: Path) -> set[frozenset[tuple[bytes, int]]]:
    shard = ingest(root, classes=CLASSES, image_size=64, workers=1).shard
    found: dict[int, list[tuple[bytes, int]]] = {}
    for image, label, unit in _rows(shard):
        found.setdefault(unit, []).append((image, label))
    return {frozenset(group) for group in found.values()}


def _write_scenes(root: Path, files, prefix: str) -> None:
    for index, (scene, shift, label) in enumerate(files):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{prefix}{index}.png").write_bytes(_png(_plane(scene, shift)))


@QUICK
@given(here=_SCENES, arrives=_SCENES)
def test_a_person_changes_only_groups_that_their_images_link(here, arrives):
    """Every other group is the same, image for image; and as many may change as are linked."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_scenes(root, here, "a")
        try:
            before = _groups(root)
        except EmptyDatasetError:
            assume(False)
        _write_scenes(root, arrives, "b")
        try:
            after = _groups(root)
        except EmptyDatasetError:
            after = set()
    theirs = perceptual_hashes(_thumbs(arrives))
    for group in before - after:
        planes = np.stack([np.frombuffer(image, np.uint8).reshape(64, 64) for image, _ in group])
        assert any(len(rows) for rows, _ in links(perceptual_hashes(planes), theirs, max_bits=40))


def _thumbs(files):
    planes = []
    for scene, shift, _ in files:
        image = Image.fromarray(_plane(scene, shift))
        planes.append(np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)))
    return np.stack(planes)


@pytest.mark.parametrize("bridged", [1, 2, 3])
def test_one_image_may_replace_a_group_or_bridge_several(tmp_path, bridged):
    """What the documents say of groups: m groups are gone and one has come, m + 1 changes."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(16, 16))
    for index in range(bridged):
        # 30 other coefficients change sign in each: about 60 bits between two, 30 to the base.
        other = base.copy()
        other.flat[rng.choice(np.arange(1, 256), size=30, replace=False)] *= -1
        _write_plane(tmp_path / "glioma" / f"a{index}.png", other)
    before = _groups(tmp_path)
    assert len(before) == bridged
    _write_plane(tmp_path / "glioma" / "b.png", base)
    after = _groups(tmp_path)
    assert (len(before - after), len(after - before)) == (bridged, 1)


def _write_plane(path: Path, coefficients: np.ndarray) -> None:
    """An image of 64 x 64 pixels with these lowest DCT coefficients, but for its mean."""
    from datasites.ingest.groups import _dct_basis

    flat = coefficients.copy()
    flat[0, 0] = 0
    basis = _dct_basis(64)
    plane = basis.T @ flat @ basis
    plane = 128 + 100 * plane / np.abs(plane).max()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(plane.round().clip(0, 255).astype(np.uint8)).save(path)


def test_groups_never_share_an_image_as_it_is_stored():
    """Small stored images may be equal where pictures are not; to compare versions they are one."""
    thumbs = np.random.default_rng(3).integers(0, 256, (3, 64, 64), np.uint8)
    stored = np.zeros((3, 16, 16), np.uint8)
    stored[2] = 1
    none = [()] * 3
    assert units_of(stored, thumbs, "abc", none, kind="near-duplicate group").tolist() == [0, 0, 1]
    apart = np.arange(3 * 256, dtype=np.int64).astype(np.uint8).reshape(3, 16, 16)
    apart[:, 0, 0] = [0, 1, 2]
    assert units_of(apart, thumbs, "abc", none, kind="near-duplicate group").tolist() == [0, 1, 2]

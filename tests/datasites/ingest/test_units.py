"""Units: patients by their numbers, near-duplicate groups, single images; none on both sides."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasites.ingest import EmptyDatasetError, UnitRule, UnitRuleError, ingest, ingest_both
from datasites.ingest.groups import perceptual_hashes
from datasites.ingest.patients import pseudonyms
from datasites.ingest.units import straddling, units_of

PATTERN = UnitRule(patient_pattern=r"^(?P<patient>p\d+)_")
KEY = b"k" * 32


@pytest.fixture
def named(tmp_path, draw, write):
    """Make a folder of images `name: seed` of one class."""

    def make(folder, **images):
        for name, seed in images.items():
            write(tmp_path / folder / "glioma" / f"{name}.png", draw(seed))
        return tmp_path / folder

    return make


@pytest.mark.parametrize(
    "other", ["p-0012 ", "P-0012", "Ｐ-００１２", "p-0012\t", " P-0012"], ids=ascii
)
def test_a_number_written_in_another_way_is_the_same_patient(other):
    rule = UnitRule()
    one, same = pseudonyms([Path("a"), Path("b")], ["p-0012", other], rule, key=KEY)
    assert one == same
    composed, decomposed = pseudonyms([Path("a"), Path("b")], ["é1", "e\u03011"], rule, key=KEY)
    assert composed == decomposed
    assert len({*pseudonyms([Path("a"), Path("b")], ["p-0012", "p-00 12"], rule, key=KEY)}) == 2


def _brighter(plane):
    return np.clip(plane.astype(int) + 2, 0, 255).astype(np.uint8)


def _reasons(result):
    return {(str(one.path), one.reason.value) for one in result.report.refused}


def test_patients_are_units(named):
    folder = named("a", p1_a=1, p1_b=2, p2_a=3)
    shard = ingest(folder, rule=PATTERN, key=KEY).shard
    assert (shard.unit_kind, shard.units.tolist()) == ("patient", [0, 0, 1])
    plain = ingest(folder).shard
    assert (plain.unit_kind, plain.unit_count) == ("near-duplicate group", 3)
    assert plain.version != shard.version


def test_a_table_names_patients_by_path_or_by_name(named, tmp_path):
    table = tmp_path / "patients.csv"
    with table.open("w", newline="") as file:
        rows = [("file", "age", "patient"), ("glioma/x.png", 1, "7"), ("z.png", 1, " 7 "),
                ("y.png", 2, "8"), ("w.png", 3, "")]  # fmt: skip
        csv.writer(file).writerows(rows)
    result = ingest(named("a", w=0, x=1, y=2, z=3), rule=UnitRule(patient_csv=table), key=KEY)
    assert (result.shard.unit_kind, result.shard.units.tolist()) == ("patient", [0, 1, 0])
    assert _reasons(result) == {("glioma/w.png", "no_patient")}


def test_dicom_patients_are_units_and_nothing_of_them_is_kept(tmp_path, draw, dicom):
    folder = tmp_path / "a"
    for index, number in enumerate(("Z-17", "Z-17", "Z-18", "", "Z-19")):
        plane = draw(index).astype(np.uint16) * 16
        dicom(folder / "glioma" / f"{index}.dcm", plane, PatientID=number)
    result = ingest(folder, key=KEY)
    assert (result.shard.unit_kind, result.shard.units.tolist()) == ("patient", [0, 0, 1, 2])
    assert _reasons(result) == {("glioma/3.dcm", "no_patient")}
    assert "(0010,0020)" in result.report.to_text()
    said = result.report.to_json() + repr(result) + result.shard.rules
    assert not [word for word in ("Z-1", "Doe", "St Mary") if word in said]
    loose = ingest(folder, rule=UnitRule(kind="near-duplicate group"), key=KEY)
    assert (loose.shard.unit_kind, loose.shard.units.tolist()) == (
        "near-duplicate group",
        [0, 0, 1, 2, 3],
    )


def test_without_any_number_nothing_is_taken_and_the_way_out_is_named(named):
    with pytest.raises(EmptyDatasetError, match=r"--patient-csv.*--unit group"):
        ingest(named("a", x=1, y=2), rule=PATTERN, key=KEY)


def test_a_picture_beside_dicom_files_needs_a_patient_as_well(tmp_path, draw, dicom, write):
    folder = tmp_path / "a"
    dicom(folder / "glioma" / "p3_1.dcm", draw(1).astype(np.uint16), PatientID="p3")
    write(folder / "glioma" / "p3_2.png", draw(2))
    assert _reasons(ingest(folder, key=KEY)) == {("glioma/p3_2.png", "no_patient")}
    # The pattern's and the file's own numbers are one name space.
    assert ingest(folder, rule=PATTERN, key=KEY).shard.units.tolist() == [0, 0]


def test_two_numbers_of_one_file_are_one_patient(tmp_path, draw, dicom):
    folder = tmp_path / "a"
    for index, number in enumerate(("A", "B", "B")):
        name = f"p{index // 2}_{index}.dcm"
        dicom(folder / "glioma" / name, draw(index).astype(np.uint16), PatientID=number)
    # File 0: A and p0. File 1: B and p0. File 2: B and p1.
    result = ingest(folder, rule=PATTERN, key=KEY)
    assert result.shard.units.tolist() == [0, 0, 0]
    assert result.report.joined_units == 0


def test_pseudonyms_need_the_key(named):
    paths, none = [Path("p17_a.png"), Path("p18_a.png")], [None, None]
    (here,), other = pseudonyms(paths, none, PATTERN, key=KEY)
    ((there,), _) = pseudonyms(paths, none, PATTERN, key=b"other")
    assert here != there
    assert (len(here), "p17" in here, (here,) == other) == (64, False, False)


@pytest.mark.parametrize("copy", [_brighter, lambda plane: plane])
def test_one_person_under_two_numbers_is_one_unit_and_it_is_said(named, draw, write, copy):
    folder = named("a", p1_a=1, p1_b=2, p2_b=4, p3_a=3)
    write(folder / "glioma" / "p2_a.png", copy(draw(1)))
    result = ingest(folder, rule=PATTERN, key=KEY)
    units = dict(zip(("p1_a", "p1_b", "p2_b"), result.shard.units.tolist(), strict=False))
    assert len(set(units.values())) == 1
    assert result.shard.unit_count == 2
    assert result.report.joined_units == 1
    assert "1 of them hold several patients' numbers" in result.report.to_text()


@pytest.mark.parametrize(
    ("share", "bits", "units", "joined", "said"),
    [
        (0.16, range(8, 25), 2, 1, "1 of them hold several patients' numbers"),
        (0.25, range(25, 41), 3, 0, "1 pairs of patients have images that look alike"),
    ],
)
def test_look_alikes_are_left_to_the_numbers_and_counted(
    named, draw, write, share, bits, units, joined, said
):
    base, other = (Image.fromarray(draw(seed)) for seed in (1, 2))
    mixed = Image.blend(base, other, share)
    hashes = perceptual_hashes(np.stack([np.asarray(i.resize((64, 64))) for i in (base, mixed)]))
    apart = int(np.bitwise_count(hashes[0, 0] ^ hashes[0, 1]).sum())
    assert apart in bits
    folder = named("a", p1_a=1, p3_a=5)
    write(folder / "glioma" / "p2_a.png", np.asarray(mixed))
    result = ingest(folder, rule=PATTERN, key=KEY)
    assert result.shard.unit_count == units
    assert (result.report.joined_units, result.report.alike_units) == (joined, 1 - joined)
    assert said in result.report.to_text()
    assert ingest(folder).shard.unit_count == 2


def test_the_single_image_is_asked_for_by_name_and_said(named, draw, write):
    folder = named("a", x=1)
    write(folder / "glioma" / "y.png", _brighter(draw(1)))
    result = ingest(folder, rule=UnitRule(kind="image"))
    assert (result.shard.unit_kind, result.shard.unit_count) == ("image", 2)
    assert "single image, because it was asked for by name" in result.report.to_text()
    assert ingest(folder).shard.unit_count == 1


def test_a_number_that_everybody_has_is_noticed(named):
    folder = named("a", **{f"p0_{index}": index for index in range(15)})
    named("a", **{f"p{index}_x": 100 + index for index in range(1, 9)})
    text = ingest(folder, rule=PATTERN, key=KEY).report.to_text()
    assert "one patient has 15 of 23 images; is that number a placeholder" in text


def test_no_unit_stands_on_both_sides(named, draw, write):
    folder = named("train", p1_a=1, p2_a=2)
    held_out = named("test", p2_b=5, p3_a=6, p3_b=7, p4_a=8, p5_a=9)
    write(held_out / "glioma" / "p4_b.png", np.rot90(draw(1)))  # a training image, turned
    train, test = ingest_both(folder, held_out, rule=PATTERN, key=KEY)
    assert test.shard.units.tolist() == [0, 0, 1]  # p3 twice and p5
    assert _reasons(test) == {
        (f"glioma/{name}.png", "straddles") for name in ("p2_b", "p4_a", "p4_b")
    }
    report = test.report
    assert (report.straddling_images, report.straddling_units) == (3, 2)
    assert "3 test images of 2 units were left out: their patient is in training" in (
        report.to_text()
    )
    assert train.shard.units.tolist() == [0, 1]
    with pytest.raises(EmptyDatasetError, match="has its patient in training too"):
        ingest_both(folder, named("same", p1_c=1), rule=PATTERN, key=KEY)


def test_a_test_image_may_say_that_two_training_patients_are_one(named, draw, write):
    folder = named("train", p1_a=1, p2_a=2)
    held_out = named("test", p1_b=5, p9_a=9)
    write(held_out / "glioma" / "p1_c.png", _brighter(draw(2)))
    train, _ = ingest_both(folder, held_out, rule=PATTERN, key=KEY)
    assert train.shard.units.tolist() == [0, 0]
    assert train.report.joined_units == 1


@pytest.mark.parametrize(("kind", "units"), [("near-duplicate group", 1), ("image", None)])
def test_copies_stand_on_one_side_whatever_the_unit(named, draw, write, kind, units):
    folder = named("train", a=1, b=2)
    held_out = named("test", c=5)
    write(held_out / "glioma" / "d.png", _brighter(draw(1)))
    _, test = ingest_both(folder, held_out, rule=UnitRule(kind=kind))
    assert (len(test.shard), test.report.straddling_units) == (1, units)


def test_the_training_folder_decides_on_the_unit(named, tmp_path, draw, dicom):
    dicom(tmp_path / "train" / "glioma" / "a.dcm", draw(1).astype(np.uint16))
    held_out = named("test", c=5)
    with pytest.raises(EmptyDatasetError, match="has a patient's number"):
        ingest_both(tmp_path / "train", held_out, key=KEY)
    train, test = ingest_both(held_out, tmp_path / "train", key=KEY)
    assert train.shard.unit_kind == test.shard.unit_kind == "near-duplicate group"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patient_pattern": "("}, "no regular expression"),
        ({"patient_pattern": "p(.)"}, "no group named patient"),
        ({"kind": "scanner"}, "choose one of patient"),
    ],
)
def test_unusable_rules(fields, message):
    with pytest.raises(UnitRuleError, match=message):
        UnitRule(**fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,b\n", "needs the columns"),
        (b"file,patient\nx,1\nx,2\n", "line 3: a file is given two patients"),
        (b"file,patient\n\xff", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_unusable_tables(named, tmp_path, text, message):
    table = tmp_path / "t.csv"
    if text is not None:
        table.write_bytes(text)
    with pytest.raises(UnitRuleError, match=message):
        ingest(named("a", x=1), rule=UnitRule(patient_csv=table))


_THUMBS = np.random.default_rng(3).integers(0, 256, (6, 64, 64), np.uint8)
_IMAGE = st.tuples(st.integers(0, 5), st.frozensets(st.integers(0, 5), min_size=1, max_size=2))
_IMAGES = st.lists(_IMAGE, min_size=1, max_size=12)


def _units(images):
    thumbs = _THUMBS[[scene for scene, _ in images]]
    return units_of(thumbs, [tuple(map(str, sorted(n))) for _, n in images], kind="patient")


@settings(max_examples=150, deadline=None)
@given(_IMAGES)
def test_units_are_the_components_of_shared_numbers_and_equal_pictures(images):
    """Against a plain union: what shares a number or a picture is one unit, and nothing else."""
    groups: list[set[object]] = []
    for scene, numbers in images:
        mine = {("scene", scene), *(("number", n) for n in numbers)}
        touching = [group for group in groups if group & mine]
        groups = [group for group in groups if not group & mine]
        groups.append(mine.union(*touching))
    found = _units(images)
    whose = [next(i for i, g in enumerate(groups) if ("scene", s) in g) for s, _ in images]
    same = np.equal.outer(whose, whose)
    np.testing.assert_array_equal(np.equal.outer(found.units, found.units), same)
    assert 0 <= found.joined <= len(groups)


@settings(max_examples=100, deadline=None)
@given(_IMAGES, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(images, random):
    order = list(range(len(images)))
    random.shuffle(order)
    a, b = _units(images), _units([images[index] for index in order])
    mixed = a.units[order]
    np.testing.assert_array_equal(np.equal.outer(mixed, mixed), np.equal.outer(b.units, b.units))
    assert (a.joined, a.alike) == (b.joined, b.alike)


def _split(train, test):
    units = _units(train + test)
    return units, straddling(units, train=len(train))


@settings(max_examples=100, deadline=None)
@given(_IMAGES, _IMAGES)
def test_after_the_split_nothing_is_shared(train, test):
    units, shared = _split(train, test)
    left = [image for image, out in zip(test, shared.images, strict=True) if not out]
    numbers, scenes = ({n for _, own in train for n in own}, {scene for scene, _ in train})
    assert not [1 for scene, own in left if scene in scenes or own & numbers]
    # One unit of the two folders together counts once, and only what touches is left out.
    sides = set(units.units[: len(train)]) & set(units.units[len(train) :])
    assert shared.units == len(sides)
    assert set(units.units[len(train) :][shared.images]) == sides


@settings(max_examples=200, deadline=None)
@given(_IMAGES, _IMAGES, st.data())
def test_one_unit_moves_each_count_of_the_card_by_one_at_most(train, test, data):
    """Remove everything of one unit from both folders: what sensitivity is claimed for."""
    units, shared = _split(train, test)
    gone = data.draw(st.sampled_from(sorted(set(units.units.tolist()))))
    whose = units.units.tolist()
    kept = [image for image, unit in zip(train, whose, strict=False) if unit != gone]
    rest = [image for image, unit in zip(test, whose[len(train) :], strict=True) if unit != gone]
    if not kept + rest:
        return
    after, still = _split(kept, rest)
    assert abs(shared.units - still.units) <= 1
    assert abs(units.joined - after.joined) <= 1

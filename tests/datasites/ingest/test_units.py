"""Units: patients by their numbers alone, near-duplicate groups, single pictures.

No unit on both sides of a split, and no kind of unit that one file could tip.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasites.ingest import EmptyDatasetError, UnitRule, UnitRuleError, ingest, ingest_both
from datasites.ingest.groups import perceptual_hashes
from datasites.ingest.patients import pseudonyms

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
    named = ingest(folder, rule=UnitRule(kind="patient"), key=KEY)
    assert _reasons(named) == {("glioma/p3_2.png", "no_patient")}
    # The pattern's and the file's own numbers are one name space.
    assert ingest(folder, rule=PATTERN, key=KEY).shard.units.tolist() == [0, 0]


def test_one_file_cannot_tip_the_kind_of_unit(tmp_path, draw, dicom, write):
    """Where nothing was said and the files disagree nothing is taken, whichever is the odd one."""
    folder = tmp_path / "a"
    for index in range(6):
        write(folder / "glioma" / f"{index}.png", draw(index))
    assert ingest(folder, key=KEY).shard.unit_kind == "near-duplicate group"
    dicom(folder / "glioma" / "odd.dcm", draw(9).astype(np.uint16))
    with pytest.raises(UnitRuleError, match=r"--unit patient .*--unit group.*nothing was changed"):
        ingest(folder, key=KEY)
    for path in (folder / "glioma").glob("[1-5].png"):
        path.unlink()
    with pytest.raises(UnitRuleError, match="side by side"):
        ingest(folder, key=KEY)
    # Said beforehand, the odd file changes itself alone.
    for kind, count in (("patient", 1), ("near-duplicate group", 2)):
        shard = ingest(folder, rule=UnitRule(kind=kind), key=KEY).shard
        assert (shard.unit_kind, len(shard)) == (kind, count)


@pytest.fixture
def decided(tmp_path):
    """The owner's table of decisions on numbers."""

    def write(*rows):
        table = tmp_path / "persons.csv"
        lines = ["patient,other,decision", *(",".join(row) for row in rows)]
        table.write_text("\n".join(lines) + "\n")
        return UnitRule(patient_pattern=PATTERN.patient_pattern, persons_csv=table)

    return write


def test_a_file_with_two_persons_numbers_joins_nobody(tmp_path, draw, dicom, decided):
    folder = tmp_path / "a"
    for index, number in enumerate(("p0", "p1", "p1")):
        name = f"p{index // 2}_{index}.dcm"
        dicom(folder / "glioma" / name, draw(index).astype(np.uint16), PatientID=number)
    # File 0 is of p0 and file 2 of p1, whatever else lies here. File 1 says both.
    result = ingest(folder, rule=PATTERN, key=KEY)
    assert result.shard.units.tolist() == [0, 1]
    assert _reasons(result) == {("glioma/p0_1.dcm", "two_patients")}
    assert "--persons-csv" in result.report.to_text()
    # The owner may say that the two are one.
    both = ingest(folder, rule=decided(("P0 ", "p1", "One  person")), key=KEY)
    assert both.shard.units.tolist() == [0, 0, 0]


def test_pseudonyms_need_the_key(named):
    paths, none = [Path("p17_a.png"), Path("p18_a.png")], [None, None]
    (here,), other = pseudonyms(paths, none, PATTERN, key=KEY)
    ((there,), _) = pseudonyms(paths, none, PATTERN, key=b"other")
    assert here != there
    assert (len(here), "p17" in here, (here,) == other) == (64, False, False)


@pytest.mark.parametrize("copy", [_brighter, lambda plane: plane])
def test_images_of_two_patients_that_are_nearly_the_same_stay_as_they_are_and_are_named(
    named, draw, write, copy, decided
):
    folder = named("a", p1_a=1, p1_b=2, p2_b=4, p3_a=3)
    write(folder / "glioma" / "p2_a.png", copy(draw(1)))
    result = ingest(folder, rule=PATTERN, key=KEY)
    assert result.shard.units.tolist() == [0, 0, 1, 1, 2]
    (doubt,) = result.report.in_doubt
    assert (str(doubt.path), str(doubt.other)) == ("glioma/p1_a.png", "glioma/p2_a.png")
    assert doubt.same_pixels == (copy is not _brighter)
    text = result.report.to_text()
    assert "in doubt: 1 pairs of patients" in text
    how = "the same pixels as" if doubt.same_pixels else "looks like"
    assert f"glioma/p1_a.png {how} glioma/p2_a.png" in text
    assert json.loads(result.report.to_json())["in_doubt"][0]["other"] == "glioma/p2_a.png"
    # The owner decides, by numbers.
    one = ingest(folder, rule=decided(("p1", "p2", "one person")), key=KEY)
    assert one.shard.units.tolist() == ([0, 0, 0, 0, 1] if copy is _brighter else [0, 0, 0, 1])
    two = ingest(folder, rule=decided(("p2", "p1", "two people")), key=KEY)
    assert two.shard.version == result.shard.version
    out = ingest(folder, rule=decided(("p2", "", "leave out")), key=KEY)
    assert out.shard.units.tolist() == [0, 0, 1]
    assert {reason for _, reason in _reasons(out)} == {"owners_decision"}
    assert one.report.in_doubt == two.report.in_doubt == out.report.in_doubt == ()


def test_a_decision_holds_whoever_is_there(named, draw, write, decided):
    """What is left out does not depend on whether the image that it resembles is there."""
    folder = named("a", p1_a=1, p3_a=3)
    write(folder / "glioma" / "p2_a.png", _brighter(draw(1)))
    rule = decided(("p2", "p1", "leave out"))
    before = _content(ingest(folder, rule=rule, key=KEY).shard)
    (folder / "glioma" / "p1_a.png").unlink()
    after = _content(ingest(folder, rule=rule, key=KEY).shard)
    assert after < before
    assert len(before) == 2


def test_decisions_join_by_way_of_a_third_and_may_not_contradict(named, decided):
    folder = named("a", p1_a=1, p2_a=2, p3_a=3, p4_a=4)
    chain = [("p3", "p2", "one person"), ("p1", "p4", "one person"), ("p4", "p3", "one person")]
    assert ingest(folder, rule=decided(*chain), key=KEY).shard.units.tolist() == [0, 0, 0, 0]
    with pytest.raises(UnitRuleError, match="both 'one person' and 'two people'"):
        ingest(folder, rule=decided(*chain, ("p1", "p2", "two people")), key=KEY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"patient,other\np1,p2\n", "needs the columns patient, other, decision"),
        (b"patient,other,decision\np1,p2,maybe\n", "line 2: 'maybe' is no decision"),
        (b"patient,other,decision\np1,,one person\n", "line 2: a patient's number is missing"),
        (b"patient,other,decision\n,p2,leave out\n", "line 2: a patient's number is missing"),
        (b"patient,other,decision\n\xff", "cannot be read"),
    ],
)
def test_unusable_decisions(named, tmp_path, text, message):
    table = tmp_path / "persons.csv"
    table.write_bytes(text)
    rule = UnitRule(patient_pattern=PATTERN.patient_pattern, persons_csv=table)
    with pytest.raises(UnitRuleError, match=message):
        ingest(named("a", p1_a=1), rule=rule, key=KEY)


def test_decisions_on_patients_need_patients(named, tmp_path):
    rule = UnitRule(persons_csv=tmp_path / "persons.csv")
    with pytest.raises(UnitRuleError, match="need the unit patient"):
        ingest(named("a", x=1), rule=rule, key=KEY)


@pytest.mark.parametrize(
    ("share", "bits", "named_pairs", "alike"),
    [(0.16, range(8, 25), 1, 0), (0.25, range(25, 41), 0, 1)],
)
def test_look_alikes_are_named_or_counted_and_left_to_the_numbers(
    named, draw, write, share, bits, named_pairs, alike
):
    base, other = (Image.fromarray(draw(seed)) for seed in (1, 2))
    mixed = Image.blend(base, other, share)
    hashes = perceptual_hashes(np.stack([np.asarray(i.resize((64, 64))) for i in (base, mixed)]))
    apart = int(np.bitwise_count(hashes[0, 0] ^ hashes[0, 1]).sum())
    assert apart in bits
    folder = named("a", p1_a=1, p3_a=5)
    write(folder / "glioma" / "p2_a.png", np.asarray(mixed))
    result = ingest(folder, rule=PATTERN, key=KEY)
    assert result.shard.unit_count == 3
    assert (len(result.report.in_doubt), result.report.alike_units) == (named_pairs, alike)
    said = "1 further pairs of patients have images that look alike"
    assert (said in result.report.to_text()) == bool(alike)
    assert ingest(folder).shard.unit_count == 2


def test_the_single_image_is_asked_for_by_name_and_said(named, draw, write):
    folder = named("a", x=1)
    write(folder / "glioma" / "y.png", _brighter(draw(1)))
    write(folder / "glioma" / "z.png", draw(1))
    result = ingest(folder, rule=UnitRule(kind="image"))
    # One picture, however many files have its pixels, is one unit.
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
    # Patient 4 stays: that their image looks like patient 1's is patient 1's doing as well.
    assert test.shard.units.tolist() == [0, 0, 1, 1, 2]
    assert _reasons(test) == {("glioma/p2_b.png", "straddles")}
    report = test.report
    assert (report.straddling_images, report.straddling_units) == (1, 1)
    assert "1 test images of 1 units were left out: their patient is in training" in (
        report.to_text()
    )
    assert "train/glioma/p1_a.png looks like test/glioma/p4_b.png" in report.to_text()
    assert train.report.in_doubt == ()
    assert train.shard.units.tolist() == [0, 1]
    with pytest.raises(EmptyDatasetError, match="has its patient in training too"):
        ingest_both(folder, named("same", p1_c=1), rule=PATTERN, key=KEY)


def test_copies_of_a_group_stand_on_one_side(named, draw, write):
    folder = named("train", a=1, b=2)
    held_out = named("test", c=5)
    write(held_out / "glioma" / "d.png", _brighter(draw(1)))
    _, test = ingest_both(folder, held_out, rule=UnitRule(kind="near-duplicate group"))
    assert (len(test.shard), test.report.straddling_units) == (1, 1)


def test_where_units_are_pictures_only_the_same_pixels_are_left_out(named, draw, write):
    """To leave out what resembles a training image would hang on that other unit."""
    folder = named("train", a=1, b=2)
    held_out = named("test", c=5, e=2)
    write(held_out / "glioma" / "d.png", _brighter(draw(1)))
    _, test = ingest_both(folder, held_out, rule=UnitRule(kind="image"))
    assert (len(test.shard), test.report.straddling_units) == (2, 1)
    assert _reasons(test) == {("glioma/e.png", "straddles")}
    text = test.report.to_text()
    assert "in doubt: 1 test images look like training images. They stay" in text
    assert "train/glioma/a.png looks like test/glioma/d.png" in text


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


def _content(shard):
    """What others see of a shard: for each image its pixels, label and companions in its unit."""
    units = {}
    for image, label, unit in zip(shard.images, shard.labels, shard.units.tolist(), strict=True):
        units.setdefault(unit, []).append((image.tobytes(), int(label)))
    return {tuple(sorted(images)) for images in units.values()}

"""`dura site ingest` over real DICOM files: whose data a unit is, said everywhere; what stays out.

Proven: patients by PatientID, test patients who are in training left out and counted, counts of the
card within their noise and paid for, the key private, no identifier anywhere below the site; the
unit never weakens unless it is asked for by name, and a single image is called one everywhere.
"""

from __future__ import annotations

import re
import shutil
import stat

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from datasites.cli import budget, decisions
from datasites.cli import site as site_cli
from datasites.ingest import Changes, IngestError, UnitRuleError, load_shard
from datasites.owner import intake
from datasites.owner.intake import rule_from, take_in
from datasites.site.card import CHANGE_NOISE, REGROUPED_NOISE, SIDE_NOISE, SideCounts
from datasites.site.settings import make_settings, write_settings
from datasites.site.site import Site
from models import draw_phantoms
from privacy import RELATION, os_rng, per_unit
from privacy.mechanism.grid import Grid

CLASSES = ("glioma", "notumor")
assert decisions.app is budget.app is site_cli.app


@pytest.fixture(scope="module")
def hospital(tmp_path_factory, dicom):
    """Training folder of 6 patients with 3 slices each, test folder of 3, one of them the same."""
    root = tmp_path_factory.mktemp("hospital")
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 16), size=64, seed=8)
    images = [
        np.asarray(drawn.images[index])
        for pair in zip(*(np.flatnonzero(drawn.labels == label) for label in (0, 1)), strict=True)
        for index in pair
    ]
    folders = [("train", 0, 18, 0), ("test", 18, 26, 6)]
    for folder, low, high, first in folders:
        for index in range(low, high):
            patient = first - 1 + (index - low) // 3 if folder == "test" else index // 3
            path = root / folder / CLASSES[index % 2] / f"IM{index:04}.dcm"
            dicom(path, images[index].astype(np.uint16) * 8, PatientID=f"MRN-{patient:03}")
    return root


@pytest.fixture
def run(tmp_path):
    def call(command, *arguments):
        words = [command, str(tmp_path / "site"), *map(str, arguments)]
        result = CliRunner().invoke(site_cli.app, words)
        if result.exception is not None:
            raise result.exception
        return result.output

    return call


@pytest.fixture
def made(tmp_path, run):
    (tmp_path / "relay").mkdir()
    run(
        "init", "--name", "A", "--email", "a@hospital.example", "--relay", tmp_path / "relay",
        "--classes", ",".join(CLASSES), "--image-size", 32,
    )  # fmt: skip
    return lambda: Site.open(tmp_path / "site")


def test_patients_of_dicom_files_are_the_unit_everywhere(made, run, hospital, tmp_path):
    said = run("ingest", hospital / "train", "--test", hospital / "test")
    assert "in 6 privacy units (patient)" in said
    assert "3 test images of 1 units were left out: their patient is in training" in said
    assert f"every epsilon of this data is {per_unit('patient')}" in said
    site = made()
    card = site.card()
    assert f"about {card.straddling_units:.0f} had images in both folders, noised by 20" in said
    assert f"{per_unit('patient')}: all images of one patient" in said
    assert (card.unit, load_shard(site.shard("train")).unit_kind) == ("patient", "patient")
    assert card.straddling_units is not None
    assert (card.gone_units, card.new_units, card.regrouped_units) == (None, None, None)
    (ingested, held_out) = [
        one.entry.detail for one in site.ledger.entries() if one.entry.kind == "dataset_ingested"
    ]
    assert (ingested["unit"], held_out["unit"], ingested["unit_asked_by_name"]) == (
        "patient",
        "patient",
        False,
    )
    whose = per_unit("patient")
    for text in (
        run("status"),
        run("budget", "--epsilon", 5, "--as", "ann", "--reason", "less"),
    ):
        lines = [line for line in text.splitlines() if "epsilon" in line]
        assert lines
        assert all(whose in line for line in lines), text
    kept = b"".join(path.read_bytes() for path in site.root.rglob("*") if path.is_file())
    assert not [word for word in (b"MRN-0", b"Jane", b"St Mary", b"IM00") if word in kept]
    path = site.keys / "patient.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept.count(path.read_bytes()) == 1
    assert "nothing was spent" in run("ingest", hospital / "train", "--test", hospital / "test")


def test_the_card_pays_for_all_that_it_counts(made, hospital):
    assert intake.NOTHING_BESIDE.noise_multiplier == pytest.approx(10.0)
    site = made()
    take_in(site, hospital / "train", hospital / "test", actor="ann")
    (event,) = site.ledger.account().spent_events()
    assert event.noise_multiplier == pytest.approx(SideCounts(straddling=1).noise_multiplier)
    take_in(site, hospital / "test", hospital / "train", actor="ann")
    changed = SideCounts(straddling=1, changes=Changes(gone=6, came=3, regrouped=None))
    paid = sorted(event.noise_multiplier for event in site.ledger.account().spent_events())
    assert paid[0] == pytest.approx(changed.noise_multiplier)


@pytest.mark.parametrize("straddling", [None, 4])
@pytest.mark.parametrize("changes", [None, (9, 9, None), (9, 9, 9)])
def test_what_one_unit_moves_at_most_is_one_in_the_release(straddling, changes):
    """All at once: a class of the histogram, both sides, gone and come, and regrouped."""
    made = None if changes is None else Changes(gone=9, came=9, regrouped=changes[2])
    full = SideCounts(straddling=straddling, changes=made)
    regrouped = None if made is None or made.regrouped is None else made.regrouped - 4
    less = SideCounts(
        straddling=None if straddling is None else straddling - 1,
        changes=None if made is None else Changes(gone=8, came=8, regrouped=regrouped),
    )
    # Fewer units than are gone: the former version was larger.
    rows = full.with_histogram(np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]]))
    fewer = less.with_histogram(np.array([[0.0, 1.0], [0.25, 0.75]]))
    assert np.linalg.norm(rows.sum(axis=0) - fewer.sum(axis=0)) == pytest.approx(1.0)
    assert np.linalg.norm(rows, axis=1).max() <= 1.0 + 1e-12
    # As whole numbers of the grid, which is what the noise covers, no more than its bound.
    grid = Grid(noise_multiplier=full.noise_multiplier, sensitivity=1.0)
    moved = grid.total(rows) - grid.total(fewer)
    assert sum(int(step) ** 2 for step in moved) <= grid.bound
    histogram, sides = full.split(rows.sum(axis=0))
    np.testing.assert_allclose(histogram, [1.25, 1.75])
    wanted = (straddling, None, None, None)
    if made is not None:
        wanted = (straddling, made.gone, made.came, made.regrouped)
    assert (sides.straddling, sides.gone, sides.came, sides.regrouped) == wanted


def test_the_noise_of_each_count_is_what_the_card_says():
    full = SideCounts(straddling=1, changes=Changes(gone=1, came=1, regrouped=1))
    z = full.noise_multiplier
    draws = os_rng().normal(0.0, z, (4000, 6)) + 10 * z
    sides = [full.split(draw)[1] for draw in draws]
    for name, noise in (
        ("straddling", SIDE_NOISE), ("gone", CHANGE_NOISE), ("came", CHANGE_NOISE),
        ("regrouped", REGROUPED_NOISE),
    ):  # fmt: skip
        assert np.std([getattr(one, name) for one in sides]) == pytest.approx(noise, rel=0.1)


def test_a_new_version_says_what_changed_with_noise_and_the_owner_exactly(
    made, run, tmp_path, folder_of_phantoms
):
    site = made()
    mine = tmp_path / "mine"
    for name in CLASSES:
        shutil.copytree(folder_of_phantoms[0] / name, mine / name)
    first = run("ingest", mine)
    assert "exactly" not in first
    assert "nobody knows here who is behind a group" in first
    assert "patient" not in first
    spent = site.ledger.account().epsilon()
    version = site.card().dataset_version
    shutil.copy(next((folder_of_phantoms[0] / "pituitary").iterdir()), mine / "glioma" / "new.png")
    said = run("ingest", mine)
    card = made().card()
    assert card.dataset_version != version
    assert made().ledger.account().epsilon() > spent
    assert "exactly, for your eyes: against the version before: 1 units are new or changed" in said
    for count, what, noise in (
        (card.new_units, "are new or changed", 40),
        (card.gone_units, "of the former version are gone or changed", 40),
        (card.regrouped_units, "were joined or fell apart", 80),
    ):
        assert f"about {count:.0f} {what}, noised by {noise}" in said
    # No exact count, file name or reason is in the ledger or on the card.
    for one in site.ledger.entries():
        if one.entry.kind == "dataset_ingested":
            assert set(one.entry.detail) == {
                "dataset_version", "unit", "unit_asked_by_name", "persons_table", "relation",
            }  # fmt: skip


def test_the_first_ingest_fixes_the_kind_of_unit(made, run, hospital, tmp_path, folder_of_phantoms):
    """A DICOM file among the pictures of a site of groups is one more picture, and no patient."""
    mine = tmp_path / "mine"
    for name in CLASSES:
        shutil.copytree(folder_of_phantoms[0] / name, mine / name)
    run("ingest", mine)
    shutil.copy(next((hospital / "train" / "glioma").iterdir()), mine / "glioma")
    assert "(near-duplicate group)" in run("ingest", mine)
    assert made().card().unit == "near-duplicate group"
    # By the owner's word it becomes stronger; then pictures without a number are left out.
    said = run("ingest", mine, "--unit", "patient")
    assert "in 1 privacy units (patient)" in said
    assert "left out 8: no_patient" in said
    assert "in 1 privacy units (patient)" in run("ingest", mine)


def test_a_fresh_site_with_both_kinds_of_files_asks(made, run, hospital, tmp_path):
    site = made()
    mine = tmp_path / "mine"
    shutil.copytree(hospital / "train", mine)
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(mine / "glioma" / "x.png")
    entries = len(list(site.ledger.entries()))
    with pytest.raises(UnitRuleError, match="--unit patient"):
        run("ingest", mine)
    assert not site.has_data
    assert len(list(site.ledger.entries())) == entries
    assert "(patient)" in run("ingest", mine, "--unit", "patient")


def test_decisions_on_numbers_are_the_owners_and_on_record(made, run, hospital, tmp_path):
    run("ingest", hospital / "train")
    table = tmp_path / "persons.csv"
    table.write_text("patient,other,decision\nMRN-000,MRN-001,one person\n")
    said = run("ingest", hospital / "train", "--persons-csv", table)
    assert "in 5 privacy units (patient)" in said
    *_, entry = [
        one.entry for one in made().ledger.entries() if one.entry.kind == "dataset_ingested"
    ]
    assert re.fullmatch("[0-9a-f]{64}", entry.detail["persons_table"])
    kept = b"".join(path.read_bytes() for path in made().root.rglob("*") if path.is_file())
    assert b"MRN-0" not in kept


def test_no_weaker_unit_unless_it_is_asked_for_by_name(made, run, hospital, tmp_path, dicom):
    run("ingest", hospital / "train")
    before = made().card()
    for path in (hospital / "train").rglob("*.dcm"):
        plain = np.frombuffer(path.read_bytes()[-8192:], np.uint16).reshape(64, 64)
        target = tmp_path / "plain" / path.parent.name / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((plain // 8).astype(np.uint8)).save(target)
    entries = len(list(made().ledger.entries()))
    with pytest.raises(IngestError, match=r"--patient-csv.*--unit group"):
        run("ingest", tmp_path / "plain")
    assert made().card() == before
    assert len(list(made().ledger.entries())) == entries
    said = run("ingest", tmp_path / "plain", "--unit", "image")
    assert "the single image, because it was asked for by name" in said
    whose = per_unit("patient, then image")
    assert made().card().unit == "image"
    status = run("status")
    assert whose in status
    assert "the unit changed over time" in status
    # It stays what the owner said last, until they say otherwise.
    assert "(image)" in run("ingest", hospital / "train")
    assert "(patient)" in run("ingest", hospital / "train", "--unit", "patient")


def test_new_training_images_need_the_test_folder_again(made, run, hospital, tmp_path):
    run("ingest", hospital / "test", "--test", hospital / "train", "--unit", "group")
    with pytest.raises(IngestError, match=r"with --test .*nothing was changed"):
        run("ingest", hospital / "train", "--unit", "group")
    run("ingest", hospital / "train", "--test", hospital / "test", "--unit", "group")
    cost = made().ledger.account().epsilon()
    # Other test cases with the same training images: a new card, counted and paid for.
    run("ingest", hospital / "train", "--test", hospital / "test", "--unit", "patient")
    assert made().ledger.account().epsilon() > cost


def test_settings_say_where_the_numbers_are(made, run, tmp_path, hospital):
    site = made()
    table = tmp_path / "patients.csv"
    files = sorted((hospital / "test").rglob("*.dcm"))
    table.write_text("file,patient\n" + "".join(f"{path.name},X\n" for path in files))
    persons = tmp_path / "persons.csv"
    numbers = [f"MRN-{number:03}" for number in range(5, 8)]
    rows = "".join(f"X,{number},one person\n" for number in numbers)
    persons.write_text("patient,other,decision\n" + rows)
    values = site.settings.model_dump() | {"patient_csv": str(table), "persons_csv": str(persons)}
    write_settings(site.root, make_settings(**values))
    assert "in 1 privacy units (patient)" in run("ingest", hospital / "test")
    by_name = r"IM(?P<patient>\d+)"
    rule = rule_from(site.settings, pattern=by_name)
    assert (rule.patient_pattern, rule.kind) == (by_name, "")
    with pytest.raises(UnitRuleError, match="'scan' is no unit; choose one of auto, patient"):
        run("ingest", hospital / "test", "--unit", "scan")
    with pytest.raises(UnitRuleError, match=r"\(\?P<patient>"):
        run("ingest", hospital / "test", "--patient-pattern", r"IM(\d+)")


def test_the_relation_is_the_ledgers():
    from privacy import ADD_OR_REMOVE_ONE

    assert ADD_OR_REMOVE_ONE.replace("_", " ") == RELATION

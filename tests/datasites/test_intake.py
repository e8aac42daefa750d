"""`dura site ingest` over real DICOM files: whose data a unit is, said everywhere; what stays out.

Proven: patients by PatientID, test patients who are in training left out and counted, counts of the
card within their noise and paid for, the key private, no identifier anywhere below the site; the
unit never weakens unless it is asked for by name, and a single image is called one everywhere.
"""

from __future__ import annotations

import stat

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from datasites import intake
from datasites.card import SIDE_NOISE, SideCounts
from datasites.cli import budget, decisions
from datasites.cli import site as site_cli
from datasites.ingest import IngestError, UnitRuleError, load_shard
from datasites.intake import rule_from, take_in
from datasites.settings import make_settings, write_settings
from datasites.site import Site
from models import draw_phantoms
from privacy import RELATION, os_rng, per_unit

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
    for count, what in (
        (card.joined_units, "hold several patients' numbers"),
        (card.straddling_units, "had images in both folders"),
    ):
        assert f"about {count:.0f} of them {what}, noised by 20" in said
    assert (card.unit, load_shard(site.shard("train")).unit_kind) == ("patient", "patient")
    assert None not in (card.joined_units, card.straddling_units)
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
    plain = intake.NOTHING_BESIDE
    both = SideCounts(joined=0, straddling=1)
    assert plain.noise_multiplier == pytest.approx(10.0)
    site = made()
    take_in(site, hospital / "train", hospital / "test", actor="ann")
    (event,) = site.ledger.account().spent_events()
    assert event.noise_multiplier == pytest.approx(both.noise_multiplier)
    # One unit that moves the histogram and both counts by 1 moves the released vector by 1.
    one = both.with_histogram(np.array([1.0, 0.0]))
    other = SideCounts(joined=1, straddling=0).with_histogram(np.zeros(2))
    assert np.linalg.norm(one - other) == pytest.approx(1.0)
    noised = np.array([both.split(both.with_histogram(np.array([3.0, 4.0])))[0]])
    np.testing.assert_allclose(noised, [[3.0, 4.0]])
    draws = os_rng().normal(0.0, both.noise_multiplier, (4000, 4)) + 10 * both.noise_multiplier
    counts = np.array([both.split(draw)[1:] for draw in draws])
    np.testing.assert_allclose(counts.std(axis=0), SIDE_NOISE, rtol=0.1)


def test_no_weaker_unit_unless_it_is_asked_for_by_name(made, run, hospital, tmp_path, dicom):
    run("ingest", hospital / "train")
    before = made().card()
    for path in (hospital / "train").rglob("*.dcm"):
        plain = np.frombuffer(path.read_bytes()[-8192:], np.uint16).reshape(64, 64)
        target = tmp_path / "plain" / path.parent.name / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((plain // 8).astype(np.uint8)).save(target)
    entries = len(list(made().ledger.entries()))
    with pytest.raises(UnitRuleError, match=r"--patient-csv.*--unit group.*nothing was changed"):
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
    # The stronger one needs no asking.
    assert "(patient)" in run("ingest", hospital / "train")


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
    values = site.settings.model_dump() | {"patient_csv": str(table)}
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

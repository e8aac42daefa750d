"""A study over a hospital that took in DICOM files: patients are the unit, to the auditor's page.

Real ingest by the owner's command, real job in its sandbox, real receipt, and the audit of the
ledger that the hospital would hand over.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from datasites.cli import decisions
from datasites.cli import site as site_cli
from datasites.plans.answers import Answer, PlanDecision
from models import draw_phantoms
from orchestrator.audit.html import render_audit
from orchestrator.audit.report import make_report
from privacy import Unit, per_unit, signed_receipt_from_json

CLASSES = ("glioma", "notumor")
HOSPITAL = "a@hospital.example"
assert decisions.app is site_cli.app


@pytest.fixture
def folders(tmp_path, dicom):
    """8 patients with 2 slices each in training; 4 in test, of whom one is in training."""
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 12), size=48, seed=21)
    order = np.argsort(np.arange(len(drawn.labels)) % 12, kind="stable")
    for index, image in enumerate(drawn.images[order]):
        part, patient = ("train", index // 2) if index < 16 else ("test", index // 2 - 1)
        path = tmp_path / part / CLASSES[int(drawn.labels[order][index])] / f"{index}.dcm"
        dicom(path, np.asarray(image).astype(np.uint16) * 4, PatientID=f"MRN{patient}")
    return tmp_path / "train", tmp_path / "test"


def test_patients_are_the_unit_from_the_folder_to_the_audit(world, folders, until, tmp_path):
    train, test = folders
    words = ["ingest", str(world.site.root), str(train), "--test", str(test), "--unit", "patient"]
    said = CliRunner().invoke(site_cli.app, words)
    assert said.exception is None, said.exception
    assert "in 8 privacy units (patient)" in said.output
    assert "2 test images of 1 units were left out" in said.output
    card = world.site.card().model_copy(update={"units": 16.0})
    (world.site.root / "card.json").write_text(card.model_dump_json())

    world.submit_plan()
    agent = world.start()
    agent.step()
    review = CliRunner().invoke(site_cli.app, ["show", str(world.site.root), world.bundle.sha256])
    assert f"every epsilon at delta 1e-05 {per_unit('patient')}" in review.output
    assert f"epsilon is {per_unit('patient')}: all images of one patient" in review.output
    world.approve()
    agent.step()
    decision = PlanDecision.model_validate_json(world.answers("plan-1")["decision.json"])
    assert (decision.approved, decision.unit) == (True, "patient")
    world.ask(world.task("t1"))
    until(agent, lambda: world.answer("t1"))
    answer = Answer.model_validate_json(world.answers("t1")["answer.json"])
    assert signed_receipt_from_json(json.loads(answer.receipt)).receipt.unit is Unit.PATIENT
    assert world.site.ledger.account().units == ("patient",)
    approved = [one.entry for one in world.site.ledger.entries() if "approved" in one.entry.kind]
    assert approved[-1].detail["unit"] == "patient"
    assert approved[-1].detail["relation"] == "add_or_remove_one"

    run = tmp_path / "run"
    (run / "receipts" / HOSPITAL).mkdir(parents=True)
    shutil.copy(world.site.ledger_path, run / "ledger.jsonl")
    (run / "keys.json").write_text(json.dumps({HOSPITAL: world.site.key.public_hex}))
    (run / "receipts" / HOSPITAL / "t1.json").write_text(answer.receipt)
    report = make_report(run)
    site = report.to_json()["sites"][HOSPITAL]
    assert (site["unit"], site["relation"]) == ("patient", "add or remove one unit")
    (spend,) = [event for event in site["events"] if event["reservation"] == "t1"]
    assert spend["unit"] == "patient"
    assert "per patient (add or remove one unit)" in render_audit(report)

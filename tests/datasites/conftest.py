"""Plans, approvals and participants that the tests of this package share."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from datasites.plans import (
    Approval,
    DeclaredOutput,
    GeneratorPart,
    ModelPart,
    Plan,
    Range,
    ReportPart,
    SiteState,
    TrainPart,
    make_bundle,
)
from models.training_scripts.tiny_encoder import write_tiny as write_tiny_encoder

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RESEARCHER = "researcher@university.example"
PLAN = "0" * 64
KEY = "0000-1111-2222-3333-4444-5555-6666-7777"


@pytest.fixture(scope="session")
def plan():
    return Plan(
        study="study",
        researcher=RESEARCHER,
        classes=("glioma", "meningioma", "notumor", "pituitary"),
        rounds=3,
        model=ModelPart(name="small_cnn", image_size=64),
        train=TrainPart(
            steps=5,
            sampling_rate=0.3,
            noise_multiplier=1.2,
            clipping_norm=1.0,
            learning_rate=Range(low=0.0, high=1.0),
        ),
        generator=GeneratorPart(
            steps=4, sampling_rate=0.2, noise_multiplier=2.0, clipping_norm=1.0, learning_rate=1e-3
        ),
        reports=ReportPart(cases=2, metrics_noise_multiplier=5.0),
        outputs=(
            DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),
            DeclaredOutput(name="reports.json", kind="report", max_bytes=100_000),
        ),
    )


@pytest.fixture(scope="session")
def own_encoder(tmp_path_factory):
    """The folder of an encoder on a backbone of random weights; not to be changed."""
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="session")
def bundle(plan):
    return make_bundle(plan, None)


@pytest.fixture(scope="session")
def approval(bundle):
    return Approval(
        decision="approved",
        plan_sha256=bundle.sha256,
        runtime_sha256="r" * 64,
        dataset_version="d" * 64,
        researcher=RESEARCHER,
        researcher_key=KEY,
        reviewers=("ann",),
        reason="fine",
        max_rounds=3,
        expires="2026-07-01T00:00:00.000Z",
        standing_release=True,
        decided="2026-05-01T00:00:00.000Z",
    )


@pytest.fixture(scope="session")
def at():
    return SiteState(
        sender=RESEARCHER,
        sender_key=KEY,
        runtime_sha256="r" * 64,
        dataset_version="d" * 64,
        rounds_started=(),
        has_generator=True,
        quorum=1,
        now=NOW,
    )


@pytest.fixture
def changed():
    return replace


@pytest.fixture
def site(tmp_path):
    """A new site with a real ledger: epsilon 8 at delta 1e-5."""
    from datasites.site.settings import make_settings
    from datasites.site.site import Site
    from privacy import Budget

    settings = make_settings(
        name="A", email="owner@hospital-a.example", relay=f"file://{tmp_path}/relay"
    )
    budget = Budget(epsilon=8.0, delta=1e-5)
    return Site.create(tmp_path / "site", settings, budget=budget, actor="owner")


@pytest.fixture(scope="session")
def case_facts():
    from models import CaseFacts

    return CaseFacts(
        hospital="A",
        case_id="case-0123abcd",
        predicted="glioma",
        probabilities={"glioma": 0.9131, "meningioma": 0.05, "notumor": 0.0269, "pituitary": 0.01},
        model_sha256="ab" * 32,
        dataset_version="cd" * 32,
        epsilon=2.5,
        delta=1e-5,
        privacy_unit="patient",
    )


@pytest.fixture(scope="session")
def cohort_facts():
    """Facts of a cohort report, with some fields changed."""
    from models import ClassScores, CohortFacts

    def facts(**fields):
        scores = ClassScores(precision=0.8, recall=0.9, f1=0.847)
        base = {
            "kind": "hospital",
            "name": "A",
            "n_cases": 40,
            "accuracy": 0.85,
            "intervals": {"accuracy": (0.7, 0.95)},
            "macro_f1": 0.847,
            "per_class": {"glioma": scores, "notumor": scores},
            "confusion": {
                "glioma": {"glioma": 18.0, "notumor": 2.0},
                "notumor": {"glioma": 4.0, "notumor": 16.0},
            },
            "rounds": 3,
            "epsilon": 2.5,
            "delta": 1e-5,
            "privacy_unit": "patient",
            "noised": True,
            "model_sha256": "ab" * 32,
        }
        return CohortFacts(**{**base, **fields})

    return facts


@pytest.fixture(scope="session")
def drafted():
    """A draft as a job leaves it: written by the template from facts, so it verifies."""
    from datasites.worker.protocol import DraftReport
    from models.reports.language.layout import compose
    from models.reports.language.rendering import render
    from models.reports.language.template import template_body

    def draft(facts, name="case-1", **fields):
        base = {
            "name": name,
            "kind": facts.kind,
            "text": render(compose(facts, template_body(facts), "template"), facts).text,
            "facts": facts.to_json(),
            "source": "template",
            "attempts": 3,
        }
        return DraftReport(**{**base, **fields})

    return draft


@pytest.fixture
def grant(site, approval, changed):
    """Write the site's decision on the plan that items are made under."""

    from datasites.site.plan_store import PlanStore

    def write(**fields):
        expires = fields.pop("expires", "2099-01-01T00:00:00.000Z")
        decision = changed(approval, plan_sha256=PLAN, expires=expires, **fields)
        PlanStore(site).decide(decision)
        return decision

    return write


@pytest.fixture
def desk(site, grant):
    from datasites.desk import Desk

    grant()
    return Desk(site)


@pytest.fixture
def held(desk, drafted, case_facts, cohort_facts):
    """Put an item of some kind on the desk."""

    from datasites.desk import Item, ItemKind, ItemState

    def hold(name="q1", kind=ItemKind.HOSPITAL_REPORT, plan=PLAN, facts=None, **fields):
        files = {"weights.safetensors": b"weights"}
        if kind is ItemKind.EVALUATION:
            files = {"evaluation.json": b"{}"}
        elif kind is not ItemKind.WEIGHTS:
            made = {ItemKind.CASE_REPORT: case_facts, ItemKind.HOSPITAL_REPORT: cohort_facts()}
            facts = facts or made.get(kind) or cohort_facts(kind="global", noised=False)
            files = {f"{kind.value}.json": drafted(facts, **fields).model_dump_json().encode()}
        item = Item(
            id=name,
            kind=kind,
            study="study",
            plan_sha256=plan,
            researcher="ann@university.example",
            request="q1",
            job="job",
            state=ItemState.HELD,
            files=tuple(files),
            note="template",
        )
        desk.hold(item, files)
        return desk.get(name)

    return hold


@pytest.fixture
def kinds(site):
    """Kinds of the ledger's entries about one item, in order."""
    return lambda resource: [
        one.entry.kind for one in site.ledger.entries() if one.entry.resource == resource
    ]


@pytest.fixture(scope="session")
def dicom():
    """Write a DICOM file: stored values uint16 [H, W] or int16, and any further tags by keyword."""
    import numpy as np
    from pydicom import Dataset, dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    def write(path, stored, **tags):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
        data.PatientName, data.PatientID, data.InstitutionName = "Doe^Jane", "P-1", "St Mary"
        data.Rows, data.Columns = stored.shape[-2:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, int(stored.dtype == np.int16)
        data.PixelData = stored.tobytes()
        for name, value in tags.items():
            if value is None:
                del data[name]
            else:
                setattr(data, name, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        dcmwrite(path, data, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="session")
def folder_of_phantoms(tmp_path_factory):
    """A training and a test folder of phantoms, four classes, without any patient's number."""
    import numpy as np
    from PIL import Image

    from models import draw_phantoms

    root = tmp_path_factory.mktemp("phantoms")
    for name, count, seed in (("train", 4, 11), ("test", 2, 12)):
        classes = ("glioma", "meningioma", "notumor", "pituitary")
        drawn = draw_phantoms(counts=dict.fromkeys(classes, count), size=32, seed=seed)
        for index, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
            folder = root / name / classes[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(image)).save(folder / f"{index}.png")
    return root / "train", root / "test"

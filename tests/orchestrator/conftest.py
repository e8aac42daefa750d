"""A study on paper, and hospitals that are simulated only in what they compute.

`SimulatedHospital` signs real receipts with a real key and writes real answers; what it answers is
up to a test. `SimulatedLink` stands in for the network alone: the researcher on top of it, which
checks receipts, hashes and signatures, is the real one.
"""

import json
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    import datasites.syftnet  # noqa: F401

from datasites import (
    ANSWER_FILE,
    CORRECTION_FILE,
    COUNTERSIGNATURE_FILE,
    DECISION_FILE,
    TASK_FILE,
    Answer,
    DataCard,
    PlanDecision,
    Status,
    make_bundle,
)
from datasites.plans.events import task_event
from datasites.plans.tasks import parse_task
from models import evaluate, initial_weights, weights_from_bytes, weights_to_bytes
from orchestrator.hospitals.replies import HospitalClient, plan_job
from orchestrator.rounds.run_folder import RunFolder
from orchestrator.rounds.study_run import StudyRun
from orchestrator.study.recipes import recipe_for
from orchestrator.study.study import STUDY_FILE, read_study, study_plan
from orchestrator.study.template import study_template
from privacy import (
    Checkpoint,
    Receipt,
    SigningKey,
    Unit,
    canonical_bytes,
    countersignature_from_json,
    epsilon,
    event_to_json,
    sha256_hex,
    sign_receipt,
    signed_receipt_to_json,
)

SITES = ("a@hospital.example", "b@hospital.example", "c@hospital.example")
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
WEIGHTS = "weights.safetensors"
TIME = "2026-06-01T00:00:00.000Z"


def weights_that(change):
    """An answer whose weights are `change`d global ones, properly signed."""

    def make(hospital, task, data):
        weights = weights_from_bytes(data)
        return hospital.answer(task, {WEIGHTS: weights_to_bytes(change(weights))})

    return make


def signed_json(receipt, key):
    return canonical_bytes(signed_receipt_to_json(sign_receipt(receipt, key))).decode()


@pytest.fixture
def study_text():
    """The text of a study.toml over three hospitals, quorum 2."""
    return study_template(
        name="tumours",
        email="researcher@university.example",
        relay="file:///nowhere",
        hospitals=SITES,
        epsilon=7.8,
        delta=1e-5,
        recipe=recipe_for("small_cnn", rounds=2),
    )


@pytest.fixture
def write_study(tmp_path, study_text):
    """Write the study with pieces of its text replaced; returns its folder."""

    def write(*changes):
        text = study_text
        for old, new in changes:
            assert old in text, f"the template does not say {old!r}"
            text = text.replace(old, new, 1)
        (tmp_path / STUDY_FILE).write_text(text)
        return tmp_path

    return write


@dataclass
class SimulatedHospital:
    """What one hospital holds and how it answers; `answers` maps a part of a request to a
    function that makes the files of the answer (default: an honest one)."""

    email: str
    bundle: object
    key: SigningKey = field(default_factory=SigningKey.generate)
    answers: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    corrections: list = field(default_factory=list)
    files: dict = field(default_factory=dict)
    countersigned: list = field(default_factory=list)
    events: list = field(default_factory=list)
    margin: float = 0.5

    def card(self):
        return DataCard(
            site=self.email[0],
            email=self.email,
            public_key=self.key.public_hex,
            dataset_version="0" * 64,
            classes=CLASSES,
            image_size=64,
            unit="patient",
            units=40.5,
            units_per_class=(10.0, 10.0, 10.0, 10.5),
            noise_multiplier=10.0,
            mock="mock",
        )

    def take(self, job, files):
        if COUNTERSIGNATURE_FILE in files:
            self.countersigned.append(
                countersignature_from_json(json.loads(files[COUNTERSIGNATURE_FILE]))
            )
            return
        if job in self.asked:
            return
        self.asked.append(job)
        if TASK_FILE not in files:
            return
        task = parse_task(files[TASK_FILE])
        if CORRECTION_FILE in files:
            assert sha256_hex(files[CORRECTION_FILE]) == task.correction_sha256
            self.corrections.append(weights_from_bytes(files[CORRECTION_FILE]))
        make = next((make for part, make in self.answers.items() if part in job), None)
        made = (make or type(self).honest)(self, task, files.get(WEIGHTS))
        if made is not None:
            self.files.setdefault(job, {}).update(made)

    def receipt(self, task, outputs, **changed):
        event = task_event(self.bundle.plan, task)
        self.events.append(event)
        values = {
            "site": self.email,
            "study": "tumours",
            "request": task.request,
            "round": getattr(task, "round", 0),
            "plan_sha256": self.bundle.sha256,
            "dataset_version": "v",
            "event": event_to_json(event),
            "epsilon_total": self.margin + epsilon(self.events, delta=1e-5),
            "delta": 1e-5,
            "unit": Unit.PATIENT,
            "disclosed": {},
            "outputs": {name: sha256_hex(data) for name, data in outputs.items()},
            "checkpoint": Checkpoint(sequence=3 * len(self.events), entry_hash="a" * 64),
            "time": TIME,
        }
        return signed_json(Receipt(**(values | changed)), self.key)

    def answer(self, task, outputs, *, receipt=None, **changed):
        values = {
            "request": task.request,
            "status": Status.DONE,
            "receipt": receipt or self.receipt(task, outputs),
        }
        made = Answer(**(values | changed))
        return {ANSWER_FILE: made.model_dump_json().encode(), **outputs}

    def honest(self, task, weights):
        if task.kind != "train":
            return self.answer(task, {})
        moved = {name: value + 0.01 for name, value in weights_from_bytes(weights).items()}
        return self.answer(task, {WEIGHTS: weights_to_bytes(moved)})

    def no(self, task, reason):
        made = Answer(request=task.request, status=Status.REFUSED, reason=reason)
        return {ANSWER_FILE: made.model_dump_json().encode()}

    def decide(self, **values):
        decision = PlanDecision(plan_sha256=self.bundle.sha256, **values)
        job = self.files.setdefault(plan_job(self.bundle), {})
        job[DECISION_FILE] = decision.model_dump_json().encode()


class SimulatedLink:
    """The network of `SimulatedHospital`s."""

    def __init__(self, hospitals):
        self.hospitals = hospitals
        self.tasks = {}
        self.interrupt_on = ""
        self.signing_key = SigningKey.generate()

    def collect(self):
        return []

    def submit(self, *, site, job, files):
        if self.interrupt_on and self.interrupt_on in job:
            self.interrupt_on = ""
            raise KeyboardInterrupt
        self.tasks.setdefault((site, job), dict(files))
        self.hospitals[site].take(job, files)

    def sent(self, site, job):
        return self.tasks.get((site, job), {})

    def received(self, site, job):
        return dict(self.hospitals[site].files.get(job, {}))

    def card(self, site):
        return self.hospitals[site].card().model_dump_json().encode()


class SimulatedResearcher(HospitalClient):
    """The real researcher over a simulated network."""

    def __init__(self, folder, study, hospitals):
        self.study = study
        self.receipts = folder / "newest-receipts"
        self.link = SimulatedLink(hospitals)


class Told:
    """A watcher that remembers."""

    def __init__(self):
        self.events = []

    def begin(self, what, hospitals):
        self.events.append(("begin", what, hospitals))

    def answered(self, hospital, outcome):
        self.events.append(("answered", hospital, outcome))

    def scored(self, score):
        self.events.append(("scored", score.round))


@dataclass
class World:
    """A study over simulated hospitals and one run of it."""

    study: object
    bundle: object
    hospitals: dict
    researcher: SimulatedResearcher
    folder: RunFolder
    told: Told = field(default_factory=Told)

    def run(self, state=None):
        """A `StudyRun` on the state that lies on disk (or a new one)."""
        if state is None:
            state = self.folder.load()
        return StudyRun(
            self.researcher,
            self.bundle,
            {site: self.researcher.card(site) for site in SITES},
            folder=self.folder,
            state=state,
            score=score,
            watcher=self.told,
        )

    def train(self):
        return self.run().train(first_weights())


def first_weights():
    return initial_weights("small_cnn", text=None, classes=4, image_size=64, seed=0)


def score(_weights):
    probabilities = np.full((8, 4), 0.25)
    return evaluate(probabilities, np.arange(8) % 4, CLASSES)


@pytest.fixture(scope="session")
def paper(tmp_path_factory):
    """The checked study and its calibrated bundle, once."""
    folder = tmp_path_factory.mktemp("paper")
    text = study_template(
        name="tumours",
        email="researcher@university.example",
        relay="file:///nowhere",
        hospitals=SITES,
        epsilon=7.8,
        delta=1e-5,
        recipe=recipe_for("small_cnn", rounds=2),
    ).replace("round_timeout_s = 3600.0", "round_timeout_s = 1.0\n")
    (folder / STUDY_FILE).write_text(text)
    study = read_study(folder)
    return study, make_bundle(study_plan(study), None)


@pytest.fixture
def make_world(tmp_path):
    def make(study, bundle):
        hospitals = {site: SimulatedHospital(site, bundle) for site in SITES}
        folder = RunFolder(tmp_path / "run")
        folder.start(study=study.name, plan_sha256=bundle.sha256, test=tmp_path)
        return World(
            study, bundle, hospitals, SimulatedResearcher(tmp_path, study, hospitals), folder
        )

    return make


@pytest.fixture
def world(paper, make_world):
    return make_world(*paper)

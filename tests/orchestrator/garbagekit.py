"""Every way to spoil a document, field by field, and hospitals over a real relay that send such.

`RelayHospital` is a simulated hospital (`conftest.SimulatedHospital`: real key, real receipts, no
training) behind a real `OwnerLink`: pairing, encryption, envelopes and the folder relay are real,
as is everything at the researcher's.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from datasites import (
    DECISION_FILE,
    EVALUATION_FILE,
    HospitalEvaluation,
    Participant,
    PlanDecision,
    ReleasedReport,
    WithheldNotice,
)
from datasites.desk.released import _body
from datasites.syftnet import OwnerLink
from orchestrator.conduct import RunService
from orchestrator.rounds.run_folder import RunFolder
from orchestrator.study.study import STUDY_FILE
from privacy import Purpose, sha256_hex, sign_document
from tests.orchestrator.conftest import CLASSES, SITES, TIME, SimulatedHospital, Told

RESEARCHER = "researcher@university.example"

DEEP = "[" * 5_000
VALUES = {
    "null": "null",
    "huge": "1e308",
    "beyond all numbers": "1e999",
    "an integer of many digits": "9" * 4_000,
    "negative": "-1",
    "not a number": "NaN",
    "infinite": "Infinity",
    "true": "true",
    "text": '"x"',
    "huge text": json.dumps("x" * 3_000_000),
    "not ASCII": json.dumps("\u202eété\u0000", ensure_ascii=True),
    "a lone surrogate": '"\\ud800"',
    "a path": '"../../escaped"',
    "a list": "[]",
    "an object": "{}",
    "nested": DEEP + "]" * 5_000,
    "nested without end": DEEP,
}


def spoiled(data, *, fields=None):
    """Label and bytes of everything that one document can be spoiled to."""
    known = json.loads(data)
    for name in fields or known:
        rest = {key: json.dumps(value) for key, value in known.items()}
        for label, value in VALUES.items():
            yield f"{name}: {label}", _written({**rest, name: value})
        yield f"{name}: missing", _written({k: v for k, v in rest.items() if k != name})
        yield f"{name}: twice", _written(rest)[:-1] + f', "{name}": 0}}'.encode()
    yield "a field more", data.rstrip()[:-1] + b', "zz": 1}'
    yield "nothing", b""
    yield "no object", b"7"
    yield "half", data[: len(data) // 2]
    yield "not UTF-8", b"\xff\xfe" + data
    yield "nested", DEEP.encode()
    yield "zeros", bytes(1_000)


def _written(fields):
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}").encode()


@dataclass
class GarbageHospital(SimulatedHospital):
    """One that answers report tasks too; `spoil` maps a document's name to what makes garbage."""

    spoil: dict = field(default_factory=dict)

    def made(self, name, data):
        return self.spoil.get(name, lambda honest: honest)(data)

    def card_bytes(self):
        return self.made("card", self.card().model_dump_json().encode())

    def decision_bytes(self):
        decision = PlanDecision(
            plan_sha256=self.bundle.sha256,
            approved=True,
            decided=TIME,
            budget=8.0,
            max_rounds=self.bundle.plan.rounds,
            expires="2027-06-01T00:00:00.000Z",
            standing_release=True,
            epsilon_plan=7.0,
            delta=1e-5,
            unit="patient",
        )
        return self.made("decision", decision.model_dump_json().encode())

    def answer(self, task, outputs, *, receipt=None, **changed):
        files = super().answer(task, outputs, receipt=receipt, **changed)
        return {name: self.made(name, data) for name, data in files.items()}

    def honest(self, task, weights):
        if task.kind != "report":
            return super().honest(task, weights)
        evaluation = self.made("evaluation", self.evaluation(task))
        files = self.answer(task, {EVALUATION_FILE: evaluation})
        report = self.report(task)
        notice = WithheldNotice(item=f"{task.request}-global", kind="global")
        files[f"{report.item}.report.json"] = self.made("report", report.model_dump_json().encode())
        files[f"{notice.item}.withheld.json"] = self.made(
            "notice", notice.model_dump_json().encode()
        )
        return files

    def evaluation(self, task):
        part = self.bundle.plan.reports
        count = len(CLASSES)
        counts = HospitalEvaluation(
            classes=CLASSES,
            weights_sha256=task.weights_sha256,
            noise_multiplier=part.metrics_noise_multiplier,
            confusion=tuple((10.0,) * count for _ in range(count)),
            histograms=tuple(((5.0,) * part.score_bins,) * 2 for _ in range(count)),
        )
        return counts.model_dump_json().encode()

    def report(self, task):
        text = "nothing to say"
        report = ReleasedReport(
            item=f"{task.request}-hospital",
            kind="hospital",
            hospital=self.email[0],
            study="tumours",
            plan_sha256=self.bundle.sha256,
            request=task.request,
            text=text,
            text_sha256=sha256_hex(text.encode()),
            facts="{}",
            source="template",
            released=TIME,
            public_key=self.key.public_hex,
        )
        signature = sign_document(_body(report), purpose=Purpose.RELEASED_REPORT, key=self.key)
        return report.model_copy(update={"signature": signature})


class RelayHospital:
    """A hospital's real end of the network, and what answers behind it."""

    def __init__(self, hospital, *, home, relay):
        self.hospital = hospital
        self.link = OwnerLink(
            Participant(hospital.email, relay, home / "syftbox", home / "keys", is_site=True),
            lambda peer, code: None,
            clock=lambda: float("inf"),
        )
        self._sent = {}

    def pair(self, link):
        link.request(self.hospital.email)
        self.link.approve_peer(RESEARCHER, link.fingerprint)
        link.pin(self.hospital.email, self.link.fingerprint)
        self.link.publish_card(recipient=RESEARCHER, card=self.hospital.card_bytes())

    def step(self):
        """Take what came, and send what is new."""
        for job in self.link.fetch():
            self.hospital.take(job.name, dict(job.files))
            if job.name.startswith("plan-"):
                mine = self.hospital.files.setdefault(job.name, {})
                mine.setdefault(DECISION_FILE, self.hospital.decision_bytes())
        for job, files in self.hospital.files.items():
            sent = self._sent.setdefault(job, set())
            new = {name: data for name, data in files.items() if name not in sent}
            if new:
                self.link.publish(recipient=RESEARCHER, job=job, files=new)
                sent.update(new)


@dataclass
class RelayWorld:
    """A study's folder, its conductor, and hospitals that answer whenever it looks at the relay."""

    conductor: RunService
    hospitals: dict
    out: Path
    test: Path
    told: Told = field(default_factory=Told)

    @classmethod
    def build(cls, root, *, text, test, spoil):
        """Three paired hospitals that have the plan; `spoil` is the last one's."""
        relay = root / "relay"
        relay.mkdir()
        study = root / "study"
        study.mkdir()
        (study / STUDY_FILE).write_text(text.replace("file:///nowhere", relay.as_uri()))
        conductor = RunService(study)
        bundle = conductor.office.draft()
        spoils = {site: {} for site in SITES} | {SITES[-1]: spoil}
        hospitals = {
            site: RelayHospital(
                GarbageHospital(site, bundle, spoil=spoils[site]),
                home=root / site,
                relay=relay.as_uri(),
            )
            for site in SITES
        }
        link, collect = conductor.researcher.link, conductor.researcher.link.collect
        for hospital in hospitals.values():
            hospital.pair(link)

        def answered_and_collected():
            for hospital in hospitals.values():
                hospital.step()
            return collect()

        link.collect = answered_and_collected
        conductor.office.submit()
        return cls(conductor, hospitals, root / "run", test)

    def run(self):
        return self.conductor.run(self.out, self.test, self.told, wait_s=20.0)

    @property
    def state(self):
        return RunFolder(self.out).load()

    @property
    def summary(self):
        return (self.out / "summary.json").read_text()

"""A hostile researcher, Ann, against a real hospital: she draws from all that her key lets her do.

Her moves: plans (good, altered, not canonical, oversized, of somebody else, under a name that is
taken), tasks (good, outside the plan, of unknown plans, under taken ids, with other files or hashes
than they name, no tasks at all), countersignatures (good, of nothing, of a path, of any type),
receipts, asking again, floods, messages under others' names, garbage; she is turned away and
paired again, with the same key or another. The hospital's people approve and revoke; Bob is honest.

What must hold after each move is said in `machinery.watch`.
"""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest
from hypothesis import strategies as st

from datasites.errors import DatasitesError
from datasites.owner import pairing as peers
from datasites.plans import GenerateTask, ReportTask, task_bytes
from datasites.plans.tasks import parse_task
from datasites.syftnet import ResearcherLink
from privacy import canonical_bytes, countersign, countersignature_to_json, sha256_hex
from privacy.ledger.receipts import signed_receipt_from_json
from tests.hostile.machinery.atsite import START, SiteMachine
from tests.hostile.machinery.driving import PICK, move, picked
from tests.hostile.machinery.ground import (
    ANN,
    BOB,
    BOBS,
    OWN_WORDS,
    PLANS,
    QUORUM,
    REVIEWERS,
    A,
    _researcher,
)  # fmt: skip
from tests.hostile.machinery.standin import WEIGHTS

PLAN = st.integers(0, len(PLANS) - 1)
PLAN_HOWS = (
    "good", "good", "altered", "spaces", "a key twice", "carriage return", "oversized",
    "of somebody else", "under a taken name", "without a plan", "with a file more", "of nobody",
)  # fmt: skip
WITHIN = ("good", "good", "good", "report", "an old receipt")
BEYOND = (
    "more steps", "rate", "mu", "round beyond", "round before", "unknown plan", "Bob's plan",
    "generate", "a correction",
)  # fmt: skip
ODD_FILES = (
    "other weights", "no weights", "a file more", "taken id", "Bob's id", "an id that is a path",
    "a long id", "no json", "not a number", "a field more", "deep", "a receipt of nothing",
)  # fmt: skip
FIELDS: dict[str, dict[str, object]] = {
    "more steps": {"steps": 9}, "rate": {"learning_rate": 1.5}, "mu": {"proximal_mu": 0.5},
    "round before": {"round": 1}, "unknown plan": {"plan_sha256": "f" * 64},
    "a correction": {"correction_sha256": sha256_hex(b"x")},
}  # fmt: skip
FILES = {
    "other weights": {WEIGHTS: START[:-1] + b"x"}, "a file more": {"model.py": b"import os"},
    "a correction": {"correction.safetensors": b"x"},
    "a receipt of nothing": {"receipt.json": b'{"receipt": {}}'},
}  # fmt: skip
SIGN_HOWS = (
    "good", "good", "of nothing", "of a path", "another's key", "a list", "a deep one", "of Bob's",
    "a hash that is none", "without its receipt",
)  # fmt: skip
SPEAK_HOWS = ("names Bob", "names the hospital", "in Bob's place", "as Bob, signed by Ann")
ODD_HOWS = ("garbage", "empty", "a bomb of zeros", "many values", "deep", "hidden file", "a state")


class HostileResearcher(SiteMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def fresh(self, what: str) -> str:
        self.number += 1
        return f"{what}-{self.number}"

    def maybe_step(self, stepped: bool) -> None:
        if stepped:
            self.step()

    # --- plans ------------------------------------------------------------------------------

    @move(which=PLAN, how=st.sampled_from(PLAN_HOWS), stepped=st.booleans())
    def ann_submits_a_plan(self, which: int, how: str, stepped: bool) -> None:
        files, job = dict(PLANS[which].files), self.fresh("plan")
        text = files["plan.json"]
        match how:
            case "altered":
                files["plan.json"] = text.replace(b'"rounds": 4', b'"rounds": 999')
            case "spaces":
                files["plan.json"] = text.replace(b": ", b":  ", 1)
            case "a key twice":
                files["plan.json"] = text.replace(b"{", b'{"rounds": 999,', 1)
            case "carriage return":
                files["plan.json"] = text + b"\r"
            case "oversized":
                files["plan.json"] = text + b" " * 300_000
            case "of somebody else":
                files = dict(BOBS.files)
            case "under a taken name":
                job = "plan-0"
            case "without a plan":
                files = {"model.py": b"x = 1\n"}
            case "with a file more":
                files["model.py"] = b"import os\n"
            case "of nobody":
                files["plan.json"] = b"{}"
        self.post(files, job=job)
        self.maybe_step(stepped)

    @move(which=PLAN, standing=st.booleans())
    def the_reviewers_approve(self, which: int, standing: bool) -> None:
        for person in REVIEWERS[:QUORUM]:
            self.approve(PLANS[which], person, standing=standing)

    @move(which=PLAN, who=PICK)
    def a_reviewer_revokes(self, which: int, who: int) -> None:
        self.revoke(PLANS[which], picked(REVIEWERS, who))

    # --- tasks ------------------------------------------------------------------------------

    @move(which=PLAN, how=st.sampled_from(WITHIN), number=st.integers(1, 3), pick=PICK)
    def ann_asks_what_was_agreed(self, which: int, how: str, number: int, pick: int) -> None:
        self._ask(which, how, number, pick)
        self.step()

    @move(which=PLAN, how=st.sampled_from(BEYOND), number=st.integers(1, 3), stepped=st.booleans())
    def ann_asks_for_more(self, which: int, how: str, number: int, stepped: bool) -> None:
        self._ask(which, how, number, 0)
        self.maybe_step(stepped)

    @move(which=PLAN, how=st.sampled_from(ODD_FILES), pick=PICK, stepped=st.booleans())
    def ann_sends_an_odd_task(self, which: int, how: str, pick: int, stepped: bool) -> None:
        self._ask(which, how, 1, pick)
        self.maybe_step(stepped)

    def _ask(self, which: int, how: str, number: int, pick: int) -> None:
        job, files = self._task(which, how, number, pick)
        self.post(files, job=job)
        # In her book stands whatever parses: only what she asked in this form may ever run.
        with contextlib.suppress(DatasitesError):
            self.book.send(ANN, parse_task(files["task.json"]))

    def _task(self, which: int, how: str, number: int, pick: int) -> tuple[str, dict[str, bytes]]:
        name, bundle = self.fresh("t"), PLANS[which]
        if how == "Bob's plan":
            bundle = BOBS
        elif how in ("taken id", "Bob's id"):
            taken = f"bob-{1 + pick % max(1, self.rounds)}"
            name = taken if how == "Bob's id" else f"t-{pick % max(1, self.number)}"
        beyond = {"round": bundle.plan.rounds + number} if how == "round beyond" else {}
        task = self.train(name, bundle, **{"round": number, **FIELDS.get(how, {}), **beyond})
        files = {"task.json": self._text(task, how, number), WEIGHTS: START, **FILES.get(how, {})}
        if how in ("no weights", "generate"):
            del files[WEIGHTS]
        if how == "an old receipt":
            files["receipt.json"] = (picked(self._receipts(), pick) or "{}").encode()
        return self.fresh("job") if how in ("taken id", "Bob's id") else name, files

    def _text(self, task, how: str, number: int) -> bytes:
        told = json.loads(task_bytes(task))
        match how:
            case "report" | "generate":
                return task_bytes(self._other(task, how))
            case "an id that is a path":
                told["request"] = "../../approvals/x"
            case "a long id":
                told["request"] = "x" * 5000
            case "no json":
                return b"{" * number
            case "not a number":
                told["learning_rate"] = float("nan")
            case "a field more":
                told["approved"] = True
            case "deep":
                return b"[" * 50_000
        return json.dumps(told).encode()

    def _other(self, task, how: str):
        if how == "generate":
            return GenerateTask(request=task.request, plan_sha256=task.plan_sha256)
        return ReportTask(
            request=task.request, plan_sha256=task.plan_sha256, rounds=1, hospitals=1,
            weights_sha256=task.weights_sha256,
        )  # fmt: skip

    @move(pick=PICK, stepped=st.booleans())
    def ann_asks_again(self, pick: int, stepped: bool) -> None:
        """The same job with the same bytes, in a new message."""
        jobs = [name for (sender, name) in self.book.asked if sender == ANN]
        name = picked(jobs, pick)
        if name is not None and "/" not in name and len(name) < 100:
            task = self.book.asked[ANN, name][0]
            self.post({"task.json": task_bytes(task), WEIGHTS: START}, job=name)
        self.maybe_step(stepped)

    @move(count=st.integers(2, 6))
    def ann_floods(self, count: int) -> None:
        for _ in range(count):
            task = self.train(self.fresh("t"), PLANS[0], round=1)
            self.book.send(ANN, task)
            self.post({"task.json": task_bytes(task), WEIGHTS: START}, job=task.request)
        self.step()

    # --- countersignatures ------------------------------------------------------------------

    def _receipts(self, of: str = ANN) -> list[str]:
        told = [data for path, data in self.watch.read.get(of, []) if path.endswith("answer.json")]
        return [one for one in (json.loads(data).get("receipt") for data in told) if one]

    @move(how=st.sampled_from(SIGN_HOWS), pick=PICK, stepped=st.booleans())
    def ann_countersigns(self, how: str, pick: int, stepped: bool) -> None:
        text = picked(self._receipts(BOB if how == "of Bob's" else ANN), pick)
        files = {"countersignature.json": b"[]"}
        if text is not None:
            receipt = signed_receipt_from_json(json.loads(text)).receipt
            key = self.net.links[BOB if how == "another's key" else ANN].signing_key
            made = countersign(
                site=A, request=receipt.request, receipt_sha256=sha256_hex(text.encode()),
                checkpoint=receipt.checkpoint, key=key,
            )  # fmt: skip
            told = countersignature_to_json(made)
            match how:
                case "of nothing":
                    told["request"] = "never-asked"
                case "of a path":
                    told["request"] = "../../keys/signing"
                case "a list":
                    told = {key: [] for key in told}
                case "a deep one":
                    told["request"] = {"a": {"b": [[[1]]]}}
                case "a hash that is none":
                    told["receipt_sha256"] = "é" * 64
            files = {"countersignature.json": canonical_bytes(told)}
            if how != "without its receipt":
                files["receipt.json"] = text.encode()
        self.post(files, job=self.fresh("countersigned"))
        self.maybe_step(stepped)

    # --- messages that are none of hers, or none --------------------------------------------

    @move(how=st.sampled_from(SPEAK_HOWS), stepped=st.booleans())
    def ann_speaks_as_another(self, how: str, stepped: bool) -> None:
        task = self.train(self.fresh("spoofed"), BOBS, round=self.rounds + 1)
        files = {"task.json": task_bytes(task), WEIGHTS: START}
        says = {"names Bob": BOB, "names the hospital": A, "as Bob, signed by Ann": BOB}.get(
            how, ANN
        )
        box = ANN if how.startswith("names") else BOB
        self.post(files, job=task.request, says=says, box=box)
        self.maybe_step(stepped)

    @move(how=st.sampled_from(ODD_HOWS), stepped=st.booleans())
    def ann_sends_what_is_no_job(self, how: str, stepped: bool) -> None:
        job = self.fresh("odd")
        match how:
            case "garbage" | "empty":
                self.net.put(b"garbage" * 9 if how == "garbage" else b"", box=ANN)
            case "a bomb of zeros":
                self.post({"task.json": bytes(2_000_000)}, job=job)
            case "many values":
                self.post({"task.json": b"[" + b"0," * 300_000 + b"0]"}, job=job)
            case "deep":
                self.post({"countersignature.json": b"[" * 50_000}, job=job)
            case "hidden file":
                self.post({".hidden": b"x", "syft.pub.yaml": b"rules: []"}, job=job)
            case "a state":
                self.post({"../state.yaml": b"status: approved"}, job=job)
        self.maybe_step(stepped)

    @move(how=st.sampled_from(["turned away", "back", "back with a new key", "asks while paired"]))
    def ann_is(self, how: str) -> None:
        """The owner turns her away, or compares her key and pairs with her again."""
        link = peers.open_link(self.net.site)
        if how == "turned away":
            with contextlib.suppress(DatasitesError):
                peers.unpair(self.net.site, link, email=ANN, actor="owner", reason=OWN_WORDS)
                self.book.unpair(ANN)
            return
        if how == "back with a new key" and not self.book.keys[ANN]:
            shutil.rmtree(self.net.root / ANN / "keys")
            self.net.links[ANN] = ResearcherLink(_researcher(self.net.root, ANN))
        mine = self.net.links[ANN]
        mine.request(A)
        with contextlib.suppress(DatasitesError):
            peers.pair(self.net.site, link, email=ANN, code=mine.fingerprint, actor="owner")
            self.book.keys[ANN] = mine.fingerprint
            mine.pin(A, link.fingerprint)


@pytest.mark.timeout(3600)
def test_whatever_a_researcher_sends_every_invariant_holds(play_moves):
    made = play_moves(HostileResearcher)
    assert len(made) > 30

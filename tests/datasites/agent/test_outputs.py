"""What a job leaves, judged by a sandbox the test plays; then the desk, and what is sent.

Proven: outputs that break the declaration are refused, nothing of them leaves, and the reservation
stays spent; what was committed is the steps taken; held weights wait for the owner, withheld ones
are refused without a word of why; reports leave one by one, signed; synthetic images stay.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from datasites.desk import Desk, ItemState
from datasites.desk.released import check_released
from datasites.errors import OutputError, Reason, ReleaseRefusedError
from datasites.owner.plan_review import revoke
from datasites.plans import DeclaredOutput, GenerateTask, ReportTask, make_bundle
from datasites.plans.answers import EVALUATION_FILE, Answer, ReleasedReport, Status, WithheldNotice
from datasites.site.plan_store import PlanStore
from datasites.worker.protocol import DraftReports
from models import initial_weights, weights_to_bytes
from privacy import gaussian, sha256_hex

CLASSES = ["glioma", "notumor"]

CANARY = b"canary-of-an-unreleased-output-0123456789"


def _nan(weights: bytes) -> bytes:
    return weights[:-4] + np.float32(np.nan).tobytes()


def _wider(_weights: bytes) -> bytes:
    return weights_to_bytes(
        initial_weights("small_cnn", text=None, classes=3, image_size=32, seed=1)
    )


@pytest.mark.parametrize("spoil", [_nan, _wider, lambda data: data[:-1], lambda data: b""])
def test_weights_that_are_not_the_models_are_refused(by_hand, spoil):
    by_hand.begin(by_hand.world.task())
    by_hand.result(1)
    by_hand.write(weights__safetensors=spoil(by_hand.world.weights))
    with pytest.raises(OutputError, match="without data"):
        by_hand.finish()
    assert not Desk(by_hand.world.site).items()
    assert by_hand.world.site.ledger.account().states["t1"] == "reserved"


@pytest.mark.parametrize("steps", [0, 2])
def test_steps_that_were_not_reserved_are_refused(by_hand, steps):
    by_hand.begin(by_hand.world.task(steps=1))
    by_hand.result(steps)
    by_hand.write(weights__safetensors=by_hand.world.weights)
    with pytest.raises(OutputError, match="steps"):
        by_hand.finish()


def test_a_job_without_result_weights_or_with_a_link_is_refused(by_hand):
    by_hand.begin(by_hand.world.task())
    with pytest.raises(OutputError, match="result"):
        by_hand.finish()
    by_hand.write(result__json=b"{}")
    with pytest.raises(OutputError, match="malformed"):
        by_hand.finish()
    by_hand.result(1)
    with pytest.raises(OutputError, match="weights"):
        by_hand.finish()
    (by_hand.folder.outputs / "weights.safetensors").symlink_to("/etc/hostname")
    with pytest.raises(OutputError):
        by_hand.finish()


def test_only_the_steps_taken_are_spent(by_hand):
    by_hand.begin(by_hand.world.task(steps=2))
    before = by_hand.world.site.ledger.account()
    by_hand.result(1)
    by_hand.write(weights__safetensors=by_hand.world.weights)
    assert by_hand.finish().status is Status.DONE
    after = by_hand.world.site.ledger.account()
    assert 0 < after.epsilon_if_fixed() < before.epsilon_if_fixed()
    # The plan's sampled steps are one block, charged whole when the first run is reserved.
    assert after.epsilon() == before.epsilon() > after.epsilon_if_fixed()


@pytest.mark.parametrize("state", [ItemState.RELEASED, ItemState.WITHHELD])
def test_held_weights_wait_for_the_owner(by_hand, state):
    world = by_hand.world
    by_hand.begin(world.task())
    object.__setattr__(by_hand.job.approval, "standing_release", False)
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    assert by_hand.finish().status is Status.HELD
    by_hand.agent.step()
    assert world.answer("t1") is None
    item = Desk(world.site).items()[0]
    Desk(world.site).decide(item.id, state=state, actor="ann", reason="internal words")
    by_hand.agent.step()
    files = world.answers("t1")
    assert b"internal words" not in b"".join(files.values())
    answer = world.answer("t1")
    if state is ItemState.RELEASED:
        assert answer.reason is None
        assert files["weights.safetensors"] == world.weights
    else:
        assert (answer.status, answer.reason) == (Status.REFUSED, Reason.WITHHELD_BY_OWNER)
        assert "weights.safetensors" not in files
    sent = len(world.kinds())
    by_hand.agent.step()
    assert len(world.kinds()) == sent


def _report_task(world) -> ReportTask:
    return ReportTask(
        request="rep",
        plan_sha256=world.bundle.sha256,
        weights_sha256=sha256_hex(world.weights),
        rounds=1,
        hospitals=1,
    )


@pytest.fixture
def drafts(drafted, case_facts, cohort_facts):
    """What a report job leaves: two cases of five slots and the cohort, all of them true."""
    made = [
        drafted(case_facts, "case-1", source="llama"),
        drafted(case_facts, "case-2"),
        drafted(cohort_facts(), "hospital", source="llama"),
    ]
    return lambda *more: DraftReports(reports=(*made, *more)).model_dump_json().encode()


def test_reports_leave_one_by_one_and_signed(by_hand, drafts, case_facts, drafted):
    world, desk = by_hand.world, Desk(by_hand.world.site)
    by_hand.begin(_report_task(world))
    by_hand.result(0)
    by_hand.write(reports__json=drafts())
    assert by_hand.finish().status is Status.HELD
    by_hand.agent.step()
    assert set(world.answers("rep")) == {"answer.json"}
    assert "the template" in desk.get("rep-case-2").note
    desk.decide("rep-case-1", state=ItemState.RELEASED, actor="ann", reason="internal words")
    desk.decide("rep-hospital", state=ItemState.WITHHELD, actor="ann", reason="internal words")
    desk.decide("rep-case-2", state=ItemState.WITHHELD, actor="ann", reason="internal words")
    by_hand.agent.step()
    files = world.answers("rep")
    # Of the hospital's report, which is always there, a code; of the second case not a word.
    assert set(files) == {"answer.json", "rep-case-1.report.json", "rep-hospital.withheld.json"}
    receipt = json.loads(Answer.model_validate_json(files["answer.json"]).receipt)["receipt"]
    opening = (world.site.openings / "rep.reports.json.opening").read_bytes()
    assert receipt["outputs"] == {"reports.json.opening": sha256_hex(opening)}
    assert opening[32:] == drafts()
    report = ReleasedReport.model_validate_json(files["rep-case-1.report.json"])
    assert (report.text, report.facts) == (drafted(case_facts).text, case_facts.to_json())
    key = world.site.key.public_hex
    checks = check_released(files["rep-case-1.report.json"], public_hex=key)
    assert [check.name for check in checks] == ["form", "key", "signature", "hash", "facts"]
    assert all(check.holds for check in checks)
    notice = WithheldNotice.model_validate_json(files["rep-hospital.withheld.json"])
    assert notice.reason is Reason.WITHHELD_BY_OWNER
    assert b"internal words" not in b"".join(files.values())
    assert world.site.ledger.account().disclosed_units == 1


def _evaluation(**changes: object) -> bytes:
    document = {
        "version": 1,
        "classes": CLASSES,
        "weights_sha256": "b" * 64,
        "noise_multiplier": 5.0,
        "confusion": [[3.5, -1.25]] * 2,
        "histograms": [[[1.0, 2.0]] * 2] * 2,
    }
    return json.dumps({**document, **changes}).encode()


@pytest.fixture
def evaluating(world, plan, by_hand_in, drafts):
    """A world whose plan declares the evaluation as an output."""
    declared = DeclaredOutput(name=EVALUATION_FILE, kind="evaluation", max_bytes=10_000)
    wider = plan.model_copy(update={"outputs": (*plan.outputs, declared)})
    world.submit_plan(make_bundle(wider, None))
    world.start().step()
    world.approve()
    by_hand = by_hand_in(world)
    by_hand.begin(_report_task(world))
    by_hand.result(0)
    by_hand.write(reports__json=drafts())
    return by_hand


def test_a_noised_evaluation_leaves_with_the_answer_and_is_accounted_once(evaluating):
    world = evaluating.world
    evaluating.write(evaluation__json=_evaluation())
    before = world.site.ledger.account()
    assert before.open_spends["rep"].event == gaussian(noise_multiplier=5.0)
    epsilon = before.epsilon()
    answer = evaluating.finish()
    assert answer.status is Status.HELD
    after = world.site.ledger.account()
    assert (after.states["rep"], after.epsilon()) == ("committed", epsilon)
    evaluating.agent.step()
    files = world.answers("rep")
    assert set(files) == {"answer.json", EVALUATION_FILE}
    assert files[EVALUATION_FILE] == _evaluation()
    receipt = json.loads(Answer.model_validate_json(files["answer.json"]).receipt)["receipt"]
    assert receipt["outputs"][EVALUATION_FILE] == sha256_hex(_evaluation())


def test_an_evaluation_waits_without_standing_leave(evaluating):
    world, desk = evaluating.world, Desk(evaluating.world.site)
    evaluating.write(evaluation__json=_evaluation())
    object.__setattr__(evaluating.job.approval, "standing_release", False)
    evaluating.finish()
    evaluating.agent.step()
    assert set(world.answers("rep")) == {"answer.json"}
    desk.decide("rep-evaluation", state=ItemState.RELEASED, actor="ann", reason="")
    evaluating.agent.step()
    assert set(world.answers("rep")) == {"answer.json", EVALUATION_FILE}


@pytest.mark.parametrize(
    "wrong",
    [
        b"{}",
        _evaluation(confusion=[[1.0, 2.0]]),
        _evaluation(confusion=[[float("nan"), 2.0]] * 2),
        _evaluation(histograms=[[[1.0, 2.0]]] * 2),
        _evaluation(histograms=[[[1.0], [1.0, 2.0]]] * 2),
        _evaluation(comment="words"),
    ],
)
def test_an_evaluation_that_is_malformed_is_refused(evaluating, wrong):
    evaluating.write(evaluation__json=wrong)
    with pytest.raises(OutputError, match="malformed"):
        evaluating.finish()


def test_a_declared_evaluation_must_be_there(evaluating):
    with pytest.raises(OutputError, match="evaluation"):
        evaluating.finish()


def test_weights_of_an_approval_that_was_revoked_meanwhile_stay(by_hand):
    world = by_hand.world
    by_hand.begin(world.task())
    revoke(world.site, world.bundle.sha256, reviewer="ann", reason="internal words")
    by_hand.result(1)
    by_hand.write(weights__safetensors=world.weights)
    assert by_hand.finish().status is Status.HELD
    by_hand.agent.step()
    assert world.answer("t1") is None
    desk = Desk(world.site)
    with pytest.raises(ReleaseRefusedError, match="revoked"):
        desk.decide("t1-weights", state=ItemState.RELEASED, actor="ann", reason="x")
    desk.decide(
        "t1-weights", state=ItemState.WITHHELD, actor="ann", reason="x",
        code=Reason.WITHHELD_INACCURATE,
    )  # fmt: skip
    by_hand.agent.step()
    assert world.answer("t1").reason is Reason.WITHHELD_INACCURATE


def test_a_report_that_was_altered_on_disk_is_not_sent_and_stops_no_other(by_hand, drafts):
    world, desk = by_hand.world, Desk(by_hand.world.site)
    by_hand.begin(_report_task(world))
    by_hand.result(0)
    by_hand.write(reports__json=drafts())
    by_hand.finish()
    for name in ("rep-case-1", "rep-case-2"):
        desk.decide(name, state=ItemState.RELEASED, actor="ann", reason="x")
    path = world.site.root / "desk" / "rep-case-1" / "case.json"
    path.write_text(path.read_text().replace("91.3 %", "97.3 %"))
    by_hand.agent.step()
    by_hand.agent.step()
    assert set(world.answers("rep")) == {"answer.json", "rep-case-2.report.json"}


def test_reports_that_are_malformed_are_refused(by_hand):
    by_hand.begin(_report_task(by_hand.world))
    by_hand.result(0)
    by_hand.write(reports__json=b"[]")
    with pytest.raises(OutputError, match="malformed"):
        by_hand.finish()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.fixture
def generating(world, plan, generator):
    """A world whose plan trains a generator."""
    parts = {"generator": generator}
    world.submit_plan(make_bundle(plan.model_copy(update=parts), None))
    world.start().step()
    world.approve()
    return world


def test_synthetic_images_are_checked_and_stay(generating, by_hand_in):
    world, hand = generating, by_hand_in(generating)
    task = GenerateTask(request="gen", plan_sha256=world.bundle.sha256)
    hand.begin(task)
    hand.result(1)
    labels = _npy(np.array([0, 1]))
    for wrong in (b"no array", _npy(np.zeros((2, 16, 16))), _npy(np.zeros((9, 16, 16), np.uint8))):
        hand.write(synthetic_images__npy=wrong, synthetic_labels__npy=labels)
        with pytest.raises(OutputError):
            hand.finish()
    assert not world.site.synthetic(world.bundle.sha256).exists()
    images = np.zeros((2, 16, 16), np.uint8)
    hand.write(synthetic_images__npy=_npy(images), synthetic_labels__npy=labels)
    assert hand.finish().status is Status.DONE
    hand.agent.step()
    assert set(world.answers("gen")) == {"answer.json"}
    assert (world.site.synthetic(world.bundle.sha256) / "synthetic_images.npy").exists()
    again = world.refuse(GenerateTask(request="again", plan_sha256=world.bundle.sha256))
    assert again.reason is Reason.DUPLICATE_REQUEST


def test_no_unreleased_byte_lies_below_the_syftbox_or_on_the_relay(by_hand):
    """Weights that are held, what the job printed and its scratch stay where no syft looks."""
    world = by_hand.world
    held = PlanStore(world.site).approval(world.bundle.sha256)
    PlanStore(world.site).decide(replace(held, standing_release=False))
    by_hand.begin(world.task())
    by_hand.result(1)
    trained = weights_to_bytes(
        initial_weights("small_cnn", text=None, classes=2, image_size=32, seed=2)
    )
    by_hand.write(weights__safetensors=trained, scratch__txt=CANARY)
    by_hand.folder.log.write_bytes(b"printed: " + CANARY)
    by_hand.finish()
    by_hand.agent.step()
    (item,) = Desk(world.site).items()
    assert item.state is ItemState.HELD
    outside = [world.root / "relay", world.site.syftbox, world.root / "researcher"]
    for path in (path for folder in outside for path in folder.rglob("*") if path.is_file()):
        assert CANARY not in path.read_bytes(), path
        assert trained[1100:1200] not in path.read_bytes(), path
    for own in (world.site.ledger_path, world.site.keys, world.site.root / "desk"):
        assert not own.is_relative_to(world.site.syftbox)
    modes = {path.stat().st_mode & 0o777 for path in world.site.keys.rglob("*") if path.is_file()}
    assert modes == {0o600}

"""`authorise` lets exactly the approved thing run; everything else gets one coded reason."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasites.errors import Reason, RefusedError
from datasites.plans import (
    DeclaredOutput,
    GenerateTask,
    PoolTask,
    ReportTask,
    Source,
    TrainTask,
    add_vote,
    authorise,
    sign_approval,
    verify_approval,
)
from privacy import SignatureError, SigningKey


@pytest.fixture
def train(bundle):
    return TrainTask(
        request="q1",
        plan_sha256=bundle.sha256,
        round=1,
        weights_sha256="0" * 64,
        steps=5,
        learning_rate=0.5,
    )


def refused(task, plan, approval, at):
    with pytest.raises(RefusedError) as caught:
        authorise(task, plan=plan, approval=approval, at=at)
    return caught.value.code


def test_the_approved_task_runs(train, plan, approval, at):
    authorise(train, plan=plan, approval=approval, at=at)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"decision": "rejected"}, Reason.REJECTED_BY_OWNER),
        ({"revoked": True}, Reason.APPROVAL_REVOKED),
        ({"reviewers": ()}, Reason.NOT_APPROVED),
        ({"expires": "2026-06-01T00:00:00.000Z"}, Reason.APPROVAL_EXPIRED),
        ({"researcher": "other@x.example"}, Reason.WRONG_RESEARCHER),
        ({"researcher_key": "other"}, Reason.WRONG_RESEARCHER),
        ({"plan_sha256": "1" * 64}, Reason.PLAN_CHANGED),
        ({"runtime_sha256": "1" * 64}, Reason.RUNTIME_CHANGED),
        ({"dataset_version": "1" * 64}, Reason.DATASET_CHANGED),
        ({"max_rounds": 0}, Reason.ROUNDS_USED_UP),
    ],
)
def test_each_condition_has_its_coded_reason(train, plan, approval, at, change, code):
    assert refused(train, plan, replace(approval, **change), at) is code


def test_no_approval_is_a_refusal(train, plan, at):
    assert refused(train, plan, None, at) is Reason.NOT_APPROVED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"round": 4}, Reason.ROUND_OUT_OF_ORDER),
        ({"steps": 6}, Reason.PARAMETER_OUT_OF_RANGE),
        ({"learning_rate": 1.5}, Reason.PARAMETER_OUT_OF_RANGE),
        ({"proximal_mu": 0.1}, Reason.PARAMETER_OUT_OF_RANGE),
        ({"correction_sha256": "0" * 64}, Reason.PARAMETER_OUT_OF_RANGE),
    ],
)
def test_a_task_outside_the_plan_is_refused(train, plan, approval, at, change, code):
    assert refused(train.model_copy(update=change), plan, approval, at) is code


def test_a_correction_comes_under_a_plan_that_says_so(train, plan, approval, at):
    part = plan.train.model_copy(update={"correction": True})
    corrected = train.model_copy(update={"correction_sha256": "0" * 64})
    allowing = plan.model_copy(update={"train": part})
    for task in (corrected, train):
        authorise(task, plan=allowing, approval=approval, at=at)


def test_rounds_do_not_go_back_and_are_counted(train, plan, approval, at):
    later = replace(at, rounds_started=(1, 2))
    assert refused(train, plan, approval, later) is Reason.ROUND_OUT_OF_ORDER
    used = replace(at, rounds_started=(1, 2, 3))
    again = train.model_copy(update={"round": 3})
    assert refused(again, plan, approval, used) is Reason.ROUNDS_USED_UP


def test_the_generator_is_trained_once_and_before_it_is_needed(plan, approval, at, bundle, train):
    task = GenerateTask(request="g", plan_sha256=bundle.sha256)
    assert refused(task, plan, approval, at) is Reason.DUPLICATE_REQUEST
    authorise(task, plan=plan, approval=approval, at=replace(at, has_generator=False))
    mixing = plan.model_copy(
        update={"train": plan.train.model_copy(update={"synthetic_weight": 0.5})}
    )
    missing = replace(at, has_generator=False)
    assert refused(train, mixing, approval, missing) is Reason.GENERATOR_MISSING


def test_images_of_others_need_a_plan_that_says_so_and_come_once(plan, approval, at, bundle):
    task = PoolTask(
        request="p",
        plan_sha256=bundle.sha256,
        weights_sha256="0" * 64,
        sources=(Source(hospital="b@hospital.example", sha256="1" * 64),),
    )
    declared = DeclaredOutput(name="generator.safetensors", kind="generator", max_bytes=9)
    pooling = plan.model_copy(update={"outputs": (*plan.outputs, declared)})
    authorise(task, plan=pooling, approval=approval, at=at)
    assert refused(task, plan, approval, at) is Reason.MALFORMED_REQUEST
    early = replace(at, has_generator=False)
    assert refused(task, pooling, approval, early) is Reason.GENERATOR_MISSING
    late = replace(at, has_pool=True)
    assert refused(task, pooling, approval, late) is Reason.DUPLICATE_REQUEST
    used = replace(at, others_started=["pool"])
    assert refused(task, pooling, approval, used) is Reason.RERUN_NEEDS_LEAVE


def test_images_are_trained_on_once_the_owner_accepted_them(plan, approval, at, train):
    part = plan.train.model_copy(update={"synthetic_weight": 0.5})
    mixing = plan.model_copy(update={"train": part})
    for images in ("", "undecided", "yes"):
        waiting = replace(at, images=images)
        assert refused(train, mixing, approval, waiting) is Reason.SYNTHETIC_UNDECIDED
    for made in (True, False):
        gone = replace(at, images="discarded", has_generator=made)
        assert refused(train, mixing, approval, gone) is Reason.SYNTHETIC_DISCARDED
    authorise(train, plan=mixing, approval=approval, at=replace(at, images="accepted"))
    authorise(train, plan=plan, approval=approval, at=replace(at, images="undecided"))


def test_kinds_that_the_plan_lacks_are_refused(plan, approval, at, bundle):
    bare = plan.model_copy(update={"generator": None, "reports": None})
    generate = GenerateTask(request="g", plan_sha256=bundle.sha256)
    report = ReportTask(
        request="p", plan_sha256=bundle.sha256, weights_sha256="0" * 64, rounds=1, hospitals=1
    )
    assert refused(generate, bare, approval, at) is Reason.MALFORMED_REQUEST
    assert refused(report, bare, approval, at) is Reason.MALFORMED_REQUEST
    authorise(report, plan=plan, approval=approval, at=at)


def test_shares_of_hospitals_that_the_plan_does_not_name_are_refused(plan, approval, at, bundle):
    report = ReportTask(
        request="p",
        plan_sha256=bundle.sha256,
        weights_sha256="0" * 64,
        rounds=1,
        hospitals=2,
        shares=(0.25, 0.75),
    )
    assert refused(report, plan, approval, at) is Reason.MALFORMED_REQUEST
    for names, fine in ((("A",), False), (("A", "B"), True)):
        part = plan.reports.model_copy(update={"hospitals": names})
        named = plan.model_copy(update={"reports": part})
        if fine:
            authorise(report, plan=named, approval=approval, at=at)
        else:
            assert refused(report, named, approval, at) is Reason.MALFORMED_REQUEST


@given(days=st.integers(-1000, 1000))
def test_nothing_runs_at_or_after_the_expiry(train_task, plan, approval, at, days):
    moment = at.now + timedelta(days=days)
    expired = moment.isoformat() >= "2026-07-01T00:00:00+00:00"
    later = replace(at, now=moment)
    if expired:
        assert refused(train_task, plan, approval, later) is Reason.APPROVAL_EXPIRED
    else:
        authorise(train_task, plan=plan, approval=approval, at=later)


@pytest.fixture(scope="module")
def train_task(bundle):
    return TrainTask(
        request="q1",
        plan_sha256=bundle.sha256,
        round=1,
        weights_sha256="0" * 64,
        steps=5,
        learning_rate=0.5,
    )


def test_a_reviewer_agrees_once_and_a_quorum_counts(train, plan, approval, at):
    two = replace(at, quorum=2)
    assert refused(train, plan, approval, two) is Reason.NOT_APPROVED
    both = add_vote(approval, reviewer="bob", decided="2026-05-02T00:00:00.000Z")
    authorise(train, plan=plan, approval=both, at=two)
    with pytest.raises(ValueError, match="already"):
        add_vote(both, reviewer="bob", decided="2026-05-03T00:00:00.000Z")


def test_a_signature_covers_every_field(approval):
    key = SigningKey.generate()
    signature = sign_approval(approval, key)
    verify_approval(approval, signature=signature, public_hex=key.public_hex)
    for change in (
        {"max_rounds": 4},
        {"standing_release": False},
        {"revoked": True},
        {"expires": "2030-01-01T00:00:00.000Z"},
        {"reviewers": ("ann", "bob")},
    ):
        with pytest.raises(SignatureError):
            verify_approval(
                replace(approval, **change), signature=signature, public_hex=key.public_hex
            )

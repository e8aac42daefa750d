"""A hospital's garbage costs that hospital the study, and nobody else anything.

Every document is spoiled field by field and read by the real reader: a value that can be computed
with, or a coded problem. And whole runs by the real `RunService` over a real folder relay, with two
good hospitals and one that sends garbage of each kind: they end, and the one is named.
"""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from datasites import ReportTask
from orchestrator.cli import app
from orchestrator.demo import write_phantoms
from orchestrator.errors import Document, HospitalDocumentError, QuorumError
from orchestrator.hospitals import documents
from orchestrator.results.hospital_figures import figures_of
from orchestrator.study.recipes import recipe_for
from orchestrator.study.template import study_template
from privacy import Purpose, sign_document
from privacy.errors import PrivacyError
from tests.orchestrator.conftest import SITES, weights_that
from tests.orchestrator.garbagekit import RESEARCHER, GarbageHospital, RelayWorld, spoiled

A, B, C = SITES


@pytest.fixture(scope="module")
def text():
    """A study of one round, with reports and without a generator."""
    whole = study_template(
        name="tumours",
        email="researcher@university.example",
        relay="file:///nowhere",
        hospitals=SITES,
        epsilon=7.8,
        delta=1e-5,
        recipe=recipe_for("small_cnn", rounds=1, generator=False),
    )
    return whole.replace("round_timeout_s = 3600.0", "round_timeout_s = 20.0")


@pytest.fixture(scope="module")
def holdout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("holdout")
    write_phantoms(folder, per_class=2, seed=3)
    return folder


@pytest.fixture
def make_world(tmp_path, text, holdout):
    return lambda **spoil: RelayWorld.build(tmp_path, text=text, test=holdout, spoil=spoil)


@pytest.fixture(scope="module")
def hospital(paper):
    return GarbageHospital(C, paper[1])


def whole(value):
    """Fail on a figure with which nothing can be computed."""
    if isinstance(value, float):
        assert math.isfinite(value), value
        assert abs(value) <= 1e13
    for inner in value.values() if isinstance(value, dict) else ():
        whole(inner)
    for inner in value if isinstance(value, list | tuple) else ():
        whole(inner)


def task_for(bundle):
    return ReportTask(
        request="q", plan_sha256=bundle.sha256, weights_sha256="e" * 64, rounds=1, hospitals=3
    )


def judged(read, *given):
    """The problem with a document, and what it holds without one."""
    try:
        return None, read(*given)
    except HospitalDocumentError as error:
        return error, None


READERS = {
    "card": lambda h, data: documents.read_card(h.email, data),
    "decision": lambda h, data: documents.read_decision(h.email, data, bundle=h.bundle),
    "answer": lambda h, data: documents.read_answer(h.email, data, request="q"),
    "evaluation": lambda h, data: documents.read_evaluation(
        h.email, data, bundle=h.bundle, task=task_for(h.bundle)
    ),
    "report": lambda h, data: documents.read_reports(
        h.email,
        {"q-hospital.report.json": data},
        public_hex=h.key.public_hex,
        bundle=h.bundle,
    ),
    "notice": lambda h, data: documents.read_notices(h.email, "q", {"x.withheld.json": data}),
}
HONEST = {
    "card": lambda h, task: h.card_bytes(),
    "decision": lambda h, task: h.decision_bytes(),
    "answer": lambda h, task: h.answer(task, {})["answer.json"],
    "evaluation": lambda h, task: h.evaluation(task),
    "report": lambda h, task: h.report(task).model_dump_json().encode(),
    "notice": lambda h, task: b'{"version":1,"item":"q-global","kind":"global"}',
}


@pytest.mark.parametrize("kind", READERS)
def test_a_spoiled_document_is_a_value_or_a_coded_problem(hospital, kind):
    task = task_for(hospital.bundle)
    honest = HONEST[kind](hospital, task)
    READERS[kind](hospital, honest)
    refused = 0
    for label, data in spoiled(honest):
        problem, found = judged(READERS[kind], hospital, data)
        if problem is not None:
            assert (problem.hospital, problem.reason_code) == (C, Document(f"bad_{kind}")), label
            assert len(str(problem)) < 2_000, label
            refused += 1
            continue
        for value in found if isinstance(found, list) else [found]:
            whole(value.model_dump())
            json.dumps(value.model_dump(mode="json"), allow_nan=False)
        if kind == "evaluation":
            whole(figures_of(C, found).to_json())
    assert refused > 30


def test_a_spoiled_receipt_that_is_signed_all_the_same_is_a_coded_problem(hospital):
    task = task_for(hospital.bundle)
    honest, parts = json.loads(hospital.receipt(task, {})), []
    for label, data in spoiled(json.dumps(honest["receipt"]).encode()):
        try:
            body = json.loads(data)
            honest["signature"] = sign_document(body, purpose=Purpose.RECEIPT, key=hospital.key)
        except (ValueError, TypeError, RecursionError, AttributeError, PrivacyError):
            pass  # nobody can sign that; the bytes go as they are
        signed = b'{"receipt": %s, "key": %s, "signature": %s}' % (
            data,
            json.dumps(honest["key"]).encode(),
            json.dumps(honest["signature"]).encode(),
        )
        parts.append((label, signed))
    parts += spoiled(json.dumps(honest).encode(), fields=("key", "signature"))
    for label, data in parts:
        problem, receipt = judged(read_receipt, hospital, task, data)
        assert problem is None or problem.reason_code is Document.BAD_RECEIPT, label
        whole(None if receipt is None else receipt.epsilon_total)


def read_receipt(hospital, task, data):
    text = data.decode(errors="surrogateescape")
    return documents.verified_receipt(
        C, text, public_hex=hospital.key.public_hex, bundle=hospital.bundle, task=task
    )


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(sorted(READERS)),
    document=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=20,
    ),
)
def test_no_json_at_all_is_anything_but_a_coded_problem(hospital, kind, document):
    data = json.dumps(document).encode()
    with pytest.raises(HospitalDocumentError):
        READERS[kind](hospital, data)


def everything(value):
    """All figures of a document set to `value`."""

    def spoil(honest):
        fields = json.loads(honest)
        for name, known in fields.items():
            if isinstance(known, float) and name != "noise_multiplier":
                fields[name] = value
        return json.dumps(fields).encode()

    return spoil


def changed(**values):
    return lambda honest: json.dumps(json.loads(honest) | values).encode()


def counts_of(value):
    def spoil(honest):
        fields = json.loads(honest)
        fields["confusion"] = [[value for _ in row] for row in fields["confusion"]]
        return json.dumps(fields).encode()

    return spoil


BEFORE_ANY_TASK = {
    "a decision that is none": ({"decision": lambda _: b"{"}, "bad_decision"),
    "a decision nested without end": ({"decision": lambda _: b"[" * 100_000}, "bad_decision"),
    "an expiry that is none": ({"decision": changed(expires="tomorrow")}, "bad_decision"),
    "an expiry without a zone": (
        {"decision": changed(expires="2027-06-01T00:00:00")},
        "bad_decision",
    ),
    "no epsilon": ({"decision": changed(epsilon_plan=None)}, "bad_decision"),
    "an epsilon of 1e308": ({"decision": changed(epsilon_plan=1e308)}, "bad_decision"),
    "a budget of 1e308": ({"decision": changed(budget=1e308)}, "bad_decision"),
    "a decision on another plan": ({"decision": changed(plan_sha256="0" * 64)}, "bad_decision"),
    "a card that is none": ({"card": lambda _: b"\xff\x00"}, "bad_card"),
    "a card of infinitely many units": ({"card": changed(units=float("inf"))}, "bad_card"),
    "a card of 1e15 units": ({"card": changed(units=1e15)}, "bad_card"),
    "a card of another hospital": ({"card": changed(email=A)}, "bad_card"),
}
LATER = {
    "an answer that is none": ({"answer.json": lambda _: b"7"}, ["bad_answer"] * 2),
    "an answer with an unknown code": (
        {"answer.json": changed(status="refused", reason="because", receipt=None)},
        ["bad_answer"] * 2,
    ),
    "counts of 1e308": ({"evaluation": counts_of(1e308)}, []),
    "counts that are not numbers": ({"evaluation": counts_of(float("nan"))}, []),
    "a report that is none": ({"report": lambda _: b"[]"}, []),
    "a report of a time that is none": ({"report": changed(released="x")}, []),
    "a notice that is none": ({"notice": lambda _: b"null"}, []),
}


@pytest.mark.parametrize("garbage", BEFORE_ANY_TASK)
def test_garbage_before_the_first_task_leaves_out_that_hospital_alone(make_world, garbage):
    spoil, code = BEFORE_ANY_TASK[garbage]
    world = make_world(**spoil)
    world.run()
    assert world.state.refusals == {C: [code]}
    assert {line.hospital for line in world.state.contributions} == {A, B}
    assert ("answered", C, code) in world.told.events
    summary = json.loads(world.summary, parse_constant=pytest.fail)
    assert summary["refusals"] == {C: [code]}
    assert summary["hospitals"] == [A, B]
    told = CliRunner().invoke(app, ["study", "status", str(world.conductor.folder)])
    assert told.exit_code == 0, told.exception
    assert f"{C}: left out [{code}]" in told.output
    assert f"the last run went on without it: {code}" in told.output


@pytest.mark.parametrize("garbage", LATER)
def test_later_garbage_leaves_the_run_and_its_results_whole(make_world, garbage):
    spoil, codes = LATER[garbage]
    world = make_world(**spoil)
    world.run()
    assert world.state.refusals == ({C: codes} if codes else {})
    summary = json.loads(world.summary, parse_constant=pytest.fail)
    whole(summary)
    assert {A, B} <= set(summary["hospital_evaluations"])
    assert summary["reports"]["released"] >= 2
    assert (world.out / "report.html").stat().st_size > 1_000


def test_garbage_does_not_stop_the_waiting_for_those_who_have_not_decided(make_world):
    """C's garbage is there first; A decides at the third look, B at the sixth."""
    world = make_world(decision=lambda _: b"garbage")
    looks, before = iter(range(1_000)), {}
    for site, look in ((A, 3), (B, 6)):
        hospital = world.hospitals[site]
        before[site] = hospital.step
        hospital.step = lambda one=site, at=look: before[one]() if next(looks) > at * 2 else None
    world.run()
    assert {line.hospital for line in world.state.contributions} == {A, B}


def test_a_card_that_becomes_garbage_during_a_run_costs_its_hospital_the_rest(make_world):
    world = make_world()

    def spoiled_card(hospital, task, weights):
        files = type(hospital).honest(hospital, task, weights)
        world.hospitals[C].link.publish_card(recipient=RESEARCHER, card=b"{")
        return files

    world.hospitals[C].hospital.answers["r0001"] = spoiled_card
    world.run()
    assert set(world.state.refusals) <= {C}
    assert {A, B} <= {line.hospital for line in world.state.contributions}
    json.loads(world.summary, parse_constant=pytest.fail)


def test_where_garbage_leaves_no_quorum_the_reason_is_said(make_world):
    world = make_world(decision=lambda _: b"garbage")
    world.hospitals[B].hospital.spoil["card"] = lambda _: b"garbage"
    world.hospitals[B].link.publish_card(recipient=RESEARCHER, card=b"garbage")
    with pytest.raises(QuorumError, match=r"bad_card.*bad_decision"):
        world.run()
    assert not (world.out / "state.json").exists()


def test_finite_weights_of_which_no_model_can_be_made_end_nothing(make_world):
    world = make_world()
    world.hospitals[C].hospital.answers["r0001"] = weights_that(
        lambda weights: {name: value * 0 + 3e38 for name, value in weights.items()}
    )
    world.run()
    assert world.state.refusals == {C: ["not_scorable"]}
    assert {line.hospital for line in world.state.contributions} == {A, B}
    whole(json.loads(world.summary, parse_constant=pytest.fail))

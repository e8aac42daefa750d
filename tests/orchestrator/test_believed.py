"""What a researcher believes: receipts that are for what was asked, and tell one story.

Hospitals are simulated (`conftest.SimulatedHospital`); receipts, hashes and signatures are real,
and so is everything that checks them.
"""

import json
from dataclasses import replace

import pytest

from datasites import (
    ANSWER_FILE,
    COUNTERSIGNATURE_FILE,
    RECEIPT_FILE,
    TASK_FILE,
    parse_task,
)
from orchestrator.errors import VerificationError
from orchestrator.hospitals.receipts import read_receipt
from orchestrator.results.write import _spends
from privacy import (
    Checkpoint,
    SigningKey,
    compose,
    countersignature_from_json,
    epsilon,
    event_to_json,
    gaussian,
    poisson_gaussian,
    sha256_hex,
)

A, B, C = "a@hospital.example", "b@hospital.example", "c@hospital.example"
WEIGHTS = "weights.safetensors"


def _receipt_with(**changed):
    def make(hospital, task, data):
        outputs = {WEIGHTS: data}
        return hospital.answer(task, outputs, receipt=hospital.receipt(task, outputs, **changed))

    return make


def _signed_by_another(hospital, task, data):
    return replace(hospital, key=SigningKey.generate()).answer(task, {WEIGHTS: data})


def _swapped(hospital, task, data):
    return hospital.answer(task, {WEIGHTS: data}) | {WEIGHTS: data + b" "}


def _edited(hospital, task, data):
    files = hospital.answer(task, {WEIGHTS: data})
    answer = json.loads(files[ANSWER_FILE])
    receipt = json.loads(answer["receipt"])
    receipt["receipt"]["epsilon_total"] = 0.001
    answer["receipt"] = json.dumps(receipt)
    return files | {ANSWER_FILE: json.dumps(answer).encode()}


def _huge(receipt):
    whole = json.loads(receipt)
    whole["receipt"]["epsilon_total"] = 10**400
    return json.dumps(whole)


def _to_a_path(hospital, task, data):
    files = hospital.answer(task, {WEIGHTS: data})
    answer = json.loads(files[ANSWER_FILE]) | {"request": "../../../escaped"}
    return files | {ANSWER_FILE: json.dumps(answer).encode()}


TINY = gaussian(noise_multiplier=500.0)
ONE_STEP = poisson_gaussian(sampling_rate=0.05, noise_multiplier=1.0, steps=1)
LIES = {
    "signed by another key": _signed_by_another,
    "weights swapped after signing": _swapped,
    "epsilon edited after signing": _edited,
    "of another site": _receipt_with(site=A),
    "of another plan": _receipt_with(plan_sha256="f" * 64),
    "of another request": _receipt_with(request="tumours-other-r0001"),
    "of another study": _receipt_with(study="another"),
    "of another round": _receipt_with(round=2),
    "with a tiny event": _receipt_with(event=event_to_json(TINY), epsilon_total=0.0),
    "of one step": _receipt_with(event=event_to_json(ONE_STEP)),
    "with no event": _receipt_with(event=event_to_json(compose([]))),
    "that nothing was spent": _receipt_with(epsilon_total=0.0),
    "a total below its own event": _receipt_with(epsilon_total=0.1),
    "an epsilon beyond all numbers": lambda h, t, w: h.answer(
        t, {WEIGHTS: w}, receipt=_huge(h.receipt(t, {WEIGHTS: w}))
    ),
    "no receipt at all": lambda h, t, w: h.answer(t, {WEIGHTS: w}, receipt="[]"),
    "nested without end": lambda h, t, w: h.answer(t, {WEIGHTS: w}, receipt="[" * 100_000),
    "an answer to something else": lambda h, t, w: h.answer(t, {WEIGHTS: w}, request="another"),
    "an answer to a path": _to_a_path,
    "an answer that is none": lambda *_: {ANSWER_FILE: b"{"},
    "an unknown field": lambda *_: {ANSWER_FILE: b'{"request":"x","status":"done","patient":1}'},
}

NO_ANSWERS = (
    "an answer to something else",
    "an answer to a path",
    "an answer that is none",
    "an unknown field",
)


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_hospital_is_given_up_for_the_round_only(world, lie):
    world.hospitals[B].answers["r0001"] = LIES[lie]
    world.train()
    state = world.folder.load()
    assert state.refusals == {B: ["bad_answer" if lie in NO_ANSWERS else "bad_receipt"]}
    assert [line.hospital for line in state.contributions] == [A, C, A, B, C]
    assert not list(world.folder.root.parent.rglob("*escaped*"))


LATER_LIES = {
    "its ledger was set back": {"checkpoint": Checkpoint(sequence=1, entry_hash="a" * 64)},
    "its ledger was forked": {"checkpoint": Checkpoint(sequence=6, entry_hash="b" * 64)},
    "its total fell": {"epsilon_total": 1.0},
}


@pytest.mark.parametrize("lie", LATER_LIES)
def test_a_receipt_that_contradicts_an_earlier_one_is_refused(world, lie):
    world.hospitals[B].answers["r0002"] = _receipt_with(**LATER_LIES[lie])
    world.train()
    assert world.folder.load().refusals == {B: ["bad_receipt"]}


def test_a_total_below_ones_own_runs_is_refused(world):
    """Each receipt states more than the last, and less than this study's runs compose to."""

    def grudging(hospital, task, data):
        made = hospital.receipt(task, {WEIGHTS: data})
        rest = epsilon(hospital.events[:-1], delta=1e-5)
        own = epsilon(hospital.events, delta=1e-5)
        hospital.events.pop()
        told = hospital.receipt(task, {WEIGHTS: data}, epsilon_total=rest + 0.98 * (own - rest))
        assert made != told
        return hospital.answer(task, {WEIGHTS: data}, receipt=told)

    world.hospitals[B].answers["r0002"] = grudging
    world.hospitals[B].margin = 0.0
    world.train()
    assert world.folder.load().refusals == {B: ["bad_receipt"]}


def test_a_second_receipt_for_one_run_is_refused(world):
    """The one that was kept stays; a resumed run that is told another one does not take it."""
    world.train()
    [request] = [r for r in world.folder.receipts(B) if "r0002" in r]
    task = parse_task(world.researcher.link.sent(B, request)[TASK_FILE])
    weights = world.hospitals[B].files[request][WEIGHTS]
    made = _receipt_with(epsilon_total=99.0)(world.hospitals[B], task, weights)
    world.hospitals[B].files[request] |= {ANSWER_FILE: made[ANSWER_FILE]}
    with pytest.raises(VerificationError, match="two receipts"):
        world.researcher.reply(B, request, bundle=world.bundle, kept=world.folder.receipts)


def test_the_summary_reports_the_larger_of_what_was_told_and_what_follows(world):
    world.train()
    for path in (world.folder.root / "receipts" / B).glob("*.json"):
        told = json.loads(path.read_text())
        told["receipt"]["epsilon_total"] = 0.0
        path.write_text(json.dumps(told))
    spends = _spends(world.folder)
    assert spends[B]["epsilon"] == epsilon(world.hospitals[B].events, delta=1e-5)
    assert spends[A]["epsilon"] == 0.5 + epsilon(world.hospitals[A].events, delta=1e-5)


def test_what_was_never_asked_from_here_is_no_answer(world):
    world.train()
    [request] = [r for r in world.folder.receipts(B) if "r0002" in r]
    del world.researcher.link.tasks[B, request]
    with pytest.raises(VerificationError, match="never asked from here"):
        world.researcher.reply(B, request, bundle=world.bundle)


def test_the_receipt_of_an_unlimited_disclosure_is_usable(world):
    """A released case makes epsilon infinite; that is the truth and no reason to drop an update."""
    world.hospitals[A].answers["r000"] = lambda h, t, w: h.answer(
        t, {WEIGHTS: w}, receipt=h.receipt(t, {WEIGHTS: w}, epsilon_total=float("inf"))
    )
    world.train()
    state = world.folder.load()
    assert not state.refusals
    assert state.contributions[0].epsilon == float("inf")


def test_each_task_brings_the_newest_receipt_and_a_resent_one_the_same(world):
    """A hospital whose ledger was set back finds out before it runs anything."""
    world.train()
    kept = world.folder.receipts(A)
    names = sorted(kept, key=lambda name: read_receipt(kept[name]).receipt.checkpoint.sequence)
    sent = [world.researcher.link.sent(A, name).get(RECEIPT_FILE) for name in names]
    assert sent == [None, *(kept[name].encode() for name in names[:-1])]
    assert world.researcher.newest(A) == kept[names[-1]]
    # Sent once more, by a resumed run, although there are newer receipts now.
    again = []
    world.researcher.link.submit = lambda **asked: again.append(asked["files"])
    files = world.researcher.link.sent(A, names[1])
    world.researcher.ask(A, parse_task(files[TASK_FILE]), {WEIGHTS: files[WEIGHTS]})
    assert again == [files]
    # A receipt that is read again takes no newer one's place.
    world.researcher.keep_newest(A, kept[names[0]])
    assert world.researcher.newest(A) == kept[names[-1]]


def test_a_receipt_goes_back_with_its_countersignature(world):
    world.train()
    back = [files for (_, job), files in world.researcher.link.tasks.items() if "counter" in job]
    assert len(back) == 9
    for files in back:
        signed = countersignature_from_json(json.loads(files[COUNTERSIGNATURE_FILE]))
        assert sha256_hex(files[RECEIPT_FILE]) == signed.receipt_sha256

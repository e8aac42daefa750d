"""Rounds go on without hospitals that refuse, lie, poison or stay silent, and resume asks anew.

Hospitals are simulated here (`conftest.SimulatedHospital`), because a real one cannot be made to
poison its update; receipts, hashes and signatures are real, and so is everything that checks them.
"""

import itertools

import pytest
import torch

from datasites import (
    ANSWER_FILE,
    Answer,
    MailboxError,
    RelayError,
    SlotPart,
    Status,
    TrainTask,
)
from datasites.errors import Reason
from orchestrator.aggregation.contribution import contributions_csv
from orchestrator.errors import QuorumError
from orchestrator.hospitals.replies import plan_job
from orchestrator.rounds.progress import UNSANDBOXED
from orchestrator.rounds.run_folder import RunState, step_slot_s
from privacy import verify_countersignature
from tests.orchestrator.conftest import weights_that

A, B, C = "a@hospital.example", "b@hospital.example", "c@hospital.example"
WEIGHTS = "weights.safetensors"


def raw(data):
    return lambda hospital, task, _: hospital.answer(task, {WEIGHTS: data})


def first(weights, value):
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    return weights | {name: value(weights[name])}


def test_a_study_of_honest_hospitals(world):
    weights = world.train()
    state = world.folder.load()
    assert (state.rounds_done, state.generators_done) == (2, True)
    assert not state.refusals
    assert [score.round for score in state.scores] == [0, 1, 2]
    assert [timing.round for timing in state.timings] == [0, 1, 2]
    assert {line.hospital for line in state.contributions} == {A, B, C}
    start, _ = world.folder.checkpoint(0)
    name = next(iter(start))
    torch.testing.assert_close(weights[name], start[name] + 0.02)
    # Receipts of the generator and of each round are kept.
    assert len(list(world.folder.root.glob("receipts/*/*.json"))) == 9
    # Each went back signed by the researcher, once.
    for hospital in world.hospitals.values():
        assert [one.site for one in hospital.countersigned] == [hospital.email] * 3
        assert len({one.request for one in hospital.countersigned}) == 3
        for one in hospital.countersigned:
            verify_countersignature(one)
    assert ("begin", "round 2", 3) in world.told.events


POISONS = {
    "nan": (weights_that(lambda w: first(w, lambda t: t * float("nan"))), "bad_weights"),
    "infinity": (weights_that(lambda w: first(w, lambda t: t + float("inf"))), "bad_weights"),
    "shape": (weights_that(lambda w: first(w, lambda t: t[:1])), "bad_weights"),
    "dtype": (weights_that(lambda w: first(w, lambda t: t.double())), "bad_weights"),
    "a tensor more": (weights_that(lambda w: w | {"extra": torch.ones(1)}), "bad_weights"),
    "not weights": (raw(b"\x80\x04pickle"), "bad_weights"),
    "a header of 8 EiB": (raw(b"\xff" * 8 + b"{}"), "bad_weights"),
    "huge": (weights_that(lambda w: first(w, lambda t: t + 1e6)), "norm_too_large"),
    "no weights": (lambda h, task, _: h.answer(task, {}), "no_weights"),
    "weights that no receipt names": (
        lambda h, task, data: h.answer(task, {}) | {WEIGHTS: data},
        "receipt_invalid",
    ),
    "no receipt": (
        lambda h, task, _: {
            ANSWER_FILE: Answer(request=task.request, status=Status.DONE)
            .model_dump_json()
            .encode(),
            WEIGHTS: b"x",
        },
        "no_weights",
    ),
}


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_update_is_left_out(world, poison):
    make, reason = POISONS[poison]
    world.researcher.study = world.study.model_copy(
        update={"strategy": world.study.strategy.model_copy(update={"max_update_norm": 100.0})}
    )
    world.hospitals[C].answers["r0001"] = make
    weights = world.train()
    state = world.folder.load()
    assert state.refusals == {C: [reason]}
    assert [line.hospital for line in state.contributions] == [A, B, A, B, C]
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_hospital_that_claims_a_quadrillion_units_has_half_and_is_shown_once(world):
    card = world.hospitals[B].card()
    world.hospitals[B].card = lambda: card.model_copy(update={"units": 1e9})
    world.hospitals[B].answers["r0001"] = weights_that(
        lambda w: {name: value + 1.0 for name, value in w.items()}
    )
    world.train()
    start, first_round = world.folder.checkpoint(0)[0], world.folder.checkpoint(1)[0]
    name = next(iter(start))
    torch.testing.assert_close(first_round[name], start[name] + (1.0 + 0.01) / 2)
    said = [event for event in world.told.events if "weighs as 81 units" in str(event)]
    assert said == [("answered", B, "weighs as 81 units; its card claims 1e+09")]
    assert "counted_units" in contributions_csv(world.folder.load().contributions)


def test_a_job_without_a_sandbox_is_used_named_and_shown(world):
    def unsafe(hospital, task, data):
        return hospital.answer(task, {WEIGHTS: data}, sandboxed=False)

    world.hospitals[B].answers["r0001"] = unsafe
    world.train()
    state = world.folder.load()
    assert (list(state.unsandboxed), state.refusals) == ([B], {})
    assert ("answered", B, UNSANDBOXED) in world.told.events


def test_a_silent_hospital_is_waited_for_and_given_up(world):
    world.hospitals[B].answers["r0001"] = lambda *_: None
    world.train()
    assert world.folder.load().refusals == {B: ["timed_out"]}
    assert ("answered", B, "timed_out") in world.told.events


def test_a_relay_that_goes_and_comes_back_costs_time_only(world):
    """Away while asking, and away while collecting; everybody is asked once and nobody given up."""
    link = world.researcher.link
    submit, collect = link.submit, link.collect
    failures = iter(["submit", "", "submit", "collect", "collect", ""] * 2)

    def away(call, name):
        def flaky(**fields):
            if next(failures, "") == name:
                raise RelayError("the relay is away")
            return call(**fields)

        return flaky

    link.submit, link.collect = away(submit, "submit"), away(collect, "collect")
    world.train()
    state = world.folder.load()
    assert (state.rounds_done, state.refusals) == (2, {})
    for hospital in world.hospitals.values():
        assert len(hospital.asked) == len(set(hospital.asked)) == 3


def test_a_hospital_whose_folder_takes_nothing_stops_nobody_else(world):
    """It is the first to be asked, in every step; the others train, are aggregated and thanked."""
    link, submit = world.researcher.link, world.researcher.link.submit

    def closed(*, site, **fields):
        if site == A:
            raise MailboxError("Permission denied")
        submit(site=site, **fields)

    link.submit = closed
    world.train()
    state = world.folder.load()
    assert (state.rounds_done, state.refusals) == (2, {A: ["timed_out"] * 3})
    assert [line.hospital for line in state.contributions] == [B, C, B, C]
    for site in (B, C):
        assert len(world.hospitals[site].countersigned) == 3
    with pytest.raises(MailboxError):
        world.researcher.submit_plan(world.bundle)
    assert all(plan_job(world.bundle) in world.hospitals[site].asked for site in (B, C))


def test_a_clock_that_is_set_neither_ends_nor_lengthens_a_round(world, monkeypatch):
    clock = itertools.count(1e9, -86_400.0)
    monkeypatch.setattr("orchestrator.rounds.asking.time.time", lambda: next(clock))
    world.train()
    state = world.folder.load()
    assert (state.rounds_done, state.refusals) == (2, {})
    assert all(0 <= timing.overhead_s < 60 for timing in state.timings)


def test_a_quorum_missed_and_resumed(world):
    """Only those who said no are asked again; nobody trains a round twice."""
    for site, reason in ((A, Reason.BUDGET_EXCEEDED), (B, Reason.JOB_FAILED)):
        world.hospitals[site].answers["r0002"] = lambda h, t, w, r=reason: h.no(t, r)
    with pytest.raises(QuorumError, match="1 usable updates, the quorum is 2") as caught:
        world.train()
    assert (caught.value.needed, caught.value.received, caught.value.exit_code) == (2, 1, 5)
    state = world.folder.load()
    assert state.rounds_done == 1
    assert state.refusals == {A: ["budget_exceeded"], B: ["job_failed"]}
    before = {site: list(world.hospitals[site].asked) for site in (A, B, C)}
    world.hospitals[A].answers.clear()
    world.train()
    again = {site: world.hospitals[site].asked[len(before[site]) :] for site in (A, B, C)}
    assert again[C] == []
    assert [job.rsplit("r0002")[1] for job in (*again[A], *again[B])] == ["-2", "-2"]
    assert world.folder.load().rounds_done == 2


def test_a_hospital_that_says_no_thrice_is_asked_with_fresh_ids(world):
    for site in (A, B):
        world.hospitals[site].answers["r0001"] = lambda h, t, w: h.no(t, Reason.NOT_APPROVED)
    for _ in range(3):
        with pytest.raises(QuorumError):
            world.train()
    rounds = [job for job in world.hospitals[A].asked if "r0001" in job]
    assert len(set(rounds)) == len(rounds) == 3


@pytest.mark.parametrize("step", ["generator", "r0001", "r0002", "reports"])
def test_ctrl_c_anywhere_and_resume_asks_nobody_twice(world, step):
    world.researcher.link.interrupt_on = step
    with pytest.raises(KeyboardInterrupt):
        _whole(world)
    weights = _whole(world)
    state = world.folder.load()
    assert state.rounds_done == 2
    assert state.reports_asked
    assert not state.refusals
    assert [score.round for score in state.scores] == [0, 1, 2]
    assert [(line.round, line.hospital) for line in state.contributions] == [
        (number, site) for number in (1, 2) for site in (A, B, C)
    ]
    for hospital in world.hospitals.values():
        assert len(hospital.asked) == 4
    start, _ = world.folder.checkpoint(0)
    name = next(iter(start))
    torch.testing.assert_close(weights[name], start[name] + 0.02)


def _whole(world):
    run = world.run()
    weights = run.train(world.folder.checkpoint(0)[0] if _started(world) else _first())
    run.ask_reports(weights, _evaluation())
    return weights


def _started(world):
    return (world.folder.root / "checkpoints").exists()


def _first():
    from models import initial_weights

    return initial_weights("small_cnn", text=None, classes=4, image_size=64, seed=0)


def _evaluation():
    import numpy as np

    from models import evaluate

    return evaluate(np.full((4, 4), 0.25), np.arange(4), ("a", "b", "c", "d"))


def test_reports_are_asked_once_and_one_hospital_writes_the_global_one(world):
    run = world.run()
    weights = run.train(_first())
    run.ask_reports(weights, _evaluation())
    run.ask_reports(weights, _evaluation())
    assert [sum("reports" in job for job in h.asked) for h in world.hospitals.values()] == [1] * 3
    assert set(world.folder.load().report_requests) == {A, B, C}


def test_request_ids_are_the_same_until_one_is_spent(world):
    run = world.run(
        RunState(
            study="tumours",
            plan_sha256="a",
            test="",
            nonce="0123abcd",
            spent_requests={A: ["tumours-0123abcd-r0001", "tumours-0123abcd-r0001-2"]},
        )
    )
    assert run.request_id("r0001", B) == "tumours-0123abcd-r0001"
    assert run.request_id("r0001", A) == "tumours-0123abcd-r0001-3"
    assert run.request_id("r0002", A) == "tumours-0123abcd-r0002"


@pytest.mark.parametrize(
    ("waited", "slot"),
    [
        ({"a": 301.0, "b": 303.5}, 300.0),  # a hospital's first round has the longer slot
        ({"a": 63.0, "b": 65.0}, 60.0),  # answers came sooner than that: it was not the first
        ({"a": 1.0}, 0.0),  # refused at once
        ({}, 0.0),
    ],
)
def test_what_is_no_overhead_is_the_slot_that_the_plan_fixes(world, waited, slot):
    plan = world.bundle.plan.model_copy(update={"slots": SlotPart()})
    assert (plan.slots.first_train_s, plan.slots.train_s) == (300.0, 60.0)
    task = TrainTask(
        request="r", plan_sha256="0" * 64, round=1, weights_sha256="0" * 64, steps=1,
        learning_rate=0.1,
    )  # fmt: skip
    assert step_slot_s(task, plan, waited) == slot

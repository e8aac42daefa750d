"""Each hospital is sent the others' released generators, and never one that was not signed for."""

from __future__ import annotations

import pytest
import torch

from datasites import Answer, Status, make_bundle, plan_events
from datasites.plans.tasks import PoolTask
from models import unpack_generators, weights_to_bytes
from orchestrator.rounds.pools import of_one_make, pool_task
from orchestrator.study.study import study_plan
from privacy import sha256_hex

A, B, C = "a@hospital.example", "b@hospital.example", "c@hospital.example"
GENERATOR = "generator.safetensors"


def _weights(value):
    return weights_to_bytes({"x": torch.full((2,), float(value))})


@pytest.fixture(scope="module")
def pooled_paper(paper):
    study, _ = paper
    pooled = study.generator.model_copy(update={"pooled": True})
    study = study.model_copy(update={"generator": pooled})
    return study, make_bundle(study_plan(study), None)


@pytest.fixture
def pooling(make_world, pooled_paper):
    """A study whose hospitals release their generators."""
    world = make_world(*pooled_paper)
    for number, hospital in enumerate(world.hospitals.values()):
        hospital.answers["generator"] = _releases(_weights(number))
    return world


def _releases(data):
    return lambda hospital, task, _: hospital.answer(task, {GENERATOR: data})


def _asked(world, site):
    """The pool task a hospital got, with the generators that came along."""
    made = []

    def keep(hospital, task, data):
        made.append((task, unpack_generators(data)))
        return hospital.answer(task, {})

    world.hospitals[site].answers["pool"] = keep
    return made


def test_the_plan_declares_that_generators_may_leave(pooled_paper, paper):
    assert pooled_paper[1].plan.pools
    assert not paper[1].plan.pools
    assert plan_events(pooled_paper[1].plan) == plan_events(paper[1].plan)


def test_each_draws_from_the_others(pooling):
    made = {site: _asked(pooling, site) for site in (A, B, C)}
    pooling.train()
    for at, site in enumerate((A, B, C)):
        ((task, files),) = made[site]
        assert isinstance(task, PoolTask)
        others = [n for n in range(3) if n != at]
        assert files == [_weights(n) for n in others]
        assert [s.hospital for s in task.sources] == [(A, B, C)[n] for n in others]
        assert [s.sha256 for s in task.sources] == [sha256_hex(data) for data in files]
    state = pooling.folder.load()
    assert state.pools_done
    assert not state.refusals
    assert [timing.round for timing in state.timings] == [0, 0, 1, 2]


def test_what_was_not_released_or_not_signed_is_not_passed_on(pooling):
    pooling.hospitals[A].answers["generator"] = lambda h, task, _: h.answer(task, {})
    pooling.hospitals[B].answers["generator"] = lambda h, task, _: (
        h.answer(task, {}) | {GENERATOR: _weights(1)}
    )
    made = {site: _asked(pooling, site) for site in (A, B, C)}
    pooling.train()
    refusals = pooling.folder.load().refusals
    assert refusals == {A: ["no_generator"], B: ["receipt_invalid"]}
    assert [len(files) for _, files in made[A] + made[B]] == [1, 1]
    assert made[C] == []  # nobody else released one


def test_weights_that_are_none_are_not_passed_on(pooling):
    pooling.hospitals[C].answers["generator"] = _releases(_weights(float("nan")))
    made = _asked(pooling, A)
    pooling.train()
    assert pooling.folder.load().refusals == {C: ["not_finite"]}
    assert [len(files) for _, files in made] == [1]


def _reordered():
    """The same tensors in a file that Dura would not write: a header with spaces at its end."""
    data = _weights(2)
    length = int.from_bytes(data[:8], "little")
    return (length + 8).to_bytes(8, "little") + data[8 : 8 + length] + b" " * 8 + data[8 + length :]


@pytest.mark.parametrize(
    "bad",
    [weights_to_bytes({"x": torch.ones(3)}), weights_to_bytes({"y": torch.ones(2)}), _reordered()],
    ids=["another shape", "another name", "other bytes of the same"],
)
def test_one_hospital_does_not_spoil_the_pool_of_all(pooling, bad):
    """What fits no hospital's generator would fail every hospital's job; it is left out, named."""
    pooling.hospitals[C].answers["generator"] = _releases(bad)
    made = _asked(pooling, A)
    pooling.train()
    assert pooling.folder.load().refusals == {C: ["make_differs"]}
    assert [files for _, files in made] == [[_weights(1)]]


def test_where_no_make_is_most_all_are_passed_on():
    released = {A: _weights(0), B: weights_to_bytes({"y": torch.ones(2)})}
    assert of_one_make(released) == released
    assert of_one_make({}) == {}


def test_a_resumed_run_does_not_ask_again(pooling):
    made = _asked(pooling, A)
    pooling.train()
    pooling.train()
    assert len(made) == 1


def test_nobody_to_draw_from_is_nothing_to_ask():
    assert pool_task(A, {A: _weights(0)}, request="r", plan_sha256="0" * 64) is None


def test_an_answer_without_a_receipt_releases_nothing(pooling):
    done = Answer(request="x", status=Status.DONE)
    pooling.hospitals[A].answers["generator"] = lambda h, task, _: {
        "answer.json": done.model_copy(update={"request": task.request}).model_dump_json().encode(),
        GENERATOR: _weights(0),
    }
    pooling.train()
    assert pooling.folder.load().refusals == {A: ["no_generator"]}

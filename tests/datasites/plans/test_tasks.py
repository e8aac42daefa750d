"""Tasks as they travel: what is written is read back; what is odd is refused by its field."""

from __future__ import annotations

import json

import pytest

from datasites.errors import PlanError
from datasites.plans import (
    GenerateTask,
    GlobalScores,
    ReportTask,
    RoundAccuracy,
    TrainTask,
    files_of,
    parse_task,
    task_bytes,
)

SHA = "a" * 64
TRAIN = TrainTask(
    request="r1", plan_sha256=SHA, round=1, weights_sha256=SHA, steps=2, learning_rate=0.1
)
SCORES = GlobalScores(n_cases=2, accuracy=0.5, macro_f1=0.5, confusion=((1, 0), (1, 0)))


def test_the_files_of_a_task_are_those_it_names():
    report = ReportTask(request="p", plan_sha256=SHA, weights_sha256=SHA, rounds=1, hospitals=1)
    assert files_of(TRAIN) == files_of(report) == {"weights.safetensors": SHA}
    assert files_of(GenerateTask(request="g", plan_sha256=SHA)) == {}
    corrected = TRAIN.model_copy(update={"correction_sha256": "b" * 64})
    assert files_of(corrected) == {
        "weights.safetensors": SHA,
        "correction.safetensors": "b" * 64,
    }


@pytest.mark.parametrize(
    "task",
    [
        TRAIN,
        TRAIN.model_copy(update={"correction_sha256": "b" * 64}),
        GenerateTask(request="g", plan_sha256=SHA),
        ReportTask(
            request="p",
            plan_sha256=SHA,
            weights_sha256=SHA,
            rounds=2,
            hospitals=3,
            scores=SCORES,
            trend=(RoundAccuracy(round=1, accuracy=0.5), RoundAccuracy(round=2, accuracy=1.0)),
            share=0.25,
            shares=(0.25, 0.75, 0.0),
        ),
    ],
    ids=lambda task: task.kind,
)
def test_a_task_is_read_as_it_was_written(task):
    assert parse_task(task_bytes(task)) == task


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trend": [{"round": 2, "accuracy": 0.5}, {"round": 1, "accuracy": 0.5}]}, "trend gives"),
        ({"trend": [{"round": 1, "accuracy": 0.5}] * 2}, "trend gives"),
        ({"trend": [{"round": 3, "accuracy": 0.5}]}, "trend gives the rounds .3. of 2"),
        ({"trend": [{"round": 1, "accuracy": 1.5}]}, "accuracy"),
        ({"trend": [{"round": 0, "accuracy": 0.5}]}, "round"),
        ({"share": -0.1}, "share"),
        ({"share": 1.1}, "share"),
        ({"shares": [0.5, 0.4]}, "shares sum to 0.9"),
        ({"shares": [1.5, -0.5]}, "shares"),
    ],
)
def test_what_is_told_of_a_study_must_be_possible(changes, words):
    task = ReportTask(
        request="p", plan_sha256=SHA, weights_sha256=SHA, rounds=2, hospitals=3
    ).model_dump(mode="json")
    with pytest.raises(PlanError, match=words):
        parse_task(json.dumps({**task, **changes}).encode())


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"train"', b'"shell"', "shell"),
        (b'"round":1', b'"round":0', "round"),
        (b'"round":1', b'"round":"1"', "round"),
        (b'"steps":2', b'"steps":10001', "steps"),
        (b"0.1", b"NaN", "learning_rate"),
        (b"0.1", b"-0.1", "learning_rate"),
        (b"0.1", b"Infinity", "learning_rate"),
        (b'"r1"', b'"../r1"', "request"),
        (b'"r1"', b'""', "request"),
        (b'"version":1', b'"version":2', "version"),
        (SHA.encode(), b"short", "plan_sha256"),
        (b'"round"', b'"extra":1,"round"', "extra"),
    ],
)
def test_an_odd_task_is_refused_by_its_field(old, new, field):
    data = task_bytes(TRAIN)
    assert old in data
    with pytest.raises(PlanError, match=field):
        parse_task(data.replace(old, new, 1))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"kind":"train"}'])
def test_what_is_no_task_is_refused(data):
    with pytest.raises(PlanError, match="task is not valid"):
        parse_task(data)

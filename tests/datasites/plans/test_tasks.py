"""Tasks as they travel: what is written is read back; what is odd is refused by its field."""

from __future__ import annotations

import pytest

from datasites.errors import PlanError
from datasites.plans import (
    GenerateTask,
    GlobalScores,
    ReportTask,
    TrainTask,
    parse_task,
    task_bytes,
)

SHA = "a" * 64
TRAIN = TrainTask(
    request="r1", plan_sha256=SHA, round=1, weights_sha256=SHA, steps=2, learning_rate=0.1
)
SCORES = GlobalScores(n_cases=2, accuracy=0.5, macro_f1=0.5, confusion=((1, 0), (1, 0)))


@pytest.mark.parametrize(
    "task",
    [
        TRAIN,
        GenerateTask(request="g", plan_sha256=SHA),
        ReportTask(
            request="p", plan_sha256=SHA, weights_sha256=SHA, rounds=2, hospitals=3, scores=SCORES
        ),
    ],
    ids=lambda task: task.kind,
)
def test_a_task_is_read_as_it_was_written(task):
    assert parse_task(task_bytes(task)) == task


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

"""What a researcher sends, spoiled field by field: a value, or the one error that is refused.

The inbox refuses `DatasitesError` as `malformed_request`; any other exception would end the agent.
"""

import json
import math

import pytest

from datasites.agent.inbox import _countersignature
from datasites.errors import DatasitesError
from datasites.plans import (
    PLAN_FILE,
    DeclaredOutput,
    GenerateTask,
    GeneratorPart,
    GlobalScores,
    ModelPart,
    Plan,
    PoolTask,
    Range,
    ReportPart,
    ReportTask,
    RoundAccuracy,
    Source,
    TrainPart,
    TrainTask,
    make_bundle,
    open_bundle,
    parse_task,
    plan_bytes,
    task_bytes,
)
from privacy import (
    Checkpoint,
    SigningKey,
    canonical_bytes,
    countersign,
    countersignature_to_json,
    fingerprint,
)
from tests.orchestrator.garbagekit import spoiled

SHA = "0" * 64
TASKS = {
    "train": TrainTask(
        request="q", plan_sha256=SHA, round=1, weights_sha256=SHA, steps=1, learning_rate=0.5
    ),
    "generate": GenerateTask(request="q", plan_sha256=SHA),
    "pool": PoolTask(
        request="q",
        plan_sha256=SHA,
        weights_sha256=SHA,
        sources=(Source(hospital="b@h.example", sha256=SHA),),
    ),
    "report": ReportTask(
        request="q",
        plan_sha256=SHA,
        weights_sha256=SHA,
        rounds=1,
        hospitals=3,
        scores=GlobalScores(n_cases=2, accuracy=0.5, macro_f1=0.5, confusion=((1, 0), (1, 0))),
        trend=(RoundAccuracy(round=1, accuracy=0.5),),
    ),
}
PLAN = Plan(
    study="study",
    researcher="r@u.example",
    classes=("a", "b"),
    rounds=2,
    model=ModelPart(name="small_cnn", image_size=32),
    train=TrainPart(
        steps=2,
        sampling_rate=0.5,
        noise_multiplier=5.0,
        clipping_norm=1.0,
        learning_rate=Range(low=0.0, high=1.0),
    ),
    generator=GeneratorPart(
        steps=1, sampling_rate=0.5, noise_multiplier=5.0, clipping_norm=1.0, learning_rate=1e-3
    ),
    reports=ReportPart(cases=2, metrics_noise_multiplier=5.0),
    outputs=(DeclaredOutput(name="weights.safetensors", kind="weights", max_bytes=1_000_000),),
)


def figures(value):
    if isinstance(value, float):
        yield value
    for inner in value.values() if isinstance(value, dict) else ():
        yield from figures(inner)
    for inner in value if isinstance(value, list | tuple) else ():
        yield from figures(inner)


@pytest.mark.parametrize("kind", TASKS)
def test_a_spoiled_task_is_a_task_or_refused(kind):
    taken = 0
    for label, data in spoiled(task_bytes(TASKS[kind])):
        try:
            task = parse_task(data)
        except DatasitesError as error:
            assert len(str(error)) < 1_500, label  # noqa: PT017
            continue
        taken += 1
        assert all(math.isfinite(one) and abs(one) <= 1e6 for one in figures(task.model_dump()))
    assert taken < 40


@pytest.mark.parametrize("part", ["", "train", "generator", "reports", "slots", "model"])
def test_a_spoiled_plan_is_a_plan_or_refused(part):
    raw = json.loads(plan_bytes(PLAN))
    inner = json.dumps(raw[part] if part else raw).encode()
    for label, data in spoiled(inner):
        rest = {name: json.dumps(value) for name, value in raw.items()} | {part: "?"}
        whole = data
        if part:
            fields = ", ".join(f'"{name}": {value}' for name, value in rest.items())
            whole = b"{" + fields.encode().replace(b"?", data) + b"}"
        try:
            plan = open_bundle({PLAN_FILE: whole}).plan
        except DatasitesError as error:
            assert len(str(error)) < 2_500, label  # noqa: PT017
            continue
        assert all(math.isfinite(one) for one in figures(plan.model_dump())), label
    assert make_bundle(PLAN, None).plan == PLAN


def test_a_spoiled_countersignature_is_refused():
    key = SigningKey.generate()
    signed = countersign(
        site="a@h.example",
        request="q",
        receipt_sha256=SHA,
        checkpoint=Checkpoint(sequence=1, entry_hash=SHA),
        key=key,
    )
    honest = canonical_bytes(countersignature_to_json(signed))
    mark = fingerprint(key.public_hex).replace(" ", "-")
    _countersignature(honest, sender_key=mark)
    for _, data in spoiled(honest):
        with pytest.raises(DatasitesError):
            _countersignature(data, sender_key=mark)

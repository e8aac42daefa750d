"""What a job may leave, and nothing else: each file declared, bounded, of the right form.

Outputs are taken under names that begin with a prefix: the noise-only ones have one, the job's own
have none. Whatever breaks a rule raises; what is returned was checked.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from datasites.agent.admission import ReadyJob
from datasites.errors import OutputError
from datasites.plans import (
    EVALUATION_FILE,
    GenerateTask,
    HospitalEvaluation,
    PoolTask,
    ReportTask,
    TrainTask,
    task_event,
    train_event,
)
from datasites.sandbox import take_output
from datasites.worker import (
    GENERATOR_FILE,
    POOLED_IMAGES,
    POOLED_LABELS,
    POOLED_SOURCES,
    REPORTS_FILE,
    RESULT_FILE,
    SYNTHETIC_IMAGES,
    SYNTHETIC_LABELS,
    DraftReports,
    Result,
    read_array,
)
from models import check_plain_weights, check_weights
from privacy import DpEvent

OPENING = f"{REPORTS_FILE}.opening"
"""What the receipt's commitment to drafts is the SHA-256 of: 32 random bytes, then the drafts."""
_RESULT_BYTES = 65_536
_IMAGES_BYTES = 64 * 1024 * 1024
_Arrays = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


def taken(job: ReadyJob, outputs: Path, prefix: str) -> dict[str, bytes]:
    """The result and the declared outputs under names that begin with `prefix`, checked.

    Raises:
        OutputError, WeightsError: one is missing or breaks a rule.
    """
    result = result_of(outputs, prefix)
    event_of(job, result)
    match job.task:
        case GenerateTask():
            files = _synthetic(outputs, job, prefix) | _generator(outputs, job, prefix)
        case PoolTask():
            files = _pooled(outputs, job, job.task)
        case TrainTask():
            files = _weights(outputs, job, prefix)
        case ReportTask():
            files = _reports(outputs, job, prefix)
            files[OPENING] = secrets.token_bytes(32) + files[REPORTS_FILE]
    return {**files, RESULT_FILE: result.model_dump_json().encode()}


def event_of(job: ReadyJob, result: Result) -> DpEvent:
    """What a job cost, by the steps that it took.

    Raises:
        OutputError: it claims none, or more than were reserved.
    """
    plan = job.bundle.plan
    if not isinstance(job.task, TrainTask):
        return task_event(plan, job.task)
    if not 0 < result.steps_taken <= job.task.steps:
        raise OutputError(f"the job claims {result.steps_taken} steps of {job.task.steps} reserved")
    return train_event(plan, steps=result.steps_taken)


def result_of(folder: Path, prefix: str) -> Result:
    """The job's result.

    Raises:
        OutputError: it is missing or malformed.
    """
    data = take_output(folder, f"{prefix}{RESULT_FILE}", max_bytes=_RESULT_BYTES)
    try:
        return Result.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise OutputError(f"the job's result is malformed: {error}") from error


def _weights(folder: Path, job: ReadyJob, prefix: str) -> dict[str, bytes]:
    declared = job.bundle.plan.weights_output
    data = take_output(folder, f"{prefix}{declared.name}", max_bytes=declared.max_bytes)
    check_weights(data, like=job.inputs["weights.safetensors"], max_bytes=declared.max_bytes)
    return {declared.name: data}


def _declared(
    folder: Path,
    job: ReadyJob,
    prefix: str,
    *,
    kind: str,
    name: str,
    form: type[pydantic.BaseModel],
) -> dict[str, bytes]:
    """The document `name` of a `form`, where the plan declares that one such output leaves."""
    declared = [output for output in job.bundle.plan.outputs if output.kind == kind]
    if not declared:
        return {}
    if [output.name for output in declared] != [name]:
        raise OutputError(f"the plan does not declare {name!r} as its {kind}")
    data = take_output(folder, f"{prefix}{name}", max_bytes=declared[0].max_bytes)
    try:
        form.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise OutputError(f"the job's {kind} is malformed: {error}") from error
    return {name: data}


def _reports(folder: Path, job: ReadyJob, prefix: str) -> dict[str, bytes]:
    """The drafts, and the noised counts where they were declared."""
    drafts = _declared(folder, job, prefix, kind="report", name=REPORTS_FILE, form=DraftReports)
    if not drafts:
        raise OutputError(f"the plan does not declare {REPORTS_FILE!r} as its report")
    _check_names(job, DraftReports.model_validate_json(drafts[REPORTS_FILE]))
    return drafts | _declared(
        folder, job, prefix, kind="evaluation", name=EVALUATION_FILE, form=HospitalEvaluation
    )


def _check_names(job: ReadyJob, drafts: DraftReports) -> None:
    """Each draft is the cohort's, the study's or in one of the plan's slots, and once."""
    part = job.bundle.plan.reports
    slots = {f"case-{slot}" for slot in range(1, (part.cases if part else 0) + 1)}
    names = [draft.name for draft in drafts.reports]
    right = all(
        draft.name in slots if draft.kind == "case" else draft.name == draft.kind
        for draft in drafts.reports
    )
    if not right or len(set(names)) != len(names) or "hospital" not in names:
        raise OutputError("the drafts are not the cohort's report and one a slot")


def _synthetic(folder: Path, job: ReadyJob, prefix: str) -> dict[str, bytes]:
    count, size = _drawn(job)
    wanted: _Arrays = {
        SYNTHETIC_IMAGES: (np.dtype(np.uint8), (count, size, size)),
        SYNTHETIC_LABELS: (np.dtype(np.int64), (count,)),
    }
    return _arrays(folder, wanted, prefix)


def _pooled(folder: Path, job: ReadyJob, task: PoolTask) -> dict[str, bytes]:
    count, size = _drawn(job)
    count *= len(task.sources)
    wanted: _Arrays = {
        POOLED_IMAGES: (np.dtype(np.uint8), (count, size, size)),
        POOLED_LABELS: (np.dtype(np.int64), (count,)),
        POOLED_SOURCES: (np.dtype(np.int64), (count,)),
    }
    return _arrays(folder, wanted, "")


def _generator(folder: Path, job: ReadyJob, prefix: str) -> dict[str, bytes]:
    """What training changed, where the plan declares that it may leave."""
    declared = [output for output in job.bundle.plan.outputs if output.kind == "generator"]
    if not declared:
        return {}
    if [output.name for output in declared] != [GENERATOR_FILE]:
        raise OutputError(f"the plan does not declare {GENERATOR_FILE!r} as its generator")
    name = f"{prefix}{GENERATOR_FILE}"
    data = take_output(folder, name, max_bytes=declared[0].max_bytes)
    check_plain_weights(data, max_bytes=declared[0].max_bytes)
    return {GENERATOR_FILE: data}


def _drawn(job: ReadyJob) -> tuple[int, int]:
    """How many images the plan's generator draws, and their side in pixels."""
    part = job.bundle.plan.generator
    if part is None:
        raise OutputError("the plan has no generator")
    return part.images_per_class * len(job.bundle.plan.classes), part.image_size


def _arrays(folder: Path, wanted: _Arrays, prefix: str) -> dict[str, bytes]:
    files = {}
    for name, (dtype, shape) in wanted.items():
        files[name] = take_output(folder, f"{prefix}{name}", max_bytes=_IMAGES_BYTES)
        array = read_array(files[name], name, dtype=dtype)
        if array.shape != shape:
            raise OutputError(f"{name} has the shape {array.shape}; declared {shape}")
    return files

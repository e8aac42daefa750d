"""Reports on the hospital's own test cases, drafted by the LLaMa; the desk holds every one.

Three kinds: a few single cases, the hospital's cohort (from the noised counts only), and where
asked for the researcher's evaluation of the global model. A text that does not pass verification is
never left as a draft: the writer falls back to a template and says so.

What is said of a single case beside its probabilities comes from that image, the model and public
phantoms: image quality, familiarity, the region that mattered. Its confidence is calibrated on the
noised counts, or not at all, and the report says which: no other case's image is looked at.

**Slots.** The plan names a number of slots for cases. Each unit joins by a coin of its own, from
the operating system's cryptographic source, with probability slots over the *noised* number of test
units that this job releases; of a unit that joined one image is drawn. In random order they take
random slots; who finds none left is out, and slots that nobody took stay empty, as does that of a
case of which no report can be made. So a case's presence and its slot say nothing of any other
unit, not even how many there are, and no failure on one image ends the job.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datasites.plans import (
    EVALUATION_FILE,
    GlobalScores,
    HospitalEvaluation,
    ReportPart,
    ReportTask,
)
from datasites.worker.cohort import Cohort, class_scores, cohort_from
from datasites.worker.files import AnyShard, JobFiles
from datasites.worker.protocol import REPORTS_FILE, DraftReport, DraftReports, Job
from datasites.worker.train import load_classifier
from models import (
    OTHERS,
    CaseFacts,
    CaseLook,
    ClassScores,
    CohortFacts,
    Facts,
    HospitalShare,
    ReportWriter,
    TrendPoint,
    calibrated_from,
    noised_evaluation,
    predict,
)
from privacy import TestCounts, cell_noise, os_noise, released

PSEUDONYM_DIGITS = 8
log = logging.getLogger("dura.worker")


def warm_up() -> None:
    """Import what the first report would otherwise wait for."""
    import torch

    torch.set_grad_enabled(False)
    ReportWriter.load(None)


def run(files: JobFiles) -> int:
    """Score the test cases, write the reports; no noised training step is taken."""
    job = files.job
    task, part = job.task, job.plan.reports
    if not isinstance(task, ReportTask) or part is None:
        raise TypeError("a report job needs a report task and a plan with reports")
    shard = files.shard("test")
    model = files.once(load_classifier)
    probabilities = _probabilities(model, shard)
    counts = _released(part, shard, probabilities)
    files.write(EVALUATION_FILE, _evaluation(job, part, task, counts).encode())
    writer = files.once(_writer)
    drafts = [_draft(writer, "hospital", _hospital(job, part, task, counts))]
    if task.scores is not None and part.write_global:
        drafts.append(files.once(_global_draft))
    look = files.once(_look)
    for slot, index in sorted(_slots(part.cases, shard, counts).items()):
        try:
            facts = _case(job, part, task, shard, probabilities, index, look=look, counts=counts)
            drafts.append(_draft(writer, f"case-{slot}", facts))
        except Exception:  # whatever one image does, it does to its own slot
            log.exception("no report can be made of the case in slot %d", slot)
    files.write(REPORTS_FILE, DraftReports(reports=tuple(drafts)).model_dump_json().encode())
    return 0


def _global_draft(files: JobFiles) -> DraftReport:
    """The report on the researcher's own figures, which no shard has a part in."""
    job = files.job
    if not isinstance(job.task, ReportTask) or job.task.scores is None:
        raise TypeError("no scores came along")
    facts = _global(job, job.task, job.task.scores)
    return _draft(files.once(_writer), "global", facts)


def _look(files: JobFiles) -> CaseLook:
    """How single images are judged: by the model and by public phantoms."""
    plan = files.job.plan
    model = files.once(load_classifier)
    return CaseLook.prepare(model, classes=plan.classes, size=plan.model.image_size)


def _writer(files: JobFiles) -> ReportWriter:
    job = files.job
    return ReportWriter.load(files.report_model, device=job.report_device, dtype=job.report_dtype)


def _probabilities(model: nn.Module, shard: AnyShard) -> NDArray[np.float64]:
    """What the model says of each case, [N, C]; the same of every class where it says nothing.

    The weights are the researcher's choice: were the job to fail there, that would tell of a case
    without noise.
    """
    found = predict(model, shard.images)
    usable = np.isfinite(found).all(axis=1, keepdims=True)
    return np.clip(np.where(usable, found, 1.0 / found.shape[1]), 0.0, 1.0)


def pseudonym(key: str, shard: AnyShard, index: int) -> str:
    """A case's name in reports: only the holder of the hospital's key can resolve it."""
    image = np.ascontiguousarray(shard.images[index]).tobytes()
    mark = hmac.new(bytes.fromhex(key), image, hashlib.sha256).hexdigest()
    return f"case-{mark[:PSEUDONYM_DIGITS]}"


def _slots(count: int, shard: AnyShard, counts: TestCounts) -> dict[int, int]:
    """Slots that are taken, 1 to `count`, and the image in each; see the module's docstring."""
    draw = secrets.SystemRandom()
    published = max(1.0, float(counts.confusion.sum()))
    rate = min(1.0, count / published)
    joined = [unit for unit in np.unique(shard.units) if draw.random() < rate]
    draw.shuffle(joined)
    numbers = draw.sample(range(1, count + 1), count)
    return {
        slot: int(draw.choice(np.flatnonzero(shard.units == unit)))
        for slot, unit in zip(numbers, joined, strict=False)
    }


def _case(
    job: Job,
    part: ReportPart,
    task: ReportTask,
    shard: AnyShard,
    probabilities: NDArray[np.float64],
    index: int,
    *,
    look: CaseLook,
    counts: TestCounts,
) -> Facts:
    """What is said of one image."""
    _, noise = cell_noise(part.metrics_noise_multiplier, classes=len(shard.classes))
    row = probabilities[index] / probabilities[index].sum()
    seen, top = look.at(shard.images[index]), int(row.argmax())
    return CaseFacts(
        hospital=job.hospital,
        case_id=pseudonym(job.pseudonym_key, shard, index),
        predicted=shard.classes[top],
        probabilities={c: float(p) for c, p in zip(shard.classes, row, strict=True)},
        model_sha256=task.weights_sha256,
        dataset_version=job.dataset_version,
        epsilon=_claimed(job),
        delta=job.claim.delta,
        privacy_unit=job.claim.unit,
        calibration=calibrated_from(counts.histograms[top], float(row[top]), noise=noise),
        outlier=seen.outlier,
        quality=seen.quality,
        region=seen.region,
    )


def _released(part: ReportPart, shard: AnyShard, probabilities: NDArray[np.float64]) -> TestCounts:
    """The one Gaussian release of this job; everything about the cohort is derived from it."""
    return released(
        probabilities,
        np.asarray(shard.labels),
        np.asarray(shard.units),
        bins=part.score_bins,
        noise_multiplier=part.metrics_noise_multiplier,
        noise=os_noise(),
    )


def _evaluation(job: Job, part: ReportPart, task: ReportTask, counts: TestCounts) -> str:
    """The noised counts as they leave."""
    return HospitalEvaluation.model_validate(
        {
            "classes": job.plan.classes,
            "weights_sha256": task.weights_sha256,
            "noise_multiplier": part.metrics_noise_multiplier,
            "confusion": counts.confusion.tolist(),
            "histograms": counts.histograms.tolist(),
        }
    ).model_dump_json()


def _hospital(job: Job, part: ReportPart, task: ReportTask, counts: TestCounts) -> Facts:
    """The cohort's facts, from the released counts."""
    classes = job.plan.classes
    noise, fine = cell_noise(part.metrics_noise_multiplier, classes=len(classes))
    figures = noised_evaluation(
        counts.confusion,
        counts.histograms,
        classes=classes,
        confusion_noise=noise,
        histogram_noise=fine,
    )
    areas = [each.auc for each in figures.per_class]
    scores = class_scores(counts.confusion, noise=noise, areas=areas)
    cohort = cohort_from(counts.confusion, noise=noise)
    facts = _cohort_facts(
        job, task, cohort, scores, kind="hospital", name=job.hospital, noised=True
    )
    if task.share is None or task.hospitals < 2:
        return facts
    own = HospitalShare(hospital=job.hospital, share=task.share)
    return replace(facts, shares=(own, HospitalShare(hospital=OTHERS, share=1.0 - task.share)))


def _global(job: Job, task: ReportTask, scores: GlobalScores) -> Facts:
    """The researcher's own evaluation, as it was sent along."""
    confusion = np.array(scores.confusion, float)
    facts = _cohort_facts(
        job,
        task,
        cohort_from(confusion, noise=0.0),
        class_scores(confusion, noise=0.0),
        kind="global",
        name=job.plan.study,
        noised=False,
    )
    named = job.plan.reports.hospitals if job.plan.reports is not None else ()
    # Who was named and delivered nothing did not take part.
    took_part = [
        HospitalShare(hospital=name, share=share)
        for name, share in zip(named, task.shares, strict=bool(task.shares))
        if share > 0
    ]
    if not took_part:
        return facts
    hospitals = tuple(share.hospital for share in took_part)
    return replace(facts, hospitals=hospitals, n_hospitals=None, shares=tuple(took_part))


def _cohort_facts(
    job: Job,
    task: ReportTask,
    cohort: Cohort,
    scores: Sequence[ClassScores],
    *,
    kind: str,
    name: str,
    noised: bool,
) -> CohortFacts:
    classes = job.plan.classes
    areas = [each.auc for each in scores if each.auc is not None]
    return CohortFacts(
        kind="hospital" if kind == "hospital" else "global",
        name=name,
        n_cases=cohort.n_cases,
        accuracy=cohort.accuracy,
        intervals={"accuracy": (cohort.low, cohort.high)},
        macro_f1=cohort.macro_f1,
        macro_auc=sum(areas) / len(areas) if len(areas) == len(scores) else None,
        per_class=dict(zip(classes, scores, strict=True)),
        confusion={
            label: {other: float(cell) for other, cell in zip(classes, row, strict=True)}
            for label, row in zip(classes, cohort.confusion, strict=True)
        },
        n_hospitals=task.hospitals,
        rounds=task.rounds,
        trend=_trend(task),
        epsilon=_claimed(job),
        delta=job.claim.delta,
        privacy_unit=job.claim.unit,
        noised=noised,
        model_sha256=task.weights_sha256,
    )


def _trend(task: ReportTask) -> tuple[TrendPoint, ...]:
    """The accuracy over the rounds; a single round has no trend."""
    if len(task.trend) < 2:
        return ()
    return tuple(TrendPoint(round=p.round, accuracy=p.accuracy) for p in task.trend)


def _claimed(job: Job) -> float | None:
    """The epsilon a report may state; None says that there is no guarantee."""
    return job.claim.epsilon if math.isfinite(job.claim.epsilon) else None


def _draft(writer: ReportWriter, name: str, facts: Facts) -> DraftReport:
    report = writer.write(facts, seed=secrets.randbits(31))
    return DraftReport(
        name=name,
        kind=facts.kind,
        text=report.text,
        facts=facts.to_json(),
        source=report.source,
        attempts=report.attempts,
    )

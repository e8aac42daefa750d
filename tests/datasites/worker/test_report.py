"""The report job on the hospital's own test cases, with the LLaMa that ships.

Proven: every draft left passes verification against its own facts; case names are pseudonyms that
depend on the hospital's key and the image; one case a privacy unit, in slots that chance gives; the
cohort's figures are the noised ones; an infinite epsilon is stated as no guarantee; a global report
is written only when scores came along and the plan asks for it; other kinds of job are refused.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datasites.plans import GlobalScores, ReportPart, ReportTask, RoundAccuracy
from datasites.plans.answers import EVALUATION_FILE, HospitalEvaluation
from datasites.worker import report
from datasites.worker.cohort import class_scores
from datasites.worker.protocol import REPORTS_FILE, DraftReports
from models import OTHERS, CaseLook, Estimate, build_classifier, verify_report, weights_to_bytes
from models.reports.facts import facts_from_json
from privacy import TestCounts

CLASSES = ("glioma", "notumor")
MANY = 1_000
"""So many slots for four cases that each joins, whatever noise does."""
SCORES = GlobalScores(n_cases=20, accuracy=0.85, macro_f1=0.85, confusion=((8, 2), (1, 9)))


@pytest.fixture(autouse=True)
def _gradients():
    before = torch.is_grad_enabled()
    yield
    torch.set_grad_enabled(before)


@pytest.fixture
def task() -> ReportTask:
    return ReportTask(
        request="rep", plan_sha256="a" * 64, weights_sha256="b" * 64, rounds=2, hospitals=3
    )


@pytest.fixture
def probabilities(test_shard) -> np.ndarray:
    """What a classifier that is right on every case gives."""
    return np.where(np.eye(2)[test_shard.labels] == 1, 0.9, 0.1)


@pytest.fixture
def write_cases(test_shard, probabilities):
    """The cases' facts, seen through an untrained classifier."""

    def write(job, part, task):
        model = build_classifier("small_cnn", classes=2, image_size=32)
        look = CaseLook.prepare(model, classes=CLASSES, size=32)
        counts = report._released(part, test_shard, probabilities)
        return [
            report._case(
                job, part, task, test_shard, probabilities, index, look=look, counts=counts
            )
            for index in sorted(report._slots(part.cases, test_shard, counts).values())
        ]

    return write


def test_every_draft_left_is_borne_out_by_its_facts(make_files, output, task, plan):
    report.warm_up()
    assert not torch.is_grad_enabled()
    part = ReportPart(cases=MANY, metrics_noise_multiplier=0.5)
    files = make_files(
        task.model_copy(update={"scores": SCORES}), plan=plan.model_copy(update={"reports": part})
    )
    assert report.run(files) == 0
    found = DraftReports.model_validate_json(output(files, REPORTS_FILE)).reports
    assert [draft.kind for draft in found] == ["hospital", "global", *["case"] * 4]
    assert len({draft.name for draft in found}) == len(found)
    for draft in found:
        facts = facts_from_json(draft.facts)
        verify_report(draft.text, facts)
        assert (facts.kind, facts.model_sha256, facts.epsilon) == (draft.kind, "b" * 64, 2.5)
    assert "llama" in {draft.source for draft in found}
    # The evaluation that leaves holds the counts that the hospital's report was written from.
    left = HospitalEvaluation.model_validate_json(output(files, EVALUATION_FILE))
    facts = facts_from_json(found[0].facts)
    rounded = [[max(0, round(cell)) for cell in row] for row in left.confusion]
    assert [list(map(int, row.values())) for row in facts.confusion.values()] == rounded
    assert (left.weights_sha256, left.noise_multiplier) == ("b" * 64, 0.5)
    assert np.array(left.histograms).shape == (2, 2, 8)


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_weights_that_overflow_on_a_case_do_not_fail_the_job(make_files, output, task, value):
    """A failure would tell the researcher, without noise, that such a case is there."""
    state = build_classifier("small_cnn", classes=2, image_size=32).state_dict()
    huge = {name: torch.full_like(tensor, value) for name, tensor in state.items()}
    files = make_files(task, inputs={"weights.safetensors": weights_to_bytes(huge)})
    assert report.run(files) == 0
    left = HospitalEvaluation.model_validate_json(output(files, EVALUATION_FILE))
    assert np.isfinite(left.confusion).all()


@pytest.mark.parametrize("scores", [None, SCORES])
def test_no_global_report_that_nobody_asked_for(make_files, output, task, plan, scores):
    part = ReportPart(cases=0, metrics_noise_multiplier=0.5, write_global=scores is None)
    quiet = plan.model_copy(update={"reports": part})
    files = make_files(task.model_copy(update={"scores": scores}), plan=quiet)
    report.run(files)
    found = DraftReports.model_validate_json(output(files, REPORTS_FILE)).reports
    assert [draft.kind for draft in found] == ["hospital"]


def test_a_case_states_what_the_model_said(make_files, task, shard, test_shard, write_cases):
    job = make_files(task).job
    cases = write_cases(job, ReportPart(cases=MANY, metrics_noise_multiplier=0.5), task)
    assert len(cases) == 4
    for facts in cases:
        name = facts.case_id
        index = next(
            i for i in range(len(test_shard)) if report.pseudonym(job.pseudonym_key, test_shard, i)
            == name
        )  # fmt: skip
        assert facts.predicted == test_shard.classes[test_shard.labels[index]]
        assert facts.probabilities[facts.predicted] == pytest.approx(0.9)
        assert (facts.case_id, facts.dataset_version) == (name, job.dataset_version)
        # The shards' own hashes would tell of every image.
        assert not any(each.version in facts.to_json() for each in (shard, test_shard))
        # Four units under this much noise can hardly say how often a score is right; by a rare
        # draw they seem to, and only then may confidence be high.
        assert facts.calibration is None or facts.calibration.basis.startswith("noised counts")
        assert facts.calibration is not None or facts.confidence != "high"
        assert facts.quality == ()
        assert facts.outlier is not None


def test_confidence_is_calibrated_where_the_counts_can_carry_it(make_files, task, write_cases):
    job = make_files(task).job
    for facts in write_cases(job, ReportPart(cases=MANY, metrics_noise_multiplier=0.02), task):
        assert facts.calibration is None or facts.calibration.basis.startswith("noised counts")
        assert facts.calibrated in (None, pytest.approx(1.0, abs=1e-3))


def test_a_class_without_cases_has_no_scores():
    confusion = np.array([[8.0, 0.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    areas = (Estimate(0.9, 0.8, 1.0),) * 3
    first, second, empty = class_scores(confusion, noise=0.0, areas=areas)
    assert (first.cases, second.cases, empty.cases) == (8, 4, 0)
    assert (first.auc, empty.auc, empty.recall, empty.f1) == (0.9, None, None, None)
    assert empty.precision is None
    assert second.recall == pytest.approx(0.75)
    assert second.intervals["recall"][0] < 0.75 < second.intervals["recall"][1]


@pytest.mark.parametrize("asked", [0, 1, 3, MANY])
def test_one_case_a_unit_each_in_a_slot_of_its_own(test_shard, asked):
    assert test_shard.unit_count == 4
    counts = TestCounts(np.full((2, 2), 0.5), np.zeros((2, 2, 8)))  # two units, as far as is told
    for _ in range(50):
        slots = report._slots(asked, test_shard, counts)
        assert set(slots) <= set(range(1, asked + 1))
        units = [int(test_shard.units[index]) for index in slots.values()]
        assert len(set(units)) == len(units) <= min(asked, 4)


def test_each_unit_joins_by_a_coin_whose_rate_follows_from_what_was_noised(test_shard):
    """Not by how many units there are: two slots for what is told to be ten units, one in five."""
    counts = TestCounts(np.full((2, 2), 2.5), np.zeros((2, 2, 8)))
    joined, both, tries = np.zeros(4), 0, 4000
    for _ in range(tries):
        units = {int(test_shard.units[i]) for i in report._slots(2, test_shard, counts).values()}
        joined[list(units)] += 1
        both += {0, 1} <= units
    # Of four coins more than two fall in 2.7 % of the draws; then a slot is lost by chance.
    assert np.allclose(joined / tries, 0.2, atol=0.03)
    assert abs(both / tries - 0.04) < 0.015


def test_slots_and_images_are_drawn_evenly(test_shard):
    """A slot is no rank, and who is left out where slots are few is chance."""
    counts = TestCounts(np.full((2, 2), 0.1), np.zeros((2, 2, 8)))  # every unit joins
    seen = np.zeros((3, len(test_shard)))
    for _ in range(3000):
        for slot, index in report._slots(3, test_shard, counts).items():
            seen[slot - 1, index] += 1
    assert np.allclose(seen / 3000, 1 / 8, atol=0.04)


def test_a_case_of_which_no_report_can_be_made_leaves_its_slot_empty(
    make_files, output, task, plan, monkeypatch
):
    """Whatever one image does, it does to its own slot, and the job ends as it would without it."""

    def fail(*_args, **_fields):
        raise ValueError("this image")

    monkeypatch.setattr(report, "_case", fail)
    part = ReportPart(cases=MANY, metrics_noise_multiplier=0.5)
    files = make_files(task, plan=plan.model_copy(update={"reports": part}))
    assert report.run(files) == 0
    found = DraftReports.model_validate_json(output(files, REPORTS_FILE)).reports
    assert [draft.kind for draft in found] == ["hospital"]


def test_the_cohorts_figures_are_noised(make_files, task, test_shard, probabilities):
    job = make_files(task).job
    # Noise this loud cannot leave the exact counts of four units; this quiet, it must.
    seen = []
    for noise in (1e4, 0.02):
        part = ReportPart(cases=0, metrics_noise_multiplier=noise)
        counts = report._released(part, test_shard, probabilities)
        seen.append(report._hospital(job, part, task, counts))
    assert all(facts.noised for facts in seen)
    assert seen[0].n_cases != 4
    assert seen[1].n_cases == 4
    assert seen[1].accuracy == pytest.approx(1.0, abs=0.1)
    assert seen[1].confusion == {
        "glioma": {"glioma": 2.0, "notumor": 0.0},
        "notumor": {"glioma": 0.0, "notumor": 2.0},
    }


def test_the_global_report_states_the_researchers_figures(make_files, task):
    facts = report._global(make_files(task).job, task, SCORES)
    assert facts.accuracy == pytest.approx(17 / 20)
    assert (facts.kind, facts.name, facts.noised) == ("global", "study", False)


TREND = (RoundAccuracy(round=1, accuracy=0.5), RoundAccuracy(round=2, accuracy=0.85))


def test_trend_and_share_reach_the_facts_and_no_other_hospital_is_told(
    make_files, task, test_shard, probabilities, plan
):
    told = task.model_copy(update={"trend": TREND, "share": 0.25, "scores": SCORES})
    job = make_files(told).job
    part = ReportPart(cases=0, metrics_noise_multiplier=0.02)
    own = report._hospital(job, part, told, report._released(part, test_shard, probabilities))
    study = report._global(job, told, SCORES)
    for facts in (own, study):
        assert [(point.round, point.accuracy) for point in facts.trend] == [(1, 0.5), (2, 0.85)]
        assert (facts.n_hospitals, facts.hospitals, facts.trend_word) == (3, (), "rising")
    assert [(s.hospital, s.share) for s in own.shares] == [(job.hospital, 0.25), (OTHERS, 0.75)]
    assert study.shares == ()


def test_the_global_report_gives_the_shares_of_hospitals_that_the_plan_names(
    make_files, task, plan
):
    part = ReportPart(cases=0, metrics_noise_multiplier=0.5, hospitals=("A", "B", "C"))
    told = task.model_copy(update={"scores": SCORES, "shares": (0.25, 0.75, 0.0)})
    named = plan.model_copy(update={"reports": part})
    facts = report._global(make_files(told, plan=named).job, told, SCORES)
    assert facts.hospitals == ("A", "B")
    assert [share.share for share in facts.shares] == [0.25, 0.75]
    assert report._global(make_files(task, plan=named).job, task, SCORES).hospitals == ()


@pytest.mark.parametrize(
    "changes", [{"trend": TREND[:1]}, {"share": 1.0, "hospitals": 1}, {"share": None}]
)
def test_one_round_has_no_trend_and_one_hospital_no_share(
    make_files, task, test_shard, probabilities, changes
):
    told = task.model_copy(update=changes)
    part = ReportPart(cases=0, metrics_noise_multiplier=0.5)
    job = make_files(told).job
    facts = report._hospital(job, part, told, report._released(part, test_shard, probabilities))
    assert (facts.trend, facts.shares) == ((), ())


def test_no_guarantee_is_no_epsilon(make_files, task, write_cases):
    part = ReportPart(cases=MANY, metrics_noise_multiplier=0.5)
    job = make_files(task, epsilon=1.0).job
    endless = job.model_copy(update={"claim": job.claim.model_copy(update={"epsilon": math.inf})})
    for given, stated in ((job, 1.0), (endless, None)):
        assert report._global(given, task, SCORES).epsilon == stated
        for facts in write_cases(given, part, task):
            assert facts.epsilon == stated


def test_a_pseudonym_depends_on_key_and_image(test_shard):
    one = report.pseudonym("00ff", test_shard, 0)
    assert one == report.pseudonym("00ff", test_shard, 0)
    assert one.startswith("case-")
    assert one != report.pseudonym("00fe", test_shard, 0)
    assert one != report.pseudonym("00ff", test_shard, 1)


def test_other_jobs_are_refused(make_files, train_task, task, plan):
    with pytest.raises(TypeError, match="report"):
        report.run(make_files(train_task()))
    without = plan.model_copy(update={"reports": None})
    with pytest.raises(TypeError, match="report"):
        report.run(make_files(task, plan=without))

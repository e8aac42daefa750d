"""`dura bench accuracy` on phantoms: a study's plan, its noise, and figures that can be had again.

Proven: hospitals hold whole units, disjoint from each other and from what is judged; a validation
part is cut from training alone; noise is that of the calibrated plan, and much of it costs
accuracy; a generator's spend leaves the head more noise, and images without privacy void the
epsilon; a hospital's figure follows from its mix of classes; the command writes JSON, table and
curve that agree; the late blocks learn, by every strategy that they are measured with.
"""

import json

import numpy as np
import pytest
import torch

from models import EncoderTuned, TunedStart, draw_phantoms, one_step, tune
from orchestrator.bench import head as accuracy_head
from orchestrator.bench import tuned as accuracy_tuned
from orchestrator.bench.ablation import Synthetic
from orchestrator.bench.accuracy import AccuracyBench
from orchestrator.bench.head import default_study
from orchestrator.bench.measured import (
    HEAD,
    STRATEGIES,
    TUNED,
    Case,
    ablation_cases,
    cases,
    tuned_cases,
)
from orchestrator.bench.tables import as_text, curve_png, document, summary, table
from orchestrator.demo import write_phantoms
from orchestrator.study import template

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "data"
    write_phantoms(path, per_class=30, seed=4)
    return path


@pytest.fixture(scope="module")
def bench(folder):
    return AccuracyBench(folder)


@pytest.fixture(scope="module")
def rows(bench):
    asked = (None, 8.0, 0.05)
    return [bench.measure(Case(recipe=HEAD, alpha=None, epsilon=e, seed=0)) for e in asked]


@pytest.mark.parametrize("alpha", [None, 0.1])
@pytest.mark.parametrize("validation", [False, True])
def test_no_unit_stands_at_two_places(folder, bench, alpha, validation):
    same = AccuracyBench(folder, validation=True).data if validation else bench.data
    division = same.divide(alpha=alpha, seed=1)
    parts = [set(same.units[rows].tolist()) for rows in (*division.hospitals, division.judged)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert all(parts)
    held_out = bench.data.divide(alpha=alpha, seed=1).judged
    assert (set(held_out) & set(division.judged) == set()) == validation


def test_a_test_folder_is_all_that_is_judged(folder, bench):
    other = AccuracyBench(folder, test=folder).data
    division = other.divide(alpha=None, seed=0)
    assert sum(map(len, division.hospitals)) == other.train_images
    assert division.judged.min() == other.train_images
    assert len(division.judged) == len(other.labels) - other.train_images


def test_the_plan_is_the_default_studys_and_noise_costs_accuracy(rows):
    free, paid, drowned = rows
    _, plan = default_study(epsilon=8.0, classes=CLASSES)
    assert paid.noise_multiplier == plan.train.noise_multiplier > 1
    assert (free.noise_multiplier, free.rounds) == (0.0, plan.rounds)
    assert free.evaluation.accuracy > 0.5
    assert drowned.evaluation.accuracy < free.evaluation.accuracy - 0.1


def test_the_same_seed_gives_the_same_figure(bench, rows):
    again = bench.measure(rows[1].case)
    assert again.evaluation == rows[1].evaluation


def test_a_hospitals_figure_is_recall_by_its_mix(bench, rows):
    row = rows[0]
    division = bench.data.divide(alpha=None, seed=0)
    recall = {score.name: score.recall for score in row.evaluation.per_class}
    labels = [CLASSES[label] for label in bench.data.labels[division.hospitals[2]]]
    assert row.hospitals["C"] == pytest.approx(np.mean([recall[name] for name in labels]))
    assert len(row.hospitals) == 5


def test_json_table_and_curve_agree(bench, rows):
    whole = document(bench, rows, command="dura bench accuracy")
    found = json.loads(as_text(whole))
    assert found == json.loads(json.dumps(whole))
    assert as_text(whole).count('"seed"') == len(rows)
    assert [row["accuracy"] for row in found["rows"]] == [r.evaluation.accuracy for r in rows]
    lines = table(found["summary"]).splitlines()
    assert len(lines) == 2 + len(rows)
    assert f"{rows[1].evaluation.accuracy:.3f}" in lines[3]
    assert curve_png(found["summary"]).startswith(b"\x89PNG")
    twice = summary([rows[1], rows[1]])
    assert (twice[0]["seeds"], twice[0]["accuracy"]["deviation"]) == (2, 0.0)


def test_what_is_measured():
    quick, whole = cases(quick=True, seeds=1), cases(quick=False, seeds=3) + tuned_cases(seeds=2)
    assert {case.alpha for case in quick} == {None, 0.1}
    assert {case.epsilon for case in quick} == {8.0, 3.0, 1.0, None}
    assert {case.recipe for case in whole} == {HEAD, TUNED}
    assert len({(c.name, c.partition, c.epsilon, c.seed) for c in whole}) == len(whole)


def test_a_share_of_the_data_is_whole_units_of_the_rest_and_judged_alike(bench):
    whole, tenth = (bench.data.divide(alpha=None, seed=2, share=share) for share in (1.0, 0.6))
    units = [{*bench.data.units[np.concatenate(d.hospitals)]} for d in (whole, tenth)]
    assert units[1] < units[0]
    assert len(units[1]) == pytest.approx(0.6 * len(units[0]), rel=0.1)
    assert np.array_equal(whole.judged, tenth.judged)


def test_the_ablation_keeps_those_that_share_generators_together():
    asked = ablation_cases(seeds=2)
    places = [(case.alpha, case.share, case.seed) for case in asked]
    assert len(set(places)) == 6 == len(asked) / len(Synthetic)
    assert places == sorted(places, key=list(dict.fromkeys(places)).index)
    assert {case.epsilon for case in asked} == {8.0}


@pytest.fixture
def short_generator(monkeypatch):
    text = template._GENERATOR
    for old in ("images_per_class = 16", "sampling_steps = 10", "\nsteps = 4", "draws = 2"):
        assert old in text
        text = text.replace(old, old[: old.index("=")] + "= 1")
    monkeypatch.setattr(accuracy_head, "_VARIANTS", 1)
    monkeypatch.setattr(template, "_GENERATOR", text)


@pytest.mark.usefixtures("short_generator")
def test_what_is_added_is_paid_for_and_images_without_privacy_void_epsilon(bench):
    rows = {
        added: bench.measure(Case(recipe=HEAD, alpha=None, epsilon=8.0, seed=0, added=added))
        for added in Synthetic
    }
    _, plain = default_study(epsilon=8.0, classes=CLASSES)
    _, spends = default_study(epsilon=8.0, classes=CLASSES, generator=True)
    assert spends.train.noise_multiplier > plain.train.noise_multiplier
    for added, row in rows.items():
        paid = added in (Synthetic.LOCAL_DP, Synthetic.POOLED_DP)
        expected = spends if paid else plain
        assert row.noise_multiplier == expected.train.noise_multiplier
    assert len({row.evaluation for row in rows.values()}) == len(Synthetic)
    lines = {line["recipe"]: line["epsilon"] for line in summary(list(rows.values()))}
    assert len(lines) == len(Synthetic)
    assert [name for name, epsilon in lines.items() if epsilon is None] == [
        rows[Synthetic.NON_PRIVATE].case.name
    ]


def test_late_blocks_learn_and_a_proximal_term_holds_them(bench):
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 12), size=64, seed=1)
    start, labels = TunedStart.of(drawn.images), torch.from_numpy(drawn.labels)
    moved = []
    for mu in (0.0, 100.0):
        torch.manual_seed(0)
        model = EncoderTuned(classes=4)
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            tune(
                model,
                start,
                labels,
                torch.arange(len(labels)),
                learning_rate=1e-3,
                proximal_mu=mu,
                generator=generator,
            )
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
        moved.append(float((after - before).norm()))
        if mu == 0.0:
            right = model.probabilities(start).argmax(1) == drawn.labels
            assert right.mean() > 0.5
    assert moved[1] < 0.9 * moved[0]


def test_one_step_is_the_negative_gradient():
    drawn = draw_phantoms(counts=dict.fromkeys(CLASSES, 3), size=64, seed=1)
    start, labels = TunedStart.of(drawn.images), torch.from_numpy(drawn.labels)
    torch.manual_seed(0)
    model = EncoderTuned(classes=4)
    model.drop.p = 0.0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rows = torch.arange(len(labels))
    one_step(model, start, labels, rows, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - parameter.grad)
    assert model.head.bias.grad.abs().max() > 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_without_privacy_trains_the_late_blocks(bench, monkeypatch, strategy):
    """Few passes over few phantoms: better than chance, and every hospital took part."""
    monkeypatch.setattr(accuracy_tuned, "_PASSES", 2)
    monkeypatch.setattr(accuracy_tuned, "_AVERAGED", 1)
    monkeypatch.setattr(accuracy_tuned, "_BATCH", 10)
    monkeypatch.setattr(accuracy_tuned, "_SERVER", ((1e-3, 2), (2e-4, 1)))
    asked = []
    federate = accuracy_tuned.federate

    def watched(model, local, **more):
        federate(model, lambda place, n: asked.append(place) or local(place, n), **more)

    monkeypatch.setattr(accuracy_tuned, "federate", watched)
    row = bench.measure(Case(recipe=TUNED, alpha=None, epsilon=None, seed=0, strategy=strategy))
    assert set(asked) == set(range(5))
    assert len(asked) == 5 * row.rounds
    assert row.noise_multiplier == 0.0
    assert row.evaluation.accuracy > 0.4

"""`dura bench recipes` on phantoms: every recipe is trained by the plan that it writes.

Proven: each recipe moves every weight that is trained, with the noise and the rounds of its own
plan, and the same seed gives the same figure; the default recipe gives what the benchmark of the
default plan does; a recipe that varies images or trains a whole network is not measured as if it
did not; the command writes rows of the common form, and knows no other name.
"""

import json
import sys
from dataclasses import replace

import pytest
import torch

from models import initial_weights
from orchestrator import cli
from orchestrator.bench import recipes as accuracy_recipes
from orchestrator.bench.accuracy import AccuracyBench
from orchestrator.bench.head import default_study
from orchestrator.bench.measured import HEAD, Case, recipe_cases
from orchestrator.demo import write_phantoms
from orchestrator.errors import StudyError
from orchestrator.study import recipes
from orchestrator.study.recipes import RECIPES, recipe_names

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "data"
    write_phantoms(path, per_class=18, seed=4)
    return path


@pytest.fixture(scope="module")
def bench(folder):
    return AccuracyBench(folder)


@pytest.fixture
def short(monkeypatch):
    """Two rounds and two local steps at most, of whatever recipe."""
    few = {
        name: replace(recipe, rounds=2, steps=min(2, recipe.steps))
        for name, recipe in RECIPES.items()
    }
    monkeypatch.setattr(recipes, "RECIPES", few)
    monkeypatch.setattr(recipes, "_BY_EPSILON", ((0.0, 2, 120.0),))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_trained_by_its_own_plan(bench, name, monkeypatch):
    ends = []
    federate = accuracy_recipes.federate

    def watched(model, local, *, aggregator, **more):
        assert aggregator.settings.name == RECIPES[name].strategy
        federate(model, local, aggregator=aggregator, **more)
        ends.append({key: value.clone() for key, value in model.state_dict().items()})

    monkeypatch.setattr(accuracy_recipes, "federate", watched)
    case = Case(recipe=name, alpha=None, epsilon=8.0, seed=0)
    row = bench.measure(case)
    _, plan = default_study(epsilon=8.0, classes=CLASSES, recipe=name)
    assert (row.noise_multiplier, row.rounds) == (plan.train.noise_multiplier, 2)
    start = initial_weights(plan.model.name, text=None, classes=4, image_size=160, seed=0)
    unmoved = [key for key, value in ends[0].items() if torch.equal(value, start[key])]
    assert unmoved == []


@pytest.mark.usefixtures("short")
def test_the_same_seed_gives_the_same_figure(bench):
    rows = [
        bench.measure(Case(recipe="head-fedavg", alpha=None, epsilon=8.0, seed=s))
        for s in (1, 1, 2)
    ]
    assert rows[0].evaluation == rows[1].evaluation != rows[2].evaluation


@pytest.mark.usefixtures("short")
def test_the_default_recipe_is_the_default_plan(bench):
    rows = [bench.measure(Case(recipe=r, alpha=None, epsilon=8.0, seed=3)) for r in (HEAD, "head")]
    assert rows[0].evaluation.accuracy == pytest.approx(rows[1].evaluation.accuracy, abs=0.001)
    assert rows[0].noise_multiplier == rows[1].noise_multiplier
    assert rows[0].case.name == rows[1].case.name


@pytest.mark.parametrize("other", [{"augment": True}, {"model": "small_cnn"}])
def test_a_recipe_that_trains_on_images_is_refused_not_measured_as_something_else(
    bench, monkeypatch, other
):
    other = replace(RECIPES["head-fedavg"], **other)
    monkeypatch.setattr(recipes, "RECIPES", {"head-fedavg": other})
    with pytest.raises(StudyError, match="on images, not on kept features"):
        bench.measure(Case(recipe="head-fedavg", alpha=None, epsilon=8.0, seed=0))


def test_cases_are_every_recipe_over_both_divisions():
    asked = recipe_cases(seeds=2)
    assert len({(c.recipe, c.alpha, c.seed) for c in asked}) == len(asked) == 4 * 2 * 2
    assert {c.epsilon for c in asked} == {8.0}
    assert {c.alpha for c in asked} == {None, 0.5}
    assert len({c.name for c in asked}) == 4
    assert {c.alpha for c in recipe_cases(seeds=1, alpha=0.1)} == {None, 0.1}
    with pytest.raises(StudyError, match="no recipe is called 'best'"):
        recipe_cases(seeds=1, names=["best"])


@pytest.mark.usefixtures("short")
def test_the_command_writes_rows_of_the_common_form(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.json"
    words = ("--data", folder, "--seeds", 1, "--recipe", "head-fedavg", "--out", out)
    monkeypatch.setattr(sys, "argv", ["dura", "bench", "recipes", *map(str, words)])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert not ending.value.code
    found = json.loads(out.read_text())
    assert [row["partition"] for row in found["rows"]] == ["IID", "Dirichlet 0.5"]
    assert {row["recipe"] for row in found["rows"]} == {RECIPES["head-fedavg"].words}
    assert found["summary"][0]["recipe"] in capsys.readouterr().out

"""Recipes: every name makes a study that passes its check, and costs at most what was asked.

Proven through the program itself: `dura study init --recipe` and `dura study check`, which
calibrates the noise and rehearses a round in the sandbox; that a recipe and a model which do not
agree are refused before a file is written; that the default is what no name gives.
"""

import re
import sys
from dataclasses import replace

import pytest

from datasites import plan_events
from models import classifier_names
from orchestrator import cli
from orchestrator.errors import StudyError
from orchestrator.study.recipes import DEFAULT, RECIPES, recipe_for, recipe_names
from orchestrator.study.study import STUDY_FILE, read_study, study_plan
from privacy import epsilon


@pytest.fixture
def dura(monkeypatch, capsys):
    """Run the program: exit code and all it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dura", *map(str, words)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        said = capsys.readouterr()
        return int(ending.value.code or 0), said.out + said.err

    return run


@pytest.fixture
def init(dura, tmp_path):
    """`dura study init` with more words; exit code, what it said, and the study's folder."""
    relay, study = tmp_path / "relay", tmp_path / "study"
    relay.mkdir()

    def run(*words):
        common = ("--name", "n", "--email", "r@university.example", "--relay", relay)
        return *dura("study", "init", study, *common, "--hospitals", "a@x.example", *words), study

    return run


@pytest.mark.parametrize("name", recipe_names())
def test_a_study_of_every_recipe_passes_its_check(init, dura, name):
    code, said, folder = init("--recipe", name, "--epsilon", 8)
    assert code == 0, said
    small = (folder / STUDY_FILE).read_text().replace("image_size = 160", "image_size = 32")
    (folder / STUDY_FILE).write_text(small)
    plan = study_plan(read_study(folder))
    assert 7.0 < epsilon(plan_events(plan), delta=1e-5) <= 8.0
    recipe = RECIPES[name]
    assert (plan.model.name, plan.rounds) == (recipe.model, recipe.rounds)
    assert (plan.train.steps, plan.train.augment is not None) == (recipe.steps, recipe.augment)
    code, said = dura("study", "check", folder)
    assert code == 0, said
    assert f"rehearsed train on 96 mock images: {recipe.steps} steps in " in said
    assert f" s of a slot of {recipe.first_train_s:g} s" in said


def test_recipes_differ_in_what_their_names_say():
    head, fedavg, fedadam = (recipe_for(recipe=r) for r in ("head", "head-fedavg", "head-fedadam"))
    assert (head.steps, fedavg.steps) == (1, 10)
    assert fedavg.rounds < head.rounds
    assert (head.strategy, fedadam.strategy, fedadam.model) == ("fedavg", "fedadam", head.model)
    scaffold = recipe_for(recipe="head-scaffold")
    assert scaffold == replace(fedavg, words=scaffold.words, strategy="scaffold")


def test_the_servers_learning_rate_reaches_the_study(init):
    _, _, folder = init("--recipe", "head-fedadam")
    told = read_study(folder).strategy
    assert (told.name, told.server_learning_rate) == (
        "fedadam",
        RECIPES["head-fedadam"].server_learning_rate,
    )


def test_without_a_name_the_model_says_which_recipe():
    assert recipe_for() == recipe_for("encoder_head") == recipe_for(recipe=DEFAULT)
    for name in ("small_cnn", "resnet18", "model.py"):
        assert (recipe_for(name).model, recipe_for(name).generator) == (name, True)


def test_recipe_and_model_agree_or_are_refused_before_a_file_is_written(init):
    code, said, folder = init("--recipe", "head-fedavg", "--model", "small_cnn")
    assert code == 2
    assert "'head-fedavg' trains encoder_head" in said
    assert not folder.exists()
    code, said, folder = init("--recipe", "head-fedavg", "--model", "encoder_head")
    assert code == 0, said


@pytest.mark.parametrize("name", ["heads", "film", "lora", "finetune", "scratch"])
def test_a_name_that_is_no_recipe_or_none_any_more_is_told_the_names(init, name):
    code, said, folder = init("--recipe", name)
    assert code == 2
    assert f"no recipe is called {name!r}; choose one of {', '.join(recipe_names())}" in said
    assert not folder.exists()
    with pytest.raises(StudyError, match="choose one of"):
        recipe_for(recipe="")


@pytest.mark.parametrize("name", ["encoder_film", "encoder_lora", "phantom_cnn"])
def test_a_study_of_a_classifier_that_is_none_any_more_is_told_the_names(init, dura, name):
    _, _, folder = init("--model", name)
    code, said = dura("study", "check", folder)
    assert code == 2
    assert f"no classifier is called {name!r}" in said
    assert f"choose one of {', '.join(classifier_names())}" in " ".join(said.split())


def test_help_lists_the_names(dura, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, said = dura("study", "init", "--help")
    plain = re.sub(r"[\s│]+", " ", said)
    assert f"Kind of plan: {', '.join(recipe_names())}; {DEFAULT} without." in plain


@pytest.mark.parametrize("asked", [8.0, 0.1, -1.0, float("nan")])
def test_any_epsilon_has_a_recipe_and_what_is_none_is_for_the_study_to_refuse(asked):
    assert recipe_for(epsilon=asked).rounds in {24, 40}

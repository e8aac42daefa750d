"""The page on recipes has those that there are, with the settings that `dura study init` writes."""

import re
from pathlib import Path

from orchestrator.study.recipes import RECIPES

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def _line(name, recipe):
    strategy = recipe.strategy
    if recipe.server_learning_rate is not None:
        strategy += f", {recipe.server_learning_rate:g} at the server"
    settings = (recipe.rounds, recipe.steps, f"{recipe.rate:g}", f"{recipe.clipping_norm:g}")
    cells = (f"`{name}`", recipe.model, *settings, f"{recipe.learning_rate:g}", strategy)
    return "| " + " | ".join(map(str, cells)) + " |"


def test_the_table_is_that_of_the_code():
    assert re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE) == [
        _line(name, recipe) for name, recipe in RECIPES.items()
    ]


def test_every_recipe_is_said_when_to_take():
    assert [name for name in RECIPES if f"**`{name}`**" not in PAGE] == []

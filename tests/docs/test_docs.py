"""The docs say what is there: every command, coded reason and setting is documented, no more."""

import re
from pathlib import Path

import pytest
import typer.main

from datasites.errors import Reason
from datasites.site.settings import SiteSettings
from orchestrator.cli import app

ROOT = Path(__file__).parents[2]
COMMANDS = (ROOT / "docs" / "commands.md").read_text()


def commands():
    """Every command as it is typed."""
    yield from _below("dura", typer.main.get_command(app))


def _below(name, group):
    for sub, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(f"{name} {sub}", command)
        else:
            yield f"{name} {sub}"


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_is_documented(command):
    assert f"| `{command}` |" in COMMANDS


def test_no_other_command_is_documented():
    named = set(re.findall(r"^\| `(dura [a-z -]+)` \|", COMMANDS, re.MULTILINE))
    assert named == set(commands())


@pytest.mark.parametrize("reason", list(Reason))
def test_every_coded_reason_is_documented(reason):
    assert f"`{reason.value}`" in COMMANDS


def test_every_site_setting_is_described_where_it_is_defined():
    described = SiteSettings.__doc__ or ""
    missing = [name for name in SiteSettings.model_fields if f"{name}:" not in described]
    assert missing == ["version"]


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
    for path in re.findall(r"`((?:datasites|orchestrator|privacy|models)/[\w/]+\.py)", text):
        assert (ROOT / path).exists(), path


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme

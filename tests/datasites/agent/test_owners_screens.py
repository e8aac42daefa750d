"""What an owner is shown of what others wrote, and who counts as whom, by the real commands."""

from __future__ import annotations

import warnings

import pytest
from typer.testing import CliRunner

from datasites.cli import decisions, peers
from datasites.errors import PlanError, SettingsError
from datasites.escaping import is_invisible
from datasites.plans import make_bundle

with warnings.catch_warnings():
    # syft 0.10 declares its models in a way that pydantic has deprecated.
    warnings.simplefilter("ignore")
    from datasites.syftnet import ResearcherLink
    from datasites.syftnet.client import Participant

EVE = "eve@university.example"
HIDDEN = (
    "# \x1b[2J\x1b]52;c;cm0=\x07\x9b8m safe \u202e\u2066 # hidden\r# shown\u200b\n"
    "# [bold red]words[/bold red]\n"
)
assert decisions.app is peers.app


def _run(*words: object) -> str:
    result = CliRunner().invoke(decisions.app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_what_cannot_be_seen_in_a_model_file_is_shown_and_said(world):
    own = world.plan.model.model_copy(update={"name": "model.py"})
    world.submit_plan(make_bundle(world.plan.model_copy(update={"model": own}), HIDDEN))
    world.start().step()
    shown = _run("show", world.site.root, world.bundle.sha256)
    assert not any(is_invisible(one) for one in shown.replace("\n", ""))
    assert "model.py HOLDS 8 CHARACTER(S) THAT CANNOT BE SEEN" in shown
    assert "# <U+001B>[2J<U+001B>]52;c;cm0=<U+0007><U+009B>8m safe <U+202E><U+2066>" in shown
    assert "# [bold red]words[/bold red]" in shown


def test_a_strangers_folder_on_the_relay_does_not_act_on_the_owners_terminal(world):
    relay = world.root / "relay"
    eve = Participant(EVE, relay.as_uri(), world.root / "box", world.root / "keys", False)
    ResearcherLink(eve).request("a@hospital.example")
    for path in sorted(relay.rglob(f"*{EVE}*"), reverse=True):
        path.rename(path.with_name(path.name.replace(EVE, f"\x1b[2J\u202e{EVE}")))
    shown = _run("peers", world.site.root)
    assert not any(is_invisible(one) for one in shown.replace("\n", ""))


def test_one_person_is_one_vote_and_nobody_approves_their_own_plan(world):
    world.submit_plan()
    world.start().step()
    path = world.site.root / "site.toml"
    text = path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("quorum", "reviewers"))]

    def reviewers(*names: str) -> None:
        path.write_text("\n".join([f"reviewers = {list(names)}", "quorum = 2", *lines]) + "\n")

    def approve(who: str) -> str:
        return _run("approve", world.site.root, world.bundle.sha256, "--as", who)

    reviewers("Dr Ann", "Dr R")
    assert "approved by Dr Ann" in approve("dr ann")
    with pytest.raises(PlanError, match="already"):
        approve(" DR  Ann ")
    with pytest.raises(PlanError, match="somebody else must review it"):
        approve("dr r")
    reviewers("Dr Ann", "Dr Ann ")
    with pytest.raises(SettingsError, match="make no other person"):
        approve("Dr Ann")

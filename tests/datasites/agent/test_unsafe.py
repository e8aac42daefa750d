"""Without a sandbox: refused, unless the owner says so; then it is logged and said everywhere."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from datasites.agent import Agent
from datasites.desk import Desk
from datasites.errors import Reason, SandboxError
from datasites.plans.answers import Status
from datasites.sandbox import UnsafeNoSandbox
from datasites.site.site import Site
from datasites.site.unsafe_use import log_unsafe_serve, unsafe_uses
from orchestrator.cli import app

RED = "\x1b[31m"


def test_where_there_is_no_sandbox_a_job_is_refused(approved, monkeypatch):
    def none():
        raise SandboxError("no bubblewrap")

    monkeypatch.setattr("datasites.agent.sandbox_pool.require_sandbox", none)
    approved.ask(approved.task())
    approved.agents[-1].step()
    answer = approved.answer("t1")
    assert (answer.status, answer.reason) == (Status.REFUSED, Reason.NO_SANDBOX)
    assert "spend_reserved" not in approved.kinds()[-2:]
    assert unsafe_uses(approved.site) == []


def test_a_job_without_a_sandbox_is_logged_before_it_runs_and_said_in_its_answer(approved, until):
    world = approved
    world.agents.pop().close()
    agent = Agent(Site.open(world.root / "site"), unsafe=UnsafeNoSandbox())
    world.agents.append(agent)
    world.ask(world.task())
    until(agent, lambda: world.answer("t1"))
    answer = world.answer("t1")
    assert (answer.status, answer.sandboxed) == (Status.DONE, False)
    assert len(unsafe_uses(world.site)) == 1
    kinds = world.kinds()
    assert kinds.index("spend_reserved", 3) < kinds.index("unsafe_option_used")
    (item,) = Desk(world.site).items()
    assert "WITHOUT A SANDBOX" in item.note


def test_an_answer_of_a_sandboxed_job_says_so(by_hand):
    by_hand.begin(by_hand.world.task())
    by_hand.result(1)
    by_hand.write(weights__safetensors=by_hand.world.weights)
    assert by_hand.finish().sandboxed


@pytest.mark.parametrize("command", ["status", "requests", "releases list"])
def test_every_view_shows_it_in_red_and_only_then(site, command):
    def seen():
        return (
            CliRunner().invoke(app, ["site", *command.split(), str(site.root)], color=True).output
        )

    assert RED not in seen()
    log_unsafe_serve(site)
    assert RED in seen()
    assert "UNSAFE: --unsafe-no-sandbox was used 1 time(s) here" in seen()

"""A case report in each state of its life, through the owner's command line and in the
researcher's inbox: draft, held, edited, redacted, released, withheld.

Site, agent, sandbox, LLaMa, relay, keys and ledger are real; only the draft that does not hold is
put on the desk by the test, because the worker never leaves one.
"""

from __future__ import annotations

import json
from dataclasses import replace

from typer.testing import CliRunner

from datasites.cli import releases
from datasites.desk import BLOCK, Desk
from datasites.desk.released import check_released
from datasites.plans import ReportPart, ReportTask, make_bundle
from datasites.plans.answers import ReleasedReport, Status
from models.reports.language.layout import compose
from models.reports.language.rendering import render
from models.reports.language.template import template_body
from privacy import sha256_hex

RUNNER = CliRunner()
SLOTS = 1_000
"""So many for four cases that each joins."""
BY = ("--as", "ann", "--reason", "internal words")


def dura(command, *words):
    result = RUNNER.invoke(releases.app, [command, *(str(word) for word in words)])
    assert result.exception is None, result.exception
    return result.output


def refused(command, *words):
    result = RUNNER.invoke(releases.app, [command, *(str(word) for word in words)])
    assert isinstance(result.exception, Exception), result.output
    return str(result.exception)


def drafted_in_the_sandbox(world, plan, until):
    part = ReportPart(cases=SLOTS, metrics_noise_multiplier=5.0)
    world.submit_plan(make_bundle(plan.model_copy(update={"reports": part}), None))
    agent = world.start()
    agent.step()
    world.approve()
    task = ReportTask(
        request="rep",
        plan_sha256=world.bundle.sha256,
        weights_sha256=sha256_hex(world.weights),
        rounds=1,
        hospitals=1,
    )
    world.ask(task)
    until(agent, lambda: world.answer("rep"))
    return agent


def put_down_a_lie(desk, item):
    """A draft that does not hold, as a broken worker might leave one."""
    held = desk.report(item)
    probability = f"{100 * max(held.parsed.probabilities.values()):.1f} %"
    lie = held.model_copy(update={"text": held.text.replace(probability, "99.7 %")})
    name = item.files[0]
    draft = replace(item, id="rep-case-lie", files=(name,))
    desk.hold(draft, {name: lie.model_dump_json().encode()})


def edit_and_release(world, desk, item):
    text = desk.report(desk.get(item)).text
    path = world.root / "edited.txt"
    path.write_text(text.replace("Confidence\n", "Confidence\nThe tumour is certain. "))
    assert "nothing was changed" in refused("edit", world.site.root, item, "--file", path, *BY)
    facts = desk.report(desk.get(item)).parsed
    longer = render(compose(facts, template_body(facts), "template"), facts).text
    longer = longer.replace("The model assigns this study to", "The predicted class is")
    longer = longer.replace("with a probability of", "at a probability of", 1)
    path.write_text(longer)
    dura("edit", world.site.root, item, "--file", path, *BY)
    dura("release", world.site.root, item, *BY)
    return longer


def listed(site):
    return {row["item"]: row for row in json.loads(dura("list", site, "--json"))}


def test_the_life_of_case_reports(world, plan, until, cold):
    agent = drafted_in_the_sandbox(world, plan, until)
    site, desk = world.site.root, Desk(world.site)
    cases = [item for item in desk.items() if item.kind == "case"]
    stays, edited, withheld, redacted = (item.id for item in cases)
    assert {item.id for item in cases} <= {f"rep-case-{slot}" for slot in range(1, SLOTS + 1)}

    # Held: the owner sees everything, the researcher that there is something.
    assert world.answer("rep").status is Status.HELD
    held = world.site.ledger.head()
    assert set(world.answers("rep")) == {"answer.json"}
    assert all(row["check"] == "verified" for row in listed(site).values())
    page = dura("show", site, stays)
    assert "NON-PRIVATE DISCLOSURE" in page
    assert "comes from no fact" not in page

    # Draft: what is not true cannot leave.
    put_down_a_lie(desk, cases[0])
    assert "DRAFT" in dura("show", site, "rep-case-lie")
    assert "do not bear it out" in refused("release", site, "rep-case-lie", "--as", "ann")
    agent.step()
    assert set(world.answers("rep")) == {"answer.json"}

    # Edited and released; redacted and released; withheld.
    longer = edit_and_release(world, desk, edited)
    name = desk.report(desk.get(redacted)).parsed.case_id
    dura("redact", site, redacted, "--words", name, *BY)
    dura("release", site, redacted, *BY)
    dura("withhold", site, withheld, *BY, "--code", "withheld_identifying")
    agent.step()

    inbox = world.answers("rep")
    reports = [f"{edited}.report.json", f"{redacted}.report.json"]
    assert set(inbox) == {"answer.json", *reports}  # of the withheld one not even a code
    every = b"".join(inbox.values())
    assert b"internal words" not in every
    assert b"99.7" not in every
    for one in reports:
        checks = check_released(inbox[one], public_hex=world.site.key.public_hex)
        assert all(check.holds for check in checks), checks
    report = ReleasedReport.model_validate_json(inbox[reports[0]])
    assert (report.text, report.edits, report.redactions) == (longer, 1, 0)
    hidden = ReleasedReport.model_validate_json(inbox[reports[1]])
    assert (hidden.facts, hidden.redactions > 0, BLOCK in hidden.text) == ("", True, True)
    assert name.encode() not in inbox[reports[1]]
    after = world.site.ledger.head().sequence - held.sequence
    assert after == 4  # two releases and their disclosures; no edit, redaction or withholding

    # Decided once and sent once; what is not decided is still here.
    assert "twice" in refused("withhold", site, edited, *BY)
    before = world.kinds()
    agent.step()
    assert world.answers("rep") == inbox
    assert world.kinds() == before
    assert before.count("output_held") == 1  # the cohort's
    assert before.count("output_released") == before.count("disclosure") == 2
    assert world.site.ledger.account().disclosed_units == 2
    assert {item: row["state"] for item, row in listed(site).items()} == {
        stays: "held", "rep-hospital": "held", "rep-case-lie": "draft",
    }  # fmt: skip

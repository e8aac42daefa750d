"""The whole life of a plan at a hospital: real relay, real sandbox, real ledger.

Proven: plan received, reviewed, approved; a train task is reserved, run, committed and answered
with weights and a signed receipt; the next round follows; nothing that was sent twice is served
twice; a correction that comes with a task moves the weights, and costs what the task costs without.
"""

from __future__ import annotations

import json

import torch

from datasites.plans import make_bundle, train_event
from datasites.plans.answers import Answer, PlanDecision, Status
from models import weights_from_bytes, weights_to_bytes
from privacy import sha256_hex, signed_receipt_from_json, verify_receipt


def test_from_plan_to_weights_and_receipt(world, until):
    world.submit_plan()
    agent = world.start()
    agent.step()
    assert world.kinds()[-1] == "plan_received"
    world.approve()
    agent.step()
    decision = PlanDecision.model_validate_json(world.answers("plan-1")["decision.json"])
    assert decision.approved
    assert decision.epsilon_plan > 0
    assert world.link.card("a@hospital.example") is not None

    world.ask(world.task("t1"))
    until(agent, lambda: world.answer("t1"))
    files = world.answers("t1")
    answer = Answer.model_validate_json(files["answer.json"])
    assert answer.status is Status.DONE
    signed = signed_receipt_from_json(json.loads(answer.receipt))
    verify_receipt(signed, public_hex=world.site.key.public_hex)
    assert signed.receipt.outputs == {
        "weights.safetensors": sha256_hex(files["weights.safetensors"])
    }
    assert (signed.receipt.round, signed.receipt.plan_sha256) == (1, world.bundle.sha256)
    assert files["weights.safetensors"] != world.weights
    assert b"internal words" not in b"".join(files.values())
    ledger = world.kinds()
    reserved = ledger.index("spend_reserved", ledger.index("plan_approved"))
    assert reserved < ledger.index("spend_committed", reserved) < ledger.index("output_held")
    assert ledger.index("output_held") < ledger.index("output_released")
    # What was sent and what the job left are on the desk or gone; the sandbox's folder is gone.
    assert [path.name for path in (world.site.root / "jobs").iterdir()] == ["t1.json"]
    job = agent._book.get("t1")
    assert (job.state, job.answered) == ("done", True)
    account = world.site.ledger.account()
    assert account.states["t1"] == "committed"
    # One step was asked for of the two the plan allows, and one is what it cost.
    (event,) = account.spent_events(study=world.bundle.plan.study)
    assert event == train_event(world.bundle.plan, steps=1).event
    record = [sealed.entry for sealed in world.site.ledger.entries()]
    committed = next(
        e for e in record if e.detail.get("reservation") == "t1" and "spend_c" in e.kind
    )
    assert committed.detail["mechanisms"][0]["sampler"] == "poisson_units"
    assert committed.detail["code_sha256"] == world.bundle.sha256


def test_a_correction_moves_the_weights_and_costs_nothing(world, until):
    part = world.plan.train.model_copy(update={"correction": True})
    world.submit_plan(make_bundle(world.plan.model_copy(update={"train": part}), None))
    agent = world.start()
    agent.step()
    world.approve()
    start = weights_from_bytes(world.weights)
    correction = weights_to_bytes({name: torch.full_like(t, 4.0) for name, t in start.items()})
    task = world.task("t1", learning_rate=1.0, correction_sha256=sha256_hex(correction))
    world.ask(task, correction=correction)
    until(agent, lambda: world.answer("t1"))
    left = weights_from_bytes(world.answers("t1")["weights.safetensors"], like=start)
    moved = torch.cat([(left[name] - start[name]).flatten() for name in start])
    # Noise has no direction and one clipped step is short: all weights share the correction alone.
    assert abs(float(moved.mean()) + 4.0) < 0.1
    (event,) = world.site.ledger.account().spent_events(study=world.bundle.plan.study)
    assert event == train_event(world.bundle.plan, steps=1).event

"""An old copy of a site, put back, runs nothing: a genuine receipt tells, and nothing else does.

Real site folders are copied back; receipts come from the researcher as they come from anybody.
"""

from __future__ import annotations

import json
import shutil
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from datasites.agent.request_store import RequestState
from datasites.agent.slots import Running
from datasites.cli.site import app
from datasites.errors import DatasitesError, PlanError, Reason, RefusedError
from datasites.owner.audit_consent import consented_shard
from datasites.owner.doctor import Health, examine
from datasites.owner.intake import take_in
from datasites.plans import TrainTask, task_bytes
from datasites.plans.answers import COUNTERSIGNATURE_FILE, RECEIPT_FILE
from datasites.site.ledger_behind import (
    BEHIND_FILE,
    behind,
    must_not_be_behind,
    settle_loss,
    take_witness,
)
from datasites.site.site import Site
from models import initial_weights, weights_to_bytes
from privacy import (
    SigningKey,
    canonical_bytes,
    countersign,
    countersignature_to_json,
    gaussian,
    sha256_hex,
    sign_receipt,
    signed_receipt_from_json,
    signed_receipt_to_json,
)

HOSPITAL = "a@hospital.example"


@pytest.fixture
def old_site(by_hand, tmp_path):
    """A site put back to before its first round; its researcher holds that round's receipt."""
    world = by_hand.world
    kept = tmp_path / "backup"
    shutil.copytree(world.site.root, kept)
    receipt = _round(by_hand, "t1")
    by_hand.agent.close()
    world.agents.clear()
    shutil.rmtree(world.site.root)
    shutil.copytree(kept, world.site.root)
    by_hand.agent = world.start()
    by_hand.receipt = receipt
    world.site = Site.open(world.site.root)
    return by_hand


def _round(by_hand, request: str) -> str:
    """One real round from its task to its receipt."""
    by_hand.begin(by_hand.world.task(request))
    by_hand.result(1)
    new = initial_weights("small_cnn", text=None, classes=2, image_size=32, seed=2)
    by_hand.write(weights__safetensors=weights_to_bytes(new))
    by_hand.finish()
    by_hand.agent.step()
    return by_hand.world.answer(request).receipt


def _ask(by_hand, task: TrainTask, receipt: str | None) -> None:
    files = {"task.json": task_bytes(task), "weights.safetensors": by_hand.world.weights}
    if receipt is not None:
        files[RECEIPT_FILE] = receipt.encode()
    by_hand.world.link.submit(site=HOSPITAL, job=task.request, files=files)
    by_hand.agent.step()


def _reserved(world) -> int:
    return world.kinds().count("spend_reserved")


def test_a_task_with_the_newest_receipt_stops_a_site_that_was_set_back(old_site):
    world = old_site.world
    before = _reserved(world)
    _ask(old_site, world.task("t2"), old_site.receipt)
    answer = world.answer("t2")
    assert (answer.status.value, answer.reason) == ("refused", Reason.LEDGER_BEHIND)
    assert _reserved(world) == before
    # Every job is stopped now, also of whoever brings no receipt, and after a restart.
    _ask(old_site, world.task("t3"), None)
    assert world.answer("t3").reason is Reason.LEDGER_BEHIND
    old_site.agent.close()
    world.agents.clear()
    old_site.agent = world.start()
    _ask(old_site, world.task("t4"), None)
    assert world.answer("t4").reason is Reason.LEDGER_BEHIND
    assert _reserved(world) == before


def test_what_people_are_told(old_site):
    site = old_site.world.site
    take_witness(site, old_site.receipt, told_by="r@university.example")
    told = CliRunner().invoke(app, ["status", str(site.root)]).output
    assert "LEDGER BEHIND" in told
    assert "told by r@university.example" in told
    assert "dura site settle-loss" in told
    [found] = [one for one in examine(site) if one.name == "ledger behind"]
    assert found.health is Health.PROBLEM
    with pytest.raises(RefusedError, match="the ledger is behind"):
        take_in(site, site.root / "nothing", None, actor="ann")
    event = gaussian(noise_multiplier=9.0)
    with (
        pytest.raises(RefusedError, match="the ledger is behind"),
        consented_shard(site.root, event=event, clip_norm=1.0, owner="ann", reason="r"),
    ):
        pass


def test_a_countersignature_that_comes_later_tells_too(old_site):
    world = old_site.world
    receipt = signed_receipt_from_json(json.loads(old_site.receipt)).receipt
    signed = countersign(
        site=HOSPITAL,
        request="t1",
        receipt_sha256=sha256_hex(old_site.receipt.encode()),
        checkpoint=receipt.checkpoint,
        key=world.link.signing_key,
    )
    files = {
        COUNTERSIGNATURE_FILE: canonical_bytes(countersignature_to_json(signed)),
        RECEIPT_FILE: old_site.receipt.encode(),
    }
    world.link.submit(site=HOSPITAL, job="back", files=files)
    old_site.agent.step()
    assert world.answer("back").reason is Reason.LEDGER_BEHIND
    assert behind(world.site) is not None


def test_the_sites_own_records_tell_when_only_the_ledger_is_old(by_hand, tmp_path):
    world = by_hand.world
    shutil.copy(world.site.ledger_path, tmp_path / "old")
    _round(by_hand, "t1")
    by_hand.agent.close()
    world.agents.clear()
    shutil.copy(tmp_path / "old", world.site.ledger_path)
    by_hand.agent = world.start()
    found = behind(Site.open(world.site.root))
    assert found is not None
    assert found.told_by == "this site's own records"


def test_the_right_ledger_put_back_ends_it(by_hand, tmp_path):
    world = by_hand.world
    shutil.copy(world.site.ledger_path, tmp_path / "old")
    receipt = _round(by_hand, "t1")
    shutil.copy(world.site.ledger_path, tmp_path / "new")
    shutil.copy(tmp_path / "old", world.site.ledger_path)
    old = Site.open(world.site.root)
    take_witness(old, receipt, told_by="x")
    with pytest.raises(RefusedError):
        must_not_be_behind(old)
    shutil.copy(tmp_path / "new", world.site.ledger_path)
    must_not_be_behind(Site.open(world.site.root))
    assert not (world.site.root / BEHIND_FILE).exists()


def test_the_owner_settles_a_loss_at_the_price_of_the_claim(old_site):
    world, site = old_site.world, old_site.world.site
    with pytest.raises(PlanError, match="nothing to settle"):
        settle_loss(site, actor="ann", reason="r")
    take_witness(site, old_site.receipt, told_by="x")
    with pytest.raises(PlanError, match="who decides and why"):
        settle_loss(site, actor="ann", reason=" ")
    done = CliRunner().invoke(
        app, ["settle-loss", str(site.root), "--as", "ann", "--reason", "the disk died"]
    )
    assert "epsilon infinite over all time" in done.output
    opened = Site.open(site.root)
    account = opened.ledger.account()
    assert account.everything_disclosed
    assert account.disclosed_by_kind() == {"ledger_lost": 1}
    # Receipts from before the loss are settled with it; the site works, and says what it lost.
    _ask(old_site, world.task("t2"), old_site.receipt)
    assert _reserved(world) > 0
    assert not (site.root / BEHIND_FILE).exists()


def test_a_loss_that_is_put_back_in_turn_is_found_again(old_site, tmp_path):
    site = old_site.world.site
    take_witness(site, old_site.receipt, told_by="x")
    shutil.copy(site.ledger_path, tmp_path / "before")
    settle_loss(site, actor="ann", reason="gone")
    must_not_be_behind(Site.open(site.root))
    shutil.copy(tmp_path / "before", site.ledger_path)
    again = Site.open(site.root)
    take_witness(again, old_site.receipt, told_by="x")
    with pytest.raises(RefusedError):
        must_not_be_behind(again)


def _forged(text: str, *, key: SigningKey) -> str:
    receipt = signed_receipt_from_json(json.loads(text)).receipt
    return canonical_bytes(signed_receipt_to_json(sign_receipt(receipt, key))).decode()


@pytest.mark.parametrize("how", ["another key", "our key named", "no receipt", "no text"])
def test_a_researcher_cannot_stop_a_hospital_with_a_receipt_that_it_did_not_sign(old_site, how):
    world = old_site.world
    forged = _forged(old_site.receipt, key=SigningKey.generate())
    if how == "our key named":
        forged = json.dumps(json.loads(forged) | {"key": world.site.key.public_hex})
    told = {"no receipt": "[" * 9999, "no text": "\x00"}.get(how, forged)
    with pytest.raises(DatasitesError):
        take_witness(world.site, told, told_by="x")
    _ask(old_site, world.task("t2"), told)
    assert world.answer("t2").reason is Reason.MALFORMED_REQUEST
    must_not_be_behind(world.site)
    _ask(old_site, world.task("t3"), None)
    assert _reserved(world) > 0


def test_a_true_receipt_stops_nobody(by_hand):
    world = by_hand.world
    receipt = _round(by_hand, "t1")
    take_witness(world.site, receipt, told_by="x")
    must_not_be_behind(world.site)


def test_a_job_that_runs_when_the_receipt_comes_is_ended(old_site):
    world, agent = old_site.world, old_site.agent
    old_site.begin(world.task("t2"))
    ended = []
    sandbox = SimpleNamespace(discard=lambda: ended.append(True), folder=old_site.folder)
    request = agent._book.change(old_site.request, state=RequestState.RUNNING)
    agent._running = Running(request, old_site.job, sandbox, time.monotonic() + 60)
    take_witness(world.site, old_site.receipt, told_by="x")
    agent.step()
    answer = world.answer("t2")
    assert (answer.status.value, answer.reason) == ("failed", Reason.LEDGER_BEHIND)
    assert ended == [True]


def test_outputs_that_were_collected_do_not_leave_any_more(old_site):
    world = old_site.world
    old_site.begin(world.task("t2"))
    old_site.result(1)
    new = initial_weights("small_cnn", text=None, classes=2, image_size=32, seed=2)
    old_site.write(weights__safetensors=weights_to_bytes(new))
    old_site.agent._completion.collect(old_site.job, old_site.folder)
    take_witness(world.site, old_site.receipt, told_by="x")
    old_site.agent.close()
    world.agents.clear()
    agent = world.start()
    agent.step()
    assert world.answer("t2").reason is Reason.LEDGER_BEHIND
    assert "spend_committed" not in world.kinds()[-3:]


def test_a_file_that_says_so_and_was_altered_stops_all_the_same(old_site):
    site = old_site.world.site
    take_witness(site, old_site.receipt, told_by="x")
    (site.root / BEHIND_FILE).write_text("{}")
    with pytest.raises(RefusedError, match="cannot be read"):
        must_not_be_behind(site)

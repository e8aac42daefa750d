"""What may leave the desk: under which approval, with which contents, by whose decision."""

import json
from dataclasses import replace

import pytest

from datasites.desk import Desk, ItemKind, ItemState, occurrences
from datasites.errors import (
    AlreadyDecidedError,
    DeskError,
    EditRefusedError,
    Obstacle,
    ReleaseRefusedError,
    SettingsError,
    StaleViewError,
)
from privacy import EntryKind

DECIDE = {"actor": "owner", "reason": "looked at it"}


@pytest.mark.parametrize(
    ("fields", "obstacle"),
    [
        ({"decision": "rejected"}, Obstacle.NOT_APPROVED),
        ({"reviewers": ()}, Obstacle.NOT_APPROVED),
        ({"revoked": True}, Obstacle.APPROVAL_REVOKED),
    ],
)
@pytest.mark.parametrize("kind", list(ItemKind))
def test_without_a_standing_approval_nothing_leaves(
    desk, held, grant, kinds, fields, obstacle, kind
):
    held(kind=kind)
    grant(**fields)
    with pytest.raises(ReleaseRefusedError) as refused:
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert refused.value.obstacle is obstacle
    assert desk.get("q1").is_open
    assert EntryKind.OUTPUT_RELEASED not in kinds("q1")
    assert EntryKind.DISCLOSURE not in kinds("q1")
    assert desk.decide("q1", state=ItemState.WITHHELD, **DECIDE).state is ItemState.WITHHELD


def test_a_plan_that_nobody_decided_on_lets_nothing_go(desk, held):
    held(plan="1" * 64)
    with pytest.raises(ReleaseRefusedError, match="not approved here"):
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)


def test_a_revocation_in_the_ledger_counts_before_its_file(site, desk, held):
    held()
    site.log(EntryKind.APPROVAL_REVOKED, actor="bob", action="revoke", resource="0" * 64)
    with pytest.raises(ReleaseRefusedError, match="revoked"):
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)


def test_what_was_made_under_an_approval_that_ran_out_may_still_go(desk, held, grant):
    held()
    grant(expires="2020-01-01T00:00:00.000Z")
    assert desk.decide("q1", state=ItemState.RELEASED, **DECIDE).state is ItemState.RELEASED


def test_a_text_that_is_not_true_is_a_draft_and_cannot_leave(desk, held, drafted, case_facts):
    true = drafted(case_facts).text
    item = held(kind=ItemKind.CASE_REPORT, text=true.replace("91.3 %", "99.3 %"))
    assert item.state is ItemState.DRAFT
    with pytest.raises(ReleaseRefusedError, match="do not bear it out") as refused:
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert refused.value.obstacle is Obstacle.NOT_VERIFIED
    with pytest.raises(EditRefusedError):
        desk.edit("q1", true.replace("91.3 %", "98.3 %"), **DECIDE)
    after = desk.edit("q1", true, **DECIDE)
    assert (after.state, after.edits) == (ItemState.HELD, 1)
    assert "+The model assigns" in desk.differences(after)
    assert desk.decide("q1", state=ItemState.RELEASED, **DECIDE).state is ItemState.RELEASED


@pytest.mark.parametrize("junk", [b"", b"[]", b"{}", b"\xff"])
def test_what_is_no_report_is_a_draft(desk, held, junk):
    item = held()
    desk.hold(replace(item, id="q2"), {"hospital.json": junk})
    assert desk.get("q2").state is ItemState.DRAFT
    with pytest.raises(DeskError):
        desk.decide("q2", state=ItemState.RELEASED, **DECIDE)
    assert desk.decide("q2", state=ItemState.WITHHELD, **DECIDE)


def test_exact_figures_of_the_whole_cohort_never_leave(desk, held, cohort_facts):
    held(facts=cohort_facts(noised=False))
    with pytest.raises(ReleaseRefusedError) as refused:
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert refused.value.obstacle is Obstacle.NOT_NOISED


def test_a_list_of_words_that_cannot_be_read_stops_releases(site, desk, held):
    held()
    (site.root / "identifiers.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="mend it before releasing"):
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    assert desk.get("q1").is_open


def test_only_reviewers_decide(site, desk, held):
    held()
    limited = Desk(replace(site, settings=site.settings.model_copy(update={"reviewers": ("bob",)})))
    for who, words in (("eve", "not a reviewer"), (" ", "say who decides")):
        with pytest.raises(DeskError, match=words):
            limited.decide("q1", state=ItemState.RELEASED, actor=who, reason="")
        with pytest.raises(DeskError, match=words):
            limited.edit("q1", "x", actor=who, reason="")
        with pytest.raises(DeskError, match=words):
            limited.redact("q1", [], actor=who, reason="")
    assert (
        limited.decide("q1", state=ItemState.RELEASED, actor="bob", reason="").decided_by == "bob"
    )


def test_a_decision_about_other_contents_than_were_looked_at_is_refused(desk, held):
    item = held()
    seen = item.content_sha256[:12]
    desk.redact("q1", occurrences(desk.report(item).text, "85.0 %"), **DECIDE)
    with pytest.raises(StaleViewError):
        desk.decide("q1", state=ItemState.RELEASED, content=seen, **DECIDE)
    with pytest.raises(StaleViewError):
        desk.edit("q1", "text", content=seen, **DECIDE)
    now = desk.get("q1").content_sha256
    assert desk.decide("q1", state=ItemState.RELEASED, content=now, **DECIDE)


def test_nothing_is_changed_after_the_decision(desk, held):
    item = held()
    text = desk.report(item).text
    desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
    with pytest.raises(AlreadyDecidedError):
        desk.edit("q1", text.replace("3 rounds", "3 rounds"), **DECIDE)
    with pytest.raises(AlreadyDecidedError):
        desk.redact("q1", occurrences(text, "85.0 %"), **DECIDE)


def test_edits_and_redactions_are_in_the_ledger_with_their_contents(site, desk, held, kinds):
    item = held()
    text = desk.report(item).text
    desk.edit("q1", text.replace(" The training took 3 rounds.", ""), **DECIDE)
    desk.redact("q1", occurrences(text, "85.0 %"), **DECIDE)
    after = desk.redact("q1", [], **DECIDE)
    assert (after.edits, after.redactions) == (1, 0)
    assert kinds("q1")[1:] == [
        EntryKind.OUTPUT_EDITED, EntryKind.OUTPUT_REDACTED, EntryKind.OUTPUT_REDACTED,
    ]  # fmt: skip
    last = list(site.ledger.entries())[-1].entry
    assert last.detail["content_sha256"] == after.content_sha256
    assert last.reason == "looked at it"


@pytest.mark.parametrize("what", ["file", "record", "forged release"])
def test_what_was_altered_on_disk_does_not_leave(site, desk, held, what):
    held(kind=ItemKind.CASE_REPORT)
    folder = site.root / "desk" / "q1"
    if what == "file":
        (folder / "case.json").write_bytes((folder / "case.json").read_bytes() + b" ")
        with pytest.raises(ReleaseRefusedError) as refused:
            desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
        assert refused.value.obstacle is Obstacle.ALTERED
        return
    record = json.loads((folder / "item.json").read_text())
    if what == "record":
        desk.decide("q1", state=ItemState.RELEASED, **DECIDE)
        (folder / "other.json").write_bytes(b"something else")
        record["files"] = ["other.json"]
    (folder / "item.json").write_text(json.dumps({**record, "state": "released"}))
    with pytest.raises(ReleaseRefusedError, match="ledger"):
        desk.outgoing(desk.get("q1"))

"""Release rules: signed, listed, revocable, expiring; what they let go and what they never do."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from datasites.desk import Desk, ItemKind, ItemState, RuleBook, listed_kinds
from datasites.errors import DeskError, PlanError, RuleError
from datasites.site import site as site_module
from datasites.site.plan_store import PlanStore, Submission
from privacy import EntryKind

BOTH = (ItemKind.GLOBAL_REPORT, ItemKind.HOSPITAL_REPORT)
BY = {"reviewer": "ann", "reason": "routine", "days": None}


@pytest.fixture
def decided(site, bundle, approval, changed):
    """Write the decision on the submitted plan."""

    def write(**fields):
        base = {"plan_sha256": bundle.sha256, "expires": "2099-01-01T00:00:00.000Z"}
        PlanStore(site).decide(changed(approval, **{**base, **fields}))

    return write


@pytest.fixture
def plan_sha(site, bundle, decided):
    """A submitted and approved plan."""
    PlanStore(site).add(
        Submission(bundle, "r@university.example", "0000", "plan-1", "2026-01-01T00:00:00.000Z")
    )
    decided()
    return bundle.sha256


@pytest.fixture
def book(site, desk):
    return RuleBook(site, desk)


def last(site):
    return list(site.ledger.entries())[-1].entry


def test_a_rule_lets_true_noised_unmarked_cohort_reports_go_and_each_use_is_logged(
    site, desk, book, held, plan_sha
):
    held("h", plan=plan_sha)
    held("g", ItemKind.GLOBAL_REPORT, plan=plan_sha)
    held("other", plan="0" * 64)
    rule = book.set(plan_sha, kinds=BOTH, **BY)
    assert last(site).kind is EntryKind.RELEASE_RULE_SET
    assert book.apply() == ["g", "h"]
    assert book.apply() == []
    item = desk.get("h")
    assert (item.state, item.rule) == (ItemState.RELEASED, rule.id)
    assert item.decided_by == f"{rule.id} by ann"
    entry = last(site)
    assert (entry.kind, entry.detail["rule"]) == (EntryKind.OUTPUT_RELEASED, rule.id)
    assert desk.outgoing(item)
    assert desk.get("other").is_open


def test_a_rule_never_lets_a_case_weights_or_exact_figures_go(
    desk, book, held, plan_sha, cohort_facts
):
    held("case", ItemKind.CASE_REPORT, plan=plan_sha)
    held("weights", ItemKind.WEIGHTS, plan=plan_sha)
    held("exact", plan=plan_sha, facts=cohort_facts(noised=False))
    book.set(plan_sha, kinds=BOTH, **BY)
    assert book.apply() == []
    assert all(item.is_open for item in desk.items())


@pytest.mark.parametrize("kind", [ItemKind.CASE_REPORT, ItemKind.WEIGHTS])
def test_such_a_rule_cannot_even_be_set(site, book, plan_sha, kind):
    with pytest.raises(RuleError, match="wait for a person"):
        book.set(plan_sha, kinds=(kind, ItemKind.HOSPITAL_REPORT), **BY)
    assert book.all() == []
    with pytest.raises(RuleError, match="hospital"):
        listed_kinds(["casse"])


def test_a_marked_identifier_waits_for_a_person_until_the_list_changes(
    site, desk, book, held, plan_sha, cohort_facts
):
    held("h", plan=plan_sha, facts=cohort_facts(name="St Mary"))
    words = site.root / "identifiers.txt"
    words.write_text("# the hospital's names\nSt. Mary\n")
    book.set(plan_sha, kinds=BOTH, **BY)
    assert book.apply() == []
    assert book.apply() == []
    words.write_text("# none\n")
    assert book.apply() == ["h"]


def test_a_draft_waits_for_a_person(desk, book, held, plan_sha, drafted, cohort_facts):
    held("h", plan=plan_sha, text=drafted(cohort_facts()).text.replace("85.0 %", "95.5 %"))
    book.set(plan_sha, kinds=BOTH, **BY)
    assert book.apply() == []
    assert desk.get("h").state is ItemState.DRAFT


def test_a_withdrawn_rule_covers_nothing(site, desk, book, held, plan_sha):
    rule = book.set(plan_sha, kinds=BOTH, **BY)
    done = book.revoke(rule.id, reviewer="ann", reason="enough")
    assert (done.revoked, done.revoked_by) == (True, "ann")
    assert last(site).kind is EntryKind.RELEASE_RULE_REVOKED
    held("h", plan=plan_sha)
    assert book.apply() == []
    with pytest.raises(RuleError, match="in force"):
        book.revoke(rule.id, reviewer="ann", reason="again")


def test_a_withdrawal_in_the_ledger_counts_before_its_file(
    site, desk, book, held, plan_sha, monkeypatch
):
    from datasites.desk import rule_store as rulestore

    rule = book.set(plan_sha, kinds=BOTH, **BY)
    monkeypatch.setattr(rulestore, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        book.revoke(rule.id, reviewer="ann", reason="enough")
    monkeypatch.undo()
    held("h", plan=plan_sha)
    assert RuleBook(site, desk).apply() == []


@pytest.mark.parametrize(
    "fields", [{}, {"expires": "2020-01-01T00:00:00.000Z"}, {"revoked": True}], ids=str
)
def test_a_rule_ends_with_its_time_and_its_approval(
    book, held, plan_sha, decided, monkeypatch, fields
):
    held("h", plan=plan_sha)
    rule = book.set(plan_sha, kinds=BOTH, **BY)
    decided(**fields)
    if not fields:
        later = datetime.fromisoformat(rule.expires) + timedelta(seconds=1)
        monkeypatch.setattr(site_module, "now_utc", lambda: later)
    assert book.apply() == []


def test_a_rule_does_not_outlive_the_approval_it_rests_on(book, plan_sha):
    rule = book.set(plan_sha, kinds=BOTH, reviewer="ann", reason="x", days=100_000)
    assert rule.expires == "2099-01-01T00:00:00.000Z"


def test_an_altered_rule_covers_nothing(site, desk, book, held, plan_sha):
    rule = book.set(plan_sha, kinds=(ItemKind.GLOBAL_REPORT,), **BY)
    path = site.root / "release_rules" / f"{rule.id}.json"
    record = json.loads(path.read_text())
    record["rule"]["kinds"] = ["hospital"]
    path.write_text(json.dumps(record))
    held("h", plan=plan_sha)
    assert RuleBook(site, desk).all() == []
    assert RuleBook(site, desk).apply() == []
    for junk in ("", "[]", "{}", '{"rule": {"kinds": ["case"]}}'):
        path.write_text(junk)
        assert book.all() == []


def test_a_quorum_must_agree(site, held, plan_sha, decided):
    people = {"reviewers": ("ann", "bob", "eve"), "quorum": 2}
    decided(reviewers=("ann", "eve"))
    two = replace(site, settings=site.settings.model_copy(update=people))
    book = RuleBook(two, Desk(two))
    held("h", plan=plan_sha)
    first = book.set(plan_sha, kinds=BOTH, **BY)
    assert book.apply() == []
    with pytest.raises(RuleError, match="already"):
        book.set(plan_sha, kinds=BOTH, **BY)
    with pytest.raises(DeskError, match="not a reviewer"):
        book.set(plan_sha, kinds=BOTH, reviewer="mallory", reason="x", days=None)
    second = book.set(plan_sha, kinds=BOTH, reviewer="bob", reason="agreed", days=None)
    assert (second.id, second.reviewers) == (first.id, ("ann", "bob"))
    assert book.apply() == ["h"]


def test_a_rule_needs_a_reason_and_an_approved_plan(book, plan_sha, decided):
    with pytest.raises(RuleError, match="say why"):
        book.set(plan_sha, kinds=BOTH, reviewer="ann", reason=" ", days=None)
    with pytest.raises(PlanError):
        book.set("f" * 64, kinds=BOTH, **BY)
    decided(decision="rejected")
    with pytest.raises(RuleError, match="not approved"):
        book.set(plan_sha, kinds=BOTH, **BY)

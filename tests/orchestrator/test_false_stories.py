"""False stories of a hospital that holds its own key: each turns the audit red, and is named.

The kinds are functions in `impossible` (the fold refuses) and `untrue` (the audit's joins do). Each
changes an honest story at a place that Hypothesis draws, and says what the audit must answer. The
chain is then written anew and every receipt is signed over it (`storykit.publish`), so nothing is
found by a wrong hash or signature; the second part is about stories that were changed after
receipts had been given. The table of invariants in docs/ledger.md names these functions.
"""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.aggregation.contribution import Contribution
from orchestrator.audit.report import make_report
from orchestrator.audit.verify import verify_run
from orchestrator.rounds.run_folder import RunFolder
from privacy import (
    Budget,
    EntryKind,
    countersign,
    countersignature_entry,
    describe,
    event_to_json,
    set_budget,
)
from privacy.ledger.receipts import signed_receipt_from_json
from tests.orchestrator import impossible, untrue
from tests.orchestrator.storykit import (
    COMMITTED,
    FALSE,
    KEY,
    PLAN,
    RELEASED,
    RESEARCHER,
    RESERVED,
    RUNS,
    SITE,
    TIME,
    TINY,
    Story,
    changed,
    end,
    honest,
    publish,
)


def test_an_honest_story_holds(tmp_path):
    publish(honest(RUNS), tmp_path)
    [finding] = verify_run(tmp_path)
    assert (finding.problem, finding.receipts, finding.countersigned) == ("", RUNS + 1, RUNS)
    assert make_report(tmp_path).sound


@pytest.fixture(scope="module")
def told() -> Story:
    """From the start the researcher is shown this story, so nothing they signed is against it."""
    return honest(RUNS, countersigned=False)


@pytest.mark.parametrize("kind", FALSE)
def test_a_false_story_is_red_and_named(kind, told, tmp_path_factory):
    @settings(max_examples=3, deadline=None, database=None)
    @given(run=st.integers(0, RUNS - 1))
    def check(run):
        story = told.copy()
        said = FALSE[kind](story, run)
        folder = tmp_path_factory.mktemp("false")
        publish(story, folder)
        found = "; ".join(finding.problem for finding in verify_run(folder))
        assert said in found, found
        assert not make_report(folder).sound
        shutil.rmtree(folder)

    check()


def test_there_are_enough_kinds():
    assert {change.__module__ for change in FALSE.values()} == {
        impossible.__name__,
        untrue.__name__,
    }
    assert len(FALSE) >= 40


# --- stories changed after receipts were given ----------------------------------------------


def rewritten(tmp_path, change) -> str:
    """The audit's answer to a ledger that was changed and sealed anew after its receipts."""
    story = honest(RUNS)
    texts = story.texts()
    change(story)
    publish(story, tmp_path, texts=texts)
    [finding] = verify_run(tmp_path)
    assert not make_report(tmp_path).sound
    return finding.problem


def test_a_run_that_is_taken_out_is_missed(tmp_path):
    def take_out(story):
        for kind in (RELEASED, EntryKind.OUTPUT_HELD, COMMITTED, RESERVED):
            story.drop(story.places(kind)[1])

    assert "differs from what was seen earlier" in rewritten(tmp_path, take_out)


def test_a_cheaper_event_afterwards_is_a_rewritten_ledger(tmp_path):
    def cheapen(story):
        for kind in (RESERVED, COMMITTED):
            at = story.places(kind)[1]
            told = describe(TINY, clip_norm=1.0, published_units=100.0)
            detail = {"event": event_to_json(TINY), "mechanisms": [m.to_json() for m in told]}
            story.entries[at] = changed(story.entries[at], **detail)

    assert "differs from what was seen earlier" in rewritten(tmp_path, cheapen)


def test_a_cut_ledger_is_truncated(tmp_path):
    def cut(story):
        del story.entries[20:]

    assert "truncated" in rewritten(tmp_path, cut)


def test_a_countersignature_by_a_key_that_was_never_paired(tmp_path):
    def make_up(story):
        point = signed_receipt_from_json(json.loads(story.texts()["study-r0001"])).receipt
        made = countersign(
            site=SITE, request="study-r0001", receipt_sha256="a" * 64,
            checkpoint=point.checkpoint, key=KEY,
        )  # fmt: skip
        end(story, countersignature_entry(made, actor=RESEARCHER, time=TIME))

    assert "never paired" in rewritten(tmp_path, make_up)


def test_an_update_that_was_used_without_a_receipt_is_missed(tmp_path):
    publish(honest(RUNS), tmp_path)
    folder = RunFolder(tmp_path)
    state = folder.start(study="study", plan_sha256=PLAN, test=tmp_path)
    state.contributions = [
        Contribution(
            round=number, hospital=SITE, units=10.0, update_norm=1.0, cosine_to_aggregate=1.0,
            epsilon=1.0, delta=1e-5, wall_s=1.0,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    folder.save(state)
    assert verify_run(tmp_path)[0].problem == ""
    (tmp_path / "receipts" / SITE / "study-r0002.json").unlink()
    assert "its update of round 2 was used, but no receipt" in verify_run(tmp_path)[0].problem


def test_a_receipt_under_another_requests_name(tmp_path):
    story = honest(RUNS)
    texts = story.texts()
    texts["study-r0002"] = texts["study-r0001"]
    publish(story, tmp_path, texts=texts)
    assert "it is for study-r0001" in verify_run(tmp_path)[0].problem


def test_a_raised_delta_takes_nothing_back(tmp_path):
    """The owner may raise delta; what was spent stays stated at the one that was promised."""
    story = honest(RUNS)
    before = _epsilon(story, tmp_path / "before")
    end(story, set_budget(Budget(epsilon=8.0, delta=1e-3), reason="r", time=TIME, actor="owner"))
    assert _epsilon(story, tmp_path / "after") == before


def _epsilon(story: Story, folder) -> tuple[float, float]:
    publish(story, folder)
    [site] = make_report(folder).sites
    return site.account.epsilon, site.account.delta


def test_two_researchers_find_what_one_cannot(tmp_path):
    """Each is shown a ledger without the other's runs; either holds, and both together do not."""
    told = {}
    for number, name in ((0, "ann"), (10, "bob")):
        story = Story(list(honest(0, countersigned=False).entries[:5]))
        for turn in (1, 2):
            story.run(number + turn, f"train/{turn}")
        publish(story, tmp_path / name)
        assert verify_run(tmp_path / name)[0].problem == ""
        told[name] = story.texts()
    for request, text in told["bob"].items():
        (tmp_path / "ann" / "receipts" / SITE / f"{request}.json").write_text(text)
    assert "the ledger was forked" in verify_run(tmp_path / "ann")[0].problem

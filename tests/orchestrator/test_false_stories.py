"""False stories of a hospital that holds its own key: each turns the audit red, and is named.

`FALSE` holds one kind a function. It changes an honest story at a place that Hypothesis draws, and
says what the audit must answer. The chain is then written anew and every receipt is signed over it
(`storykit.publish`), so nothing is found by a wrong hash or signature; the second part is about
stories that were changed after receipts had been given. The table of invariants in docs/ledger.md
names these functions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.audit import verify_run
from orchestrator.audit_report import make_report
from privacy import (
    Budget,
    Disclosure,
    DisclosureKind,
    EntryKind,
    Unit,
    countersign,
    countersignature_entry,
    describe,
    disclose,
    event_to_json,
    gaussian,
    poisson_gaussian,
    set_budget,
)
from privacy.receipts import signed_receipt_from_json
from tests.orchestrator.storykit import (
    ANN,
    KEY,
    PLAN,
    RESEARCHER,
    ROUND,
    SITE,
    TIME,
    VERSION,
    Story,
    changed,
    honest,
    note,
    publish,
    wanted,
)

RESERVED, COMMITTED = EntryKind.SPEND_RESERVED, EntryKind.SPEND_COMMITTED
RELEASED, SHOWN = EntryKind.OUTPUT_RELEASED, EntryKind.DISCLOSURE
BUDGET, APPROVED = 1, 4
RUNS = 3
TINY = poisson_gaussian(sampling_rate=0.001, noise_multiplier=50.0, steps=1)
FALSE: dict[str, Callable[[Story, int], str]] = {}


def false(change: Callable[[Story, int], str]) -> Callable[[Story, int], str]:
    FALSE[change.__name__] = change
    return change


def raw_reservation(name: str, **changes: object):
    """A reservation's entry without any check."""
    made = note(RESERVED, VERSION, **wanted(name, "train/1").to_json())
    return changed(made, **changes)


def end(story: Story, *entries) -> None:
    """Add entries that no receipt has seen."""
    story.entries += entries


# --- what cannot have happened in this order ------------------------------------------------


@false
def no_opening(story, run):
    story.drop(0)
    return "entry 0 names a key that no hospital of this run has"


@false
def opened_twice(story, run):
    story.insert(story.places(RESERVED)[run], story.entries[0])
    return "a ledger is opened once"


@false
def spends_before_any_budget(story, run):
    story.drop(BUDGET)
    return "reserved before the owner set a budget"


@false
def destroyed_after_its_commit(story, run):
    name = story.entries[story.places(RESERVED)[run]].detail["reservation"]
    end(story, note(EntryKind.SPEND_DESTROYED, VERSION, reservation=name))
    return "is committed already"


@false
def committed_twice(story, run):
    again = story.entries[story.places(COMMITTED)[run]]
    tiny = describe(TINY, clip_norm=1.0, published_units=100.0)
    end(
        story,
        changed(again, event=event_to_json(TINY), mechanisms=[m.to_json() for m in tiny]),
    )
    return "is committed already"


@false
def reserved_again_after_its_commit(story, run):
    end(story, story.entries[story.places(RESERVED)[run]])
    return "exists already"


@false
def two_reservations_under_one_id(story, run):
    at = story.places(RESERVED)[run]
    story.insert(at + 1, story.entries[at])
    return "exists already"


@false
def committed_without_a_reservation(story, run):
    story.drop(story.places(RESERVED)[run])
    return "there is no reservation"


@false
def destroyed_without_a_reservation(story, run):
    end(story, note(EntryKind.SPEND_DESTROYED, VERSION, reservation=f"x{run}"))
    return "there is no reservation"


@false
def destroyed_then_committed(story, run):
    at = story.places(COMMITTED)[run]
    name = story.entries[at].detail["reservation"]
    story.insert(at, note(EntryKind.SPEND_DESTROYED, VERSION, reservation=name))
    return "is destroyed already"


@false
def destroyed_twice(story, run):
    gone = note(EntryKind.SPEND_DESTROYED, VERSION, reservation="x")
    end(story, raw_reservation("x"), gone, gone)
    return "is destroyed already"


@false
def committed_on_other_data(story, run):
    at = story.places(COMMITTED)[run]
    story.entries[at] = changed(story.entries[at], dataset_version="0" * 64)
    return "names other data or code"


@false
def committed_of_other_code(story, run):
    at = story.places(COMMITTED)[run]
    story.entries[at] = changed(story.entries[at], code_sha256="0" * 64)
    return "names other data or code"


@false
def committed_more_than_was_reserved(story, run):
    _spend(story, run, poisson_gaussian(sampling_rate=0.05, noise_multiplier=2.0, steps=2000))
    return "costs more than was reserved"


@false
def committed_another_mechanism(story, run):
    _spend(story, run, gaussian(noise_multiplier=30.0))
    return "or is another mechanism"


def _spend(story: Story, run: int, event) -> None:
    at = story.places(COMMITTED)[run]
    told = describe(event, clip_norm=1.0, published_units=100.0)
    detail = {"event": event_to_json(event), "mechanisms": [each.to_json() for each in told]}
    story.entries[at] = changed(story.entries[at], **detail)


@false
def mechanisms_of_another_event(story, run):
    at = story.places(COMMITTED)[run]
    story.entries[at] = changed(story.entries[at], event=event_to_json(TINY))
    return "mechanisms"


@false
def an_event_that_nobody_knows(story, run):
    end(story, raw_reservation("x", event={"class_name": "MagicDpEvent"}))
    return "spend_reserved"


@false
def an_event_that_takes_noise_away(story, run):
    at = story.places(RESERVED)[run]
    told = json.loads(json.dumps(_plain(story.entries[at].detail["event"])))
    _negate(told)
    story.entries[at] = changed(story.entries[at], event=told)
    return "spend_reserved"


def _negate(value) -> None:
    for key, inner in value.items():
        if key == "noise_multiplier":
            value[key] = -inner
        elif isinstance(inner, dict):
            _negate(inner)


def _plain(value):
    if hasattr(value, "items"):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


@false
def a_reservation_with_a_word_too_many(story, run):
    end(story, raw_reservation("x", discount=0.5))
    return "has exactly the details"


@false
def a_reservation_with_a_word_too_few(story, run):
    at = story.places(RESERVED)[run]
    detail = dict(story.entries[at].detail)
    del detail["researcher"]
    story.entries[at] = replace(story.entries[at], detail=detail)
    return "has exactly the details"


@false
def a_reservation_whose_id_is_no_name(story, run):
    end(story, raw_reservation("x", reservation=["x", run]))
    return "a reservation id must be"


@false
def a_disclosure_that_says_it_was_noised(story, run):
    at = story.places(SHOWN)[0]
    story.entries[at] = changed(story.entries[at], event=event_to_json(ROUND))
    return "a disclosure is a non-private event"


@false
def a_disclosure_of_nobody(story, run):
    at = story.places(SHOWN)[0]
    story.entries[at] = changed(story.entries[at], units=-run)
    return "at least one unit"


@false
def a_disclosure_that_does_not_say_of_whom(story, run):
    at = story.places(SHOWN)[0]
    story.entries[at] = changed(story.entries[at], units=None)
    return "a disclosure of everything says so"


@false
def a_disclosure_that_does_not_say_of_what(story, run):
    at = story.places(SHOWN)[0]
    story.entries[at] = changed(story.entries[at], scope="")
    return "what it shows"


@false
def a_budget_whose_delta_makes_every_epsilon_zero(story, run):
    story.entries[BUDGET] = changed(story.entries[BUDGET], delta=0.99)
    return "a budget's delta must be at most 0.001"


@false
def a_later_budget_whose_delta_makes_every_epsilon_zero(story, run):
    end(story, changed(story.entries[BUDGET], delta=0.99))
    return "a budget's delta must be at most 0.001"


@false
def a_budget_below_zero(story, run):
    end(story, changed(story.entries[BUDGET], epsilon=-1 - run))
    return "epsilon must be > 0"


@false
def a_budget_in_words(story, run):
    end(story, changed(story.entries[BUDGET], epsilon="8"))
    return "epsilon must be a number"


@false
def a_budget_of_a_window_into_the_future(story, run):
    end(story, changed(story.entries[BUDGET], window_days=-run))
    return "a window is a whole number of days"


@false
def a_budget_of_nobody(story, run):
    end(story, changed(story.entries[BUDGET], scope="relay"))
    return "unknown scope"


@false
def a_cap_that_forgives(story, run):
    end(story, changed(story.entries[BUDGET], scope="study", name="s", reset=True))
    return "only the hospital's whole budget can be reset"


# --- what a hospital's code never does ------------------------------------------------------


@false
def opened_by_another_key(story, run):
    story.entries[0] = replace(story.entries[0], resource=ANN.public_hex)
    return "entry 0 names a key that no hospital of this run has"


@false
def a_run_of_a_plan_that_nobody_approved(story, run):
    story.drop(APPROVED)
    return "train/1 was reserved of a plan whose approval is not recorded"


@false
def a_run_after_its_approval_was_withdrawn(story, run):
    story.insert(story.places(RESERVED)[run], note(EntryKind.APPROVAL_REVOKED, PLAN))
    return "of a plan whose approval was withdrawn"


@false
def a_run_of_a_rejected_plan(story, run):
    story.entries[APPROVED] = note(EntryKind.PLAN_REJECTED, PLAN)
    return "of a plan whose approval was withdrawn"


@false
def an_output_that_left_without_a_commit(story, run):
    story.drop(story.places(COMMITTED)[run])
    return "whose spend was not committed"


@false
def an_output_that_left_before_its_commit(story, run):
    entry = story.entries.pop(story.places(COMMITTED)[run])
    story.entries.insert(story.places(RELEASED)[run] + 1, entry)
    return "whose spend was not committed"


@false
def an_output_of_no_run(story, run):
    end(story, note(RELEASED, "extra", kind="weights", request=f"extra-{run}"))
    return "whose spend was not committed"


@false
def an_output_that_does_not_say_of_which_run(story, run):
    end(story, note(RELEASED, "extra", kind="weights"))
    return "whose spend was not committed"


@false
def an_output_of_a_destroyed_run(story, run):
    gone = note(EntryKind.SPEND_DESTROYED, VERSION, reservation="x")
    out = note(RELEASED, "x-weights", kind="weights", request="x")
    end(story, raw_reservation("x"), gone, out)
    return "whose spend was not committed"


@false
def a_case_report_that_was_never_disclosed(story, run):
    story.drop(story.places(SHOWN)[0])
    return "without being disclosed before"


@false
def a_case_report_disclosed_afterwards(story, run):
    story.entries.append(story.entries.pop(story.places(SHOWN)[0]))
    return "without being disclosed before"


# --- what receipts say and the ledger does not ----------------------------------------------


def lie(story: Story, run: int, **fields: object) -> None:
    story.receipts[run].fields |= fields


@false
def a_receipt_that_says_nothing_was_spent(story, run):
    lie(story, run, epsilon_total=0.0)
    return "its total is 0; the ledger up to entry"


@false
def a_receipt_with_a_tiny_event(story, run):
    lie(story, run, event=event_to_json(TINY), epsilon_total=0.0)
    return f"the event of study-r{run + 1:04d} is another one in the ledger"


@false
def a_receipt_of_fewer_steps(story, run):
    fewer = poisson_gaussian(sampling_rate=0.05, noise_multiplier=2.0, steps=19)
    lie(story, run, event=event_to_json(fewer))
    return "the event of study-r"


@false
def a_receipt_that_leaves_earlier_runs_out(story, run):
    lie(story, 1 + run % 2, epsilon_total=story.receipts[0].fields["epsilon_total"])
    return "the ledger up to entry"


@false
def a_receipt_that_says_too_much(story, run):
    lie(story, run, epsilon_total=7.0 + run)
    return "the ledger up to entry"


@false
def a_receipt_for_a_run_that_is_in_no_ledger(story, run):
    lie(story, run, request="study-r0099")
    return "no spend for study-r0099 is in the ledger"


@false
def a_receipt_of_another_plan(story, run):
    lie(story, run, plan_sha256="9" * 64)
    return "the plan of study-r"


@false
def a_receipt_of_other_data(story, run):
    lie(story, run, dataset_version="9" * 64)
    return "the data version of study-r"


@false
def a_receipt_of_another_study(story, run):
    lie(story, run, study="other")
    return "the study of study-r"


@false
def a_receipt_of_another_round(story, run):
    lie(story, run, round=run + 2)
    return "the round of study-r"


@false
def a_receipt_with_a_generous_delta(story, run):
    lie(story, run, delta=1e-3)
    return "its delta is 0.001; the budget in force had 1e-05"


@false
def a_receipt_of_a_smaller_unit(story, run):
    lie(story, run, unit=Unit.IMAGE)
    return "its unit is image; the ledger says patient"


@false
def a_receipt_that_hides_a_disclosure(story, run):
    lie(story, RUNS, disclosed={})
    return "it counts the disclosures {}"


@false
def a_receipt_that_invents_a_disclosure(story, run):
    lie(story, run, disclosed={"custom_job": 1})
    return "it counts the disclosures"


@false
def a_receipt_signed_before_its_commit(story, run):
    story.receipts[run].at = story.places(RESERVED)[run]
    return "was committed by entry"


@false
def a_receipt_for_what_was_destroyed(story, run):
    gone = note(EntryKind.SPEND_DESTROYED, VERSION, reservation="study-r0001")
    story.entries[story.places(COMMITTED)[0]] = gone
    story.drop(story.places(RELEASED)[0])
    return "was not committed, it is destroyed"


@false
def a_receipt_for_what_was_only_reserved(story, run):
    story.drop(story.places(COMMITTED)[run])
    story.drop(story.places(RELEASED)[run])
    return "was not committed, it is reserved"


@false
def a_receipt_for_what_is_no_run(story, run):
    at = story.places(RESERVED)[run]
    story.entries[at] = changed(story.entries[at], request="card")
    return "the round of study-r"


@false
def a_receipt_that_hides_another_study(story, run):
    """A spend of somebody else stands in the ledger, and not in the total."""
    at = story.places(RESERVED)[0]
    name = "other-r0001"
    asked = raw_reservation(name, study="other", request="card")
    done = changed(story.entries[story.places(COMMITTED)[0]], reservation=name)
    story.insert(at, asked, done)
    return "the ledger up to entry"


@false
def everything_disclosed_and_a_finite_total(story, run):
    shown = Disclosure(
        kind=DisclosureKind.CUSTOM_JOB, units=None, scope="logs", dataset_version=VERSION
    )
    story.insert(
        story.places(RESERVED)[0],
        disclose(shown, resource="x", reason="debugging", time=TIME, actor="owner"),
    )
    return "gives inf at the same delta"


@false
def a_run_beyond_the_budget(story, run):
    story.entries[BUDGET] = changed(story.entries[BUDGET], epsilon=0.01)
    return "reserved although it did not fit"


@false
def a_run_beyond_a_researchers_cap(story, run):
    cap = changed(story.entries[BUDGET], scope="researcher", name=RESEARCHER, epsilon=0.01)
    story.insert(story.places(RESERVED)[run], cap)
    return "reserved although it did not fit"


@false
def a_run_beyond_a_studys_cap(story, run):
    cap = changed(story.entries[BUDGET], scope="study", name="study", epsilon=0.01)
    story.insert(story.places(RESERVED)[run], cap)
    return "reserved although it did not fit"


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
    from orchestrator.contribution import Contribution
    from orchestrator.runstate import RunFolder

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

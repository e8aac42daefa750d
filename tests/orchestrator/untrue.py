"""False stories that a hospital's code never writes although they can happen; false receipts.

Each changes an honest story (`storykit.honest`) at a place that is drawn, and returns what the
audit must answer.
"""

from __future__ import annotations

from dataclasses import replace

from privacy import (
    Disclosure,
    DisclosureKind,
    EntryKind,
    Unit,
    disclose,
    event_to_json,
    poisson_gaussian,
)
from tests.orchestrator.storykit import (
    ANN,
    APPROVED,
    BUDGET,
    COMMITTED,
    PLAN,
    RELEASED,
    RESEARCHER,
    RESERVED,
    RUNS,
    SHOWN,
    TIME,
    TINY,
    VERSION,
    Story,
    changed,
    end,
    false,
    note,
    raw_reservation,
)


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

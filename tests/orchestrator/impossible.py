"""False stories that the hospital's own fold refuses: they cannot have happened in this order.

Each changes an honest story (`storykit.honest`) at a place that is drawn, and returns what the
audit must answer.
"""

from __future__ import annotations

import json
from dataclasses import replace

from privacy import (
    EntryKind,
    describe,
    event_to_json,
    gaussian,
    poisson_gaussian,
)
from tests.orchestrator.storykit import (
    BUDGET,
    COMMITTED,
    RESERVED,
    ROUND,
    SHOWN,
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

"""Which points a sweep takes: every kind of step of every victim, evenly, under every fault."""

from __future__ import annotations

from itertools import cycle

from crashkit.scenario import Point, Scenario

VICTIMS = ("A", "C", "orchestrator", "owner")
FAULTS = ("kill", "power", "machine")


def recorded(scenario: Scenario) -> list[tuple[str, str, int]]:
    """Every boundary of a recorded run as (victim, label, ordinal), in order."""
    found = []
    for victim in VICTIMS:
        path = scenario.logs / f"{victim}.boundaries"
        seen = set()
        for line in path.read_text().splitlines():
            name, ordinal = line.split("\t")
            # The owner is a new process each time; the first one's steps stand for all.
            if (name, ordinal) not in seen:
                seen.add((name, ordinal))
                found.append((victim, name, int(ordinal)))
    return found


def _counts(victim: str, name: str, ordinal: int) -> bool:
    # A folder that is made where it is, and a poll's second look, are no steps.
    if name.startswith("mkdir") and ordinal > 1:
        return False
    return ordinal <= (8 if "ledger" in name or "state.json" in name else 4)


def choose(found: list[tuple[str, str, int]], wanted: int) -> list[Point]:
    """At most `wanted` points, evenly spread over the run and rotating through the faults."""
    steps = [one for one in found if _counts(*one)]
    if wanted <= 0:
        return []
    stride = max(1.0, len(steps) / wanted)
    taken = [steps[int(number * stride)] for number in range(min(wanted, len(steps)))]
    return [
        Point(victim, name, ordinal, "kill" if victim == "owner" else fault)
        for (victim, name, ordinal), fault in zip(taken, cycle(FAULTS), strict=False)
    ]

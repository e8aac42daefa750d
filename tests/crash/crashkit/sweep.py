"""Which points a sweep takes: every kind of step of every victim, evenly, under every fault.

Turns take different samples: each begins at another step, and meets each step with another fault.
"""

from __future__ import annotations

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


_GOLDEN = 0.618034  # its multiples fall into every gap between those before, evenly


def choose(found: list[tuple[str, str, int]], wanted: int, *, turn: int = 0) -> list[Point]:
    """At most `wanted` points, evenly spread over the run and rotating through the faults.

    Args:
        found: all boundaries.
        wanted: how many.
        turn: which sample.
    """
    steps = [one for one in found if _counts(*one)]
    if wanted <= 0:
        return []
    stride = max(1.0, len(steps) / wanted)
    first = turn * _GOLDEN % 1
    taken = [steps[int((number + first) * stride)] for number in range(min(wanted, len(steps)))]
    faults = [FAULTS[(number + turn) % len(FAULTS)] for number in range(len(taken))]
    return [
        Point(victim, name, ordinal, "kill" if victim == "owner" else fault)
        for (victim, name, ordinal), fault in zip(taken, faults, strict=True)
    ]

"""A second reader of ledgers, for comparison only: it shares no code with `privacy`.

It reads the lines of an intact ledger as JSON, and composes with dp-accounting alone. It judges
nothing: of a story that cannot have happened it would believe whatever comes last, which is why no
audit uses it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant


def oracle_epsilon(path: Path, *, interval: float) -> float:
    """Epsilon of everything that counts, at the smallest delta a budget of the hospital had."""
    counted: dict[str, object] = {}
    deltas, everybody = [], False
    for line in path.read_bytes().splitlines():
        entry = json.loads(line).get("body", {}).get("entry", {})
        detail = entry.get("detail", {})
        match entry.get("kind"):
            case "spend_reserved" | "spend_committed":
                counted[detail["reservation"]] = _rebuild(detail["event"])
            case "spend_destroyed":
                del counted[detail["reservation"]]
            case "disclosure":
                everybody |= detail["units"] == "every"
            case "budget_set" if detail["scope"] == "hospital":
                deltas.append(detail["delta"])
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, interval)
    for event in counted.values():
        accountant.compose(event)
    return math.inf if everybody else accountant.get_epsilon(min(deltas))


def _rebuild(fields: dict) -> dp_event.DpEvent:
    inner = {name: value for name, value in fields.items() if not name.endswith("_name")}
    if "event" in inner:
        inner["event"] = _rebuild(inner["event"])
    if "events" in inner:
        inner["events"] = [_rebuild(each) for each in inner["events"]]
    return getattr(dp_event, fields["class_name"])(**inner)

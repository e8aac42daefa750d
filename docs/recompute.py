"""Recompute every hospital's epsilon from `dura audit report --json`, with dp-accounting alone.

pip install dp-accounting; python recompute.py report.json
"""

import json
import sys
from pathlib import Path

from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant


def rebuild(fields):
    """An event from its JSON form."""
    inner = {name: value for name, value in fields.items() if not name.endswith("_name")}
    if "event" in inner:
        inner["event"] = rebuild(inner["event"])
    inner |= {"events": [rebuild(e) for e in inner["events"]]} if "events" in inner else {}
    return getattr(dp_event, fields["class_name"])(**inner)


for name, site in json.loads(Path(sys.argv[1]).read_text())["sites"].items():
    if not site["chain"]["verified"]:
        sys.exit(f"{name}: its ledger does not hold, so there is nothing to recompute")
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, site["interval"])
    for spend in site["events"]:
        if spend["counts"]:
            accountant.compose(rebuild(spend["event"]))
    print(f"{name}\t{accountant.get_epsilon(site['delta']):.4f}\t{site['epsilon']}")
